//! A sandbox for this test: one zone in this process, whose VMs only wait.

use crate::target::Target;
use onefed_opennebula::Credentials;
use onefed_sandbox::{SandboxConfig, SandboxError, World, ZoneEndpoints, run};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// A VM that does nothing until it is told to stop.
const GUEST: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 3600 &\nwait\n";

/// The second octets that this test may use.
const NETS: std::ops::RangeInclusive<u8> = 211..=213;

pub(crate) struct Bed {
    /// Removed with it.
    _dir: tempfile::TempDir,
    zone: ZoneEndpoints,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), SandboxError>>,
}

impl Bed {
    pub(crate) async fn up() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let exe = dir.path().join("guest.sh");
        std::fs::write(&exe, GUEST).unwrap();
        std::fs::set_permissions(&exe, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut last = None;
        for net in NETS {
            let config = SandboxConfig {
                dir: dir.path().join("sandbox"),
                net,
                zones: vec!["contract".to_owned()],
                exe: exe.clone(),
                flower: onefed_sandbox::FlowerDirs::One(PathBuf::from("/nowhere/flower")),
                world: World::default(),
                lease_stdin: false,
            };
            let (ready, told) = oneshot::channel();
            let (stop, stopped) = oneshot::channel::<()>();
            let task = tokio::spawn(run(config, ready, async {
                let _ = stopped.await;
            }));
            match told.await {
                Ok(mut zones) => return Self { _dir: dir, zone: zones.remove(0), stop, task },
                // Another run of this test has the addresses.
                Err(_) => last = task.await.unwrap().err(),
            }
        }
        panic!("no sandbox: {last:?}");
    }

    pub(crate) fn target(&self) -> Target {
        let login = Credentials::parse(&std::fs::read_to_string(&self.zone.auth_file).unwrap()).unwrap();
        let url = |text: &str| text.parse().unwrap();
        let (xmlrpc, oneflow, onegate) =
            (url(&self.zone.xmlrpc), url(&self.zone.oneflow), url(&self.zone.onegate));
        Target::new(xmlrpc, oneflow, Some(onegate), login, None).sandbox()
    }

    pub(crate) async fn down(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}
