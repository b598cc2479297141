//! Units and their driver, against a model of systemd's reader, against its own `systemd-analyze`, and against a
//! stand-in for `systemctl`. Nothing here asks the systemd of the machine to do anything.

mod access;
mod analyze;
mod driver;
mod reader;
mod units;

use std::path::PathBuf;

use onefed_flower::command::CommandLine;
use onefed_flower::container::Engine;

use crate::service::{InContainer, Service, User};

/// A service of nothing but a command.
fn service(name: &'static str, program: &str, args: &[&str]) -> Service {
    Service {
        name,
        command: command(program, args),
        inputs: Vec::new(),
        user: User::Onefed,
        writes: Vec::new(),
        reads: Vec::new(),
        listens: Vec::new(),
        gpu: false,
        container: None,
    }
}

fn command(program: &str, args: &[&str]) -> CommandLine {
    CommandLine {
        program: PathBuf::from(program),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        env: vec![("LANG".to_owned(), "C.UTF-8".to_owned())],
    }
}

fn hub() -> Service {
    Service {
        inputs: vec!["/var/lib/onefed/hub.json".into()],
        reads: vec!["/var/lib/onefed/tls/server.key".into()],
        writes: vec!["/var/lib/onefed/hub".into()],
        listens: vec!["0.0.0.0:9092".parse().unwrap()],
        ..service("hub", "/usr/bin/onefed", &["hub", "--config", "/var/lib/onefed/hub.json"])
    }
}

fn supernode(gpu: bool) -> Service {
    let args = ["--superlink", "10.0.0.5:9092", "--node-config", "partition-id=0 site=\"100% $HOME\""];
    Service {
        user: User::Flower,
        gpu,
        writes: vec!["/var/lib/onefed/flower".into()],
        ..service("flower-supernode", "/opt/onefed/flower/bin/flower-supernode", &args)
    }
}

fn container(engine: Engine) -> Service {
    let client = format!("/usr/bin/{engine}");
    Service {
        user: User::Flower,
        writes: vec!["/var/lib/onefed/state".into()],
        container: Some(InContainer {
            engine,
            before: vec![command(&client, &["rm", "--force", "flower-superlink"])],
            stop: command(&client, &["stop", "-t", "30", "flower-superlink"]),
        }),
        ..service(
            "flower-superlink",
            &client,
            &["run", "--rm", "--name", "flower-superlink", "flwr/superlink:1.41.0"],
        )
    }
}
