//! Where things are in this VM.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use onefed_context::Endpoint;

/// The VM that is booting: its directories and, in a sandbox, its stand-in for loopback.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Holds `context.sh` and `token.txt`, as on the context CD.
    pub context: PathBuf,
    /// Survives a reboot: keys, certificates, Flower's state, logs.
    pub disk: PathBuf,
    /// The Python environment with Flower.
    pub flower: PathBuf,
    /// The onefed binary, for the processes that it starts of itself.
    pub exe: PathBuf,
    /// The directory of systemd's units, where systemd keeps this VM's processes running; without one they are children
    /// of the boot.
    pub units: Option<PathBuf>,
    /// In a sandbox the VM is a process group: this address stands for its 127.0.0.1, wildcard listeners are bound to
    /// its own address, and the end of standard input means that the host is gone. `None` in a real VM.
    pub sandbox_loopback: Option<IpAddr>,
}

impl Machine {
    /// The address that stands for this VM's loopback.
    pub(crate) fn loopback(&self) -> IpAddr {
        self.sandbox_loopback.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// The socket for a listener that the context describes. In a sandbox a wildcard means the VM's own address.
    pub(crate) fn listen(&self, endpoint: &Endpoint, own: IpAddr) -> Option<SocketAddr> {
        match (self.sandbox_loopback, endpoint.is_unspecified()) {
            (Some(_), true) => Some(SocketAddr::new(own, endpoint.port)),
            _ => endpoint.socket_addr(),
        }
    }

    /// The address that outgoing connections come from; only a sandbox has to say.
    pub(crate) fn dial_from(&self, own: IpAddr) -> Option<IpAddr> {
        self.sandbox_loopback.map(|_| own)
    }

    pub(crate) fn tls_dir(&self) -> PathBuf {
        self.disk.join("tls")
    }

    /// SuperLink's data directory: its database is in it.
    pub(crate) fn superlink_dir(&self) -> PathBuf {
        self.disk.join("superlink")
    }

    /// Where the hub or the spoke of this VM keeps its journal and its objects.
    pub(crate) fn link_dir(&self, which: &str) -> PathBuf {
        self.disk.join("link").join(which)
    }

    /// The CA whose certificates hold on hops inside this VM.
    pub(crate) fn inner_dir(&self) -> PathBuf {
        self.disk.join("inner")
    }

    /// The CA of this VM's own, for peers.
    pub(crate) fn own_dir(&self) -> PathBuf {
        self.tls_dir().join("own")
    }

    /// Where keys of CAs are. No process that the boot starts may read them.
    pub(crate) fn ca_dirs(&self) -> [PathBuf; 2] {
        [self.inner_dir(), self.own_dir()].map(|dir| crate::authority::ca_dir(&dir))
    }

    /// What makes this VM's SuperNode the node that it is.
    pub(crate) fn node_dir(&self) -> PathBuf {
        self.disk.join("node")
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.disk.join("log")
    }

    /// Flower's home on this VM.
    pub(crate) fn flower_home(&self) -> PathBuf {
        self.disk.join("flower")
    }
}
