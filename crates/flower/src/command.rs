//! The command lines of Flower's processes, as argument vectors. No shell is involved.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::version::SERVER_APP_PORT;
use crate::{Release, Transport};

/// The port of a SuperNode's own API for its ClientApps, on the VM's loopback.
pub const CLIENT_APP_PORT: u16 = 29094;

/// A process to start: program, arguments, environment. The environment is complete; nothing is inherited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The program's path.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
}

/// What every Flower process needs to know.
#[derive(Clone, Debug)]
pub struct Host<'a> {
    /// The release.
    pub release: Release,
    /// Where it is installed.
    pub environment: &'a Environment,
    /// The address that stands for this VM's loopback.
    pub loopback: IpAddr,
    /// A directory that Flower may write to (`HOME`, `FLWR_HOME`, temporary files below it).
    pub home: PathBuf,
    /// `FLWR_LOG_LEVEL`.
    pub log_level: &'a str,
}

/// What a SuperLink needs beside that.
#[derive(Clone, Debug)]
pub struct SuperLinkOptions<'a> {
    /// The state file. Without one, a restart of SuperLink would kill every SuperNode.
    pub database: &'a Path,
    /// TLS on its Fleet and Control APIs, or `None` for plaintext on the VM's own loopback.
    pub tls: Option<SuperLinkTls<'a>>,
    /// Take only SuperNodes whose keys were registered. Flower refuses to start with this and without `tls`.
    pub supernode_auth: bool,
}

/// The certificate that a SuperLink shows on the VM's loopback, and the CA by which its own helpers know it. The
/// certificate must name the loopback address, and its key must be EC or RSA.
#[derive(Clone, Copy, Debug)]
pub struct SuperLinkTls<'a> {
    /// The CA, which the hub and (in the HTTP releases) SuperLink's own ServerApp processes trust.
    pub ca: &'a Path,
    /// The certificate, leaf first.
    pub certificate: &'a Path,
    /// Its key; Flower's user must be able to read it.
    pub key: &'a Path,
}

/// What a SuperNode needs beside that.
#[derive(Clone, Debug)]
pub struct SuperNodeOptions<'a> {
    /// The Fleet API to connect to, `host:port`.
    pub superlink: &'a str,
    /// The CA of that, or `None` for plaintext on the VM's own loopback.
    pub root_certificates: Option<&'a Path>,
    /// The private key that SuperLink knows this node by, in OpenSSH's format; Flower refuses to start with it and
    /// without `root_certificates`. With a key a SuperNode never registers itself: somebody must have done that, also at
    /// a SuperLink without `supernode_auth`. Without one it makes a new key, and so is a new node, at every start.
    pub auth_key: Option<&'a Path>,
    /// `key=value` pairs for the ClientApp, in Flower's own syntax; empty for none.
    pub node_config: &'a str,
    /// Give up after so many tries; `None` is no limit. Flower's own `0` would be a single try.
    pub max_retries: Option<u32>,
    /// Give up after so many seconds; `None` is no limit.
    pub max_wait_time: Option<u32>,
}

impl Host<'_> {
    /// The command line of `flower-superlink`. It listens on the VM's loopback only; TLS towards the sites is the hub's
    /// in front of it. In the gRPC releases the API for ServerApps stays in plaintext also with `tls`.
    pub fn superlink(&self, options: &SuperLinkOptions<'_>) -> CommandLine {
        let mut args = Vec::new();
        match options.tls {
            None => args.push("--insecure".to_owned()),
            Some(tls) => {
                for (flag, path) in [
                    ("--ssl-ca-certfile", tls.ca),
                    ("--ssl-certfile", tls.certificate),
                    ("--ssl-keyfile", tls.key),
                ] {
                    args.extend([flag.to_owned(), path.display().to_string()]);
                }
            }
        }
        if options.supernode_auth {
            args.push("--enable-supernode-auth".to_owned());
        }
        args.extend(strings(&["--isolation", "subprocess", "--database"]));
        args.push(options.database.display().to_string());
        match self.release.transport() {
            Transport::Grpc => {
                for (flag, port) in [
                    ("--serverappio-api-address", SERVER_APP_PORT),
                    ("--fleet-api-address", self.release.fleet_port()),
                    ("--control-api-address", self.release.control_port()),
                ] {
                    args.extend([flag.to_owned(), self.socket(port)]);
                }
            }
            Transport::Http => args.extend(self.http_listener(self.release.fleet_port())),
        }
        // SuperNodes have no such flag; they obey the environment.
        if self.release.installs_dependencies() {
            args.push("--disable-runtime-dependency-installation".to_owned());
        }
        self.command("flower-superlink", args)
    }

    /// The command line of `flower-supernode`.
    pub fn supernode(&self, options: &SuperNodeOptions<'_>) -> CommandLine {
        let mut args = strings(&["--isolation", "subprocess", "--superlink", options.superlink]);
        match options.root_certificates {
            Some(path) => args.extend(["--root-certificates".to_owned(), path.display().to_string()]),
            None => args.push("--insecure".to_owned()),
        }
        if let Some(key) = options.auth_key {
            args.extend(["--auth-supernode-private-key".to_owned(), key.display().to_string()]);
        }
        match self.release.transport() {
            Transport::Grpc => {
                args.extend(["--clientappio-api-address".to_owned(), self.socket(CLIENT_APP_PORT)]);
            }
            Transport::Http => args.extend(self.http_listener(CLIENT_APP_PORT)),
        }
        for (flag, limit) in
            [("--max-retries", options.max_retries), ("--max-wait-time", options.max_wait_time)]
        {
            if let Some(limit) = limit.filter(|limit| *limit > 0) {
                args.extend([flag.to_owned(), limit.to_string()]);
            }
        }
        if !options.node_config.is_empty() {
            args.extend(["--node-config".to_owned(), options.node_config.to_owned()]);
        }
        self.command("flower-supernode", args)
    }

    fn socket(&self, port: u16) -> String {
        std::net::SocketAddr::new(self.loopback, port).to_string()
    }

    fn http_listener(&self, port: u16) -> [String; 4] {
        ["--host".to_owned(), self.loopback.to_string(), "--port".to_owned(), port.to_string()]
    }

    fn command(&self, program: &str, args: Vec<String>) -> CommandLine {
        CommandLine { program: self.environment.program(program), args, env: self.env() }
    }

    fn env(&self) -> Vec<(String, String)> {
        let home = self.home.display().to_string();
        // Flower starts its helpers by name, so its own programs come first.
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.environment.bin().display());
        let mut env: Vec<(String, String)> = settings().map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (key, value) in [
            ("FLWR_HOME", home.clone() + "/flwr"),
            ("FLWR_LOG_LEVEL", self.log_level.to_owned()),
            ("HOME", home.clone()),
            ("LANG", "C.UTF-8".to_owned()),
            ("PATH", path),
            ("TMPDIR", home + "/tmp"),
        ] {
            env.push((key.to_owned(), value));
        }
        env.sort();
        env
    }
}

/// The switches that keep Flower from calling home or installing anything, and its output unbuffered. For the
/// processes here and for `flwr`.
pub fn settings() -> [(&'static str, &'static str); 4] {
    [
        ("FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION", "1"),
        ("FLWR_DISABLE_UPDATE_CHECK", "1"),
        ("FLWR_TELEMETRY_ENABLED", "0"),
        ("PYTHONUNBUFFERED", "1"),
    ]
}

/// The id that a SuperNode's own log line says it was given, once SuperLink has activated it.
pub fn announced_node_id(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("SuperNode ID: ")?;
    let digits: &str = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(version: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(
            dir.path().join(format!("lib/python3/site-packages/flwr-{version}.dist-info")),
        )
        .unwrap();
        std::fs::create_dir_all(dir.path().join("bin")).unwrap();
        std::fs::write(dir.path().join("bin/flower-supernode"), "").unwrap();
        let release = Release::parse(version).unwrap();
        let environment = Environment::find(dir.path(), release.version()).unwrap();
        let home = PathBuf::from("/var/lib/onefed/flower");
        let host = Host {
            release,
            environment: &environment,
            loopback: "127.0.0.1".parse().unwrap(),
            home,
            log_level: "INFO",
        };
        let database = Path::new("/var/lib/onefed/state.db");
        let superlink = host.superlink(&SuperLinkOptions { database, tls: None, supernode_auth: false });
        let inner = SuperLinkTls {
            ca: Path::new("/etc/onefed/inner-ca.pem"),
            certificate: Path::new("/etc/onefed/inner.pem"),
            key: Path::new("/etc/onefed/inner.key"),
        };
        let authenticating =
            host.superlink(&SuperLinkOptions { database, tls: Some(inner), supernode_auth: true });
        let tls = SuperNodeOptions {
            superlink: "10.0.0.5:9092",
            root_certificates: Some(Path::new("/etc/onefed/ca.pem")),
            auth_key: Some(Path::new("/var/lib/onefed/node.key")),
            node_config: "partition-id=0 site=\"paris\"",
            max_retries: None,
            max_wait_time: Some(0),
        };
        let plain = SuperNodeOptions {
            superlink: "127.0.0.1:9092",
            root_certificates: None,
            auth_key: None,
            node_config: "",
            max_retries: Some(5),
            max_wait_time: Some(60),
        };
        let shown =
            [superlink, authenticating, host.supernode(&tls), host.supernode(&plain)].map(|command| {
                let env: Vec<String> = command.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
                format!(
                    "{}\n  {}\n  env {}",
                    command.program.display(),
                    command.args.join("\n  "),
                    env.join(" ")
                )
            });
        shown.join("\n").replace(&dir.path().display().to_string(), "/opt/flower")
    }

    #[test]
    fn command_lines_of_the_http_band() {
        insta::assert_snapshot!(render("1.41.0"));
    }

    #[test]
    fn command_lines_of_the_grpc_band() {
        insta::assert_snapshot!(render("1.31.0"));
    }

    #[test]
    fn a_node_id_is_found_in_flowers_log() {
        assert_eq!(announced_node_id("INFO :      SuperNode ID: 1234567890123"), Some(1234567890123));
        assert_eq!(announced_node_id("\u{1b}[92mINFO \u{1b}[0m:      SuperNode ID: 42\u{1b}[0m"), Some(42));
        assert_eq!(announced_node_id("INFO :      Starting Flower SuperNode"), None);
    }
}
