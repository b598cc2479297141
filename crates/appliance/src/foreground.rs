//! The foreground manager: the boot's own children, started, kept and stopped by it.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::Machine;
use crate::StepError;
use crate::service::{Change, Service};
use crate::supervisor::Supervised;

/// The services that run as children of this process, in the order of their start.
pub(crate) struct Foreground {
    exe: PathBuf,
    log_dir: PathBuf,
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    digest: String,
    listens: Vec<SocketAddr>,
    process: Supervised,
}

impl Foreground {
    pub(crate) fn new(machine: &Machine) -> Self {
        Self { exe: machine.exe.clone(), log_dir: machine.log_dir(), running: Vec::new() }
    }

    pub(crate) async fn apply(&mut self, wanted: Vec<Service>) -> Result<Vec<(String, Change)>, StepError> {
        let digests: Vec<String> = wanted
            .iter()
            .map(|service| service.digest().map_err(|(path, why)| StepError::file(&path, &why)))
            .collect::<Result<_, _>>()?;
        let fits = |running: &Running| {
            wanted
                .iter()
                .zip(&digests)
                .any(|(service, digest)| service.name == running.name && *digest == running.digest)
        };
        // Nothing is stopped for what cannot be started.
        let held = |socket: &SocketAddr| {
            self.running.iter().any(|running| running.listens.iter().any(|own| own.port() == socket.port()))
        };
        for service in &wanted {
            service
                .listens
                .iter()
                .filter(|socket| !held(socket))
                .try_for_each(|it| free(*it, service.name))?;
        }
        let (keep, leave) = std::mem::take(&mut self.running).into_iter().partition(fits);
        self.running = keep;
        let mut left = Vec::new();
        // The last one started depends on those before it.
        for old in Vec::into_iter(leave).rev() {
            let Running { name, process, .. } = old;
            process.stop().await;
            left.push(name);
        }
        let mut done = Vec::new();
        for (service, digest) in wanted.into_iter().zip(digests) {
            let name = service.name;
            if self.runs(name) {
                done.push((name.to_owned(), Change::Kept));
                continue;
            }
            for socket in &service.listens {
                free(*socket, name)?;
            }
            let marker = crate::boot::marker();
            let listens = service.listens.clone();
            let process = Supervised::start(service, &self.exe, marker, &self.log_dir);
            self.running.push(Running { name, digest, listens, process });
            let change = if left.contains(&name) { Change::Restarted } else { Change::Started };
            done.push((name.to_owned(), change));
        }
        let stopped: Vec<_> = left.into_iter().filter(|name| !self.runs(name)).collect();
        done.extend(stopped.into_iter().map(|name| (name.to_owned(), Change::Stopped)));
        Ok(done)
    }

    pub(crate) fn runs(&self, name: &str) -> bool {
        self.running.iter().any(|running| running.name == name)
    }

    pub(crate) fn check(&self) -> Result<(), StepError> {
        self.running.iter().try_for_each(|running| running.process.check())
    }

    pub(crate) fn announced(&self, name: &str) -> Option<u64> {
        self.running.iter().find(|running| running.name == name)?.process.state().node_id
    }

    pub(crate) async fn stop(self) {
        for running in self.running.into_iter().rev() {
            running.process.stop().await;
        }
    }
}

/// Checks that nobody else listens where a service is going to.
pub(crate) fn free(socket: SocketAddr, who: &str) -> Result<(), StepError> {
    std::net::TcpListener::bind(socket).map(drop).map_err(|why| {
        StepError::address(
            format!("{who} cannot listen on {socket}: {why}"),
            "stop what listens there, or choose another address or port",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::User;
    use onefed_flower::command::CommandLine;

    fn hub(listen: SocketAddr) -> Service {
        Service {
            name: "hub",
            command: CommandLine {
                program: "/bin/sleep".into(),
                args: vec![listen.port().to_string()],
                env: Vec::new(),
            },
            inputs: Vec::new(),
            user: User::Onefed,
            writes: Vec::new(),
            reads: Vec::new(),
            listens: vec![listen],
            gpu: false,
            container: None,
        }
    }

    #[tokio::test]
    async fn an_address_that_is_somebody_elses_stops_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let exe = PathBuf::from("/bin/true");
        let mut own = Foreground { exe, log_dir: dir.path().to_owned(), running: Vec::new() };
        let listen = || std::net::TcpListener::bind("127.144.3.2:0").unwrap();
        let free = listen().local_addr().unwrap();
        let others = listen();
        own.apply(vec![hub(free)]).await.unwrap();
        let why = own.apply(vec![hub(others.local_addr().unwrap())]).await.unwrap_err();
        assert_eq!(why.code, "address_in_use");
        assert!(own.runs("hub"), "it still does what it was told last");
        own.stop().await;
    }
}
