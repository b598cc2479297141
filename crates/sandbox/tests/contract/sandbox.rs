//! A sandbox for this test: one zone in this process, whose VMs only wait.

use crate::target::Target;
use base64::{Engine, engine::general_purpose::STANDARD};
use cbc::cipher::{BlockModeEncrypt, KeyIvInit, block_padding::Pkcs7};
use onefed_opennebula::Credentials;
use onefed_opennebula::xml::Element;
use onefed_sandbox::{SandboxConfig, SandboxError, World, ZoneEndpoints, run};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio::sync::oneshot;

/// How the token of a VM is come by.
pub(crate) enum Tokens {
    /// From the context disks of the sandbox, which are below this directory.
    Files(PathBuf),
    /// As oned makes it, out of the user's TOKEN_PASSWORD.
    Computed,
}

/// A VM that does nothing until it is told to stop.
const GUEST: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nsleep 3600 &\nwait\n";

/// The second octets that this test may use.
const NETS: std::ops::RangeInclusive<u8> = 211..=213;

pub(crate) struct Bed {
    dir: tempfile::TempDir,
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
                flower_dir: PathBuf::from("/nowhere/flower"),
                world: World::default(),
                lease_stdin: false,
            };
            let (ready, told) = oneshot::channel();
            let (stop, stopped) = oneshot::channel::<()>();
            let task = tokio::spawn(run(config, ready, async {
                let _ = stopped.await;
            }));
            match told.await {
                Ok(mut zones) => return Self { dir, zone: zones.remove(0), stop, task },
                // Another run of this test has the addresses.
                Err(_) => last = task.await.unwrap().err(),
            }
        }
        panic!("no sandbox: {last:?}");
    }

    pub(crate) fn target(&self) -> Target {
        let login = Credentials::parse(&std::fs::read_to_string(&self.zone.auth_file).unwrap()).unwrap();
        let url = |text: &str| text.parse().unwrap();
        let vms = self.dir.path().join("sandbox/zones").join(self.zone.zone.as_str()).join("vms");
        let (xmlrpc, oneflow, onegate) =
            (url(&self.zone.xmlrpc), url(&self.zone.oneflow), url(&self.zone.onegate));
        Target::new(xmlrpc, oneflow, Some(onegate), login, Tokens::Files(vms), None)
    }

    pub(crate) async fn down(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// The OneGate token of a VM, as oned makes it: AES-256-CBC of `VMID:STIME` under the first 32 characters of the user's
/// TOKEN_PASSWORD, with an IV of zeroes. `user` and `vm` are the documents that oned gives.
pub(crate) fn computed(user: &str, vm: &str) -> Result<String, String> {
    let read = |text: &str| Element::parse(text.as_bytes()).map_err(|why| why.to_string());
    let (user, vm) = (read(user)?, read(vm)?);
    let password = user.child("TEMPLATE").and_then(|t| t.text_of("TOKEN_PASSWORD"));
    let password = password.ok_or("the user has no TOKEN_PASSWORD")?;
    let key = password.as_bytes().get(..32).ok_or("a TOKEN_PASSWORD of less than 32 characters")?;
    let id = vm.text_of("ID").ok_or("a VM without ID")?;
    let plain = format!("{id}:{}", vm.text_of("STIME").ok_or("a VM without STIME")?);
    let cipher =
        cbc::Encryptor::<aes::Aes256>::new_from_slices(key, &[0; 16]).map_err(|why| why.to_string())?;
    Ok(STANDARD.encode(cipher.encrypt_padded_vec::<Pkcs7>(plain.as_bytes())))
}
