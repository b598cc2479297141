//! What Flower's node authentication needs: TLS on every hop, and a key for each SuperNode that somebody registers.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use onefed_flower::command::SuperLinkTls;
use onefed_trust::{NodeKey, NodePublicKey, RootCa, SanName, ServerIdentity};

use super::{Failed, Result};

pub(super) fn trust(why: onefed_trust::Error) -> Failed {
    Failed(why.to_string())
}

/// A file that only we may read: half of them are secrets.
pub(super) fn write(dir: &Path, name: &str, text: &str) -> Result<PathBuf> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = dir.join(name);
    let fail = |why| Failed(format!("{}: {why}", path.display()));
    let mut options = std::fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).map_err(fail)?;
    file.write_all(text.as_bytes()).map_err(fail)?;
    Ok(path)
}

/// A certificate and its key, as files.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Files {
    pub(super) fn of(identity: &ServerIdentity, dir: &Path, name: &str) -> Result<Self> {
        write(dir, &format!("{name}.pem"), &identity.cert_pem)?;
        write(dir, &format!("{name}.key"), identity.key_pem.expose())?;
        Ok(Self::at(dir, name))
    }

    pub(super) fn at(dir: &Path, name: &str) -> Self {
        Self { certificate: dir.join(format!("{name}.pem")), key: dir.join(format!("{name}.key")) }
    }
}

/// SuperLink's own certificate, for the hub and `flwr` only: a CA that no site has ever heard of.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) ca: PathBuf,
    files: Files,
}

impl Inner {
    pub(super) fn make(dir: &Path, superlink: IpAddr) -> Result<Self> {
        let now = SystemTime::now();
        let root = RootCa::generate("testbed-inner", now).map_err(trust)?;
        let server = root.issue_server(&[SanName::Ip(superlink)], now).map_err(trust)?;
        let ca = write(dir, "inner-ca.pem", root.cert_pem())?;
        Ok(Self { ca, files: Files::of(&server, dir, "superlink")? })
    }

    pub(super) fn superlink_tls(&self) -> SuperLinkTls<'_> {
        SuperLinkTls { ca: &self.ca, certificate: &self.files.certificate, key: &self.files.key }
    }
}

/// A new key for a SuperNode: its file, and the half that is registered.
pub(super) fn node_key(dir: &Path, name: &str) -> Result<(PathBuf, NodePublicKey)> {
    let key = NodeKey::generate().map_err(trust)?;
    let file = write(dir, &format!("{name}.key"), key.private_pem().expose())?;
    Ok((file, key.public().clone()))
}
