use std::future::Future as _;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Command, Output};
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::ready::release_in;
use super::*;
use crate::command::{Host, SuperLinkOptions, SuperNodeOptions};
use crate::{Environment, Release};

const HOME: &str = "/var/lib/onefed/flower";
const CA: &str = "/var/lib/onefed/tls/ca.pem";

fn superlink(version: &str) -> CommandLine {
    let environment = Environment::in_image();
    host(version, &environment).superlink(&SuperLinkOptions {
        database: Path::new("/var/lib/onefed/state/state.db"),
        tls: None,
        supernode_auth: false,
    })
}

fn supernode(version: &str, spoke: &str, ca: bool) -> CommandLine {
    let environment = Environment::in_image();
    host(version, &environment).supernode(&SuperNodeOptions {
        auth_key: None,
        superlink: spoke,
        root_certificates: ca.then(|| Path::new(CA)),
        node_config: "partition-id=0 site=\"paris\"",
        max_retries: None,
        max_wait_time: None,
    })
}

fn host<'a>(version: &str, environment: &'a Environment) -> Host<'a> {
    Host {
        release: Release::parse(version).unwrap(),
        environment,
        loopback: "127.0.0.1".parse().unwrap(),
        home: HOME.into(),
        log_level: "INFO",
    }
}

fn container<'a>(engine: Engine, client: &'a Path, image: &'a Image, paths: &'a [PathBuf]) -> Container<'a> {
    Container {
        engine,
        client,
        image,
        reads: &paths[..1],
        writes: &paths[1..],
        memory: None,
        processes: 4096,
        gpus: false,
    }
}

fn shown(commands: &Commands) -> String {
    let line = |c: &CommandLine| format!("{} {}", c.program.display(), c.args.join(" "));
    let before: Vec<String> = commands.before.iter().map(line).collect();
    // One option a line, so that a difference is seen.
    let run = line(&commands.run).replace(" --", "\n  --");
    format!("before: {}\n{run}\nstop: {}\n", before.join("; "), line(&commands.stop))
}

fn render(version: &str) -> String {
    let number = version.parse().unwrap();
    let paths: Vec<PathBuf> = [CA, HOME, "/var/lib/onefed/state"].iter().map(PathBuf::from).collect();
    let mut text = String::new();
    for engine in [Engine::Docker, Engine::Podman] {
        let client = PathBuf::from(format!("/usr/bin/{engine}"));
        let (link, node) = (Image::superlink(number), Image::supernode(number));
        let link = container(engine, &client, &link, &paths);
        let node = container(engine, &client, &node, &paths);
        let limited = Container { memory: Some(8 << 30), gpus: true, ..node };
        text += &format!("== {engine}: SuperLink\n{}", shown(&link.superlink(&superlink(version)).unwrap()));
        let gateway = supernode(version, "10.0.0.5:9092", true);
        text +=
            &format!("== {engine}: SuperNode of a gateway\n{}", shown(&node.supernode(&gateway).unwrap()));
        let embedded = supernode(version, "127.0.0.1:9092", false);
        text += &format!(
            "== {engine}: SuperNode with its own spoke, a GPU and a limit\n{}",
            shown(&limited.supernode(&embedded).unwrap())
        );
        for command in [link.inspect(), link.pull(), link.ask_release("flower-superlink")] {
            text += &format!("{} {}\n", command.program.display(), command.args.join(" "));
        }
    }
    text
}

#[test]
fn containers_of_the_http_band() {
    insta::assert_snapshot!(render("1.41.0"));
}

#[test]
fn containers_of_the_grpc_band() {
    insta::assert_snapshot!(render("1.31.0"));
}

#[test]
fn a_superlink_is_published_on_loopback_or_not_at_all() {
    let args = |list: &[&str]| strings(list);
    let (changed, published) = publish(&args(&["--fleet-api-address", "127.0.0.9:29092"])).unwrap();
    assert_eq!(changed[1], "0.0.0.0:29092");
    assert_eq!(published, ["127.0.0.9:29092".parse().unwrap()]);
    let (changed, published) = publish(&args(&["--host", "::1", "--port", "28000"])).unwrap();
    assert_eq!((changed[1].as_str(), published[0].to_string().as_str()), ("0.0.0.0", "[::1]:28000"));
    for list in [
        ["--fleet-api-address", "0.0.0.0:9092", "", ""],
        ["--control-api-address", "10.0.0.1:9093", "", ""],
        ["--control-api-address", "superlink:9093", "", ""],
        ["--host", "0.0.0.0", "--port", "28000"],
    ] {
        let why = publish(&args(&list)).unwrap_err();
        assert!(matches!(why, ContainerError::NotLoopback { .. }), "{list:?}: {why}");
    }
}

#[test]
fn only_loopback_spokes_need_the_network_of_the_vm() {
    for (address, own) in [
        ("127.0.0.1:9092", true),
        ("127.8.0.1:9092", true),
        ("[::1]:9092", true),
        ("localhost:9092", true),
        ("10.0.0.5:9092", false),
        ("[fd00::5]:9092", false),
        ("gateway.example.com:9092", false),
    ] {
        assert_eq!(dials_loopback(address), own, "{address}");
    }
}

#[test]
fn paths_that_an_engine_would_read_otherwise_are_refused() {
    for bad in ["/a,readonly=false", "/a\"b", "/a\nb", "relative/a"] {
        assert!(mountable(Path::new(bad)).is_err(), "{bad:?}");
    }
    assert_eq!(mountable(Path::new("/a b/ü:c")).unwrap(), "/a b/ü:c");
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = publish(&strings(&["--host", &text, "--port", &text]));
        let _ = dials_loopback(&text);
    }
}

#[test]
fn a_release_is_a_line_of_the_answer() {
    assert_eq!(release_in("Flower version: 1.41.0\n"), Some("1.41.0"));
    assert_eq!(release_in("INFO : Starting Flower SuperNode\nFlower version: 1.31.0\r\n"), Some("1.31.0"));
    assert_eq!(release_in("24.04"), None);
}

/// A stand-in for an engine's client. It keeps what it was asked for, and knows an image once it was pulled.
const FAKE: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 99
echo "$*" >> asked
case "$1" in
image)
  [ -e down ] && { echo "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is it running?" >&2; exit 1; }
  [ -e there ] && { echo sha256:beef; exit 0; }
  echo "Error response from daemon: No such image: flwr/superlink:1.41.0" >&2; exit 1 ;;
pull)
  [ -e refused ] && { echo "Error response from daemon: manifest for flwr/superlink:1.41.0 not found" >&2; exit 1; }
  touch there ;;
run) cat release ;;
esac
"#;

struct Fake(tempfile::TempDir);

impl Fake {
    fn new(files: &[&str], release: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("docker"), FAKE).unwrap();
        files.iter().for_each(|name| std::fs::write(dir.path().join(name), "").unwrap());
        std::fs::write(dir.path().join("release"), release).unwrap();
        Self(dir)
    }

    /// What came of it, the announcements, and the first words that the client was asked.
    fn make_ready(&self, pull: Pull) -> (Result<Ready, ContainerError>, Vec<String>, Vec<String>) {
        let (client, version) = (self.0.path().join("docker"), "1.41.0".parse().unwrap());
        let image = Image::superlink(version);
        let paths = [PathBuf::from(CA)];
        let container = container(Engine::Docker, &client, &image, &paths);
        let mut announced = Vec::new();
        // By its interpreter: a file that was written a moment ago may still be busy in a sibling test's child.
        let run = async |command: &CommandLine| -> std::io::Result<Output> {
            let mut shell = Command::new("/bin/sh");
            shell.arg(&command.program).args(&command.args).env_clear().envs(command.env.clone()).output()
        };
        let result = {
            let announce = |image: &Image| announced.push(image.to_string());
            // Nothing in it waits.
            let future = pin!(container.make_ready("flower-superlink", version, pull, run, announce));
            match future.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(result) => result,
                Poll::Pending => unreachable!(),
            }
        };
        let asked = std::fs::read_to_string(self.0.path().join("asked")).unwrap_or_default();
        let asked = asked.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        (result, announced, asked)
    }
}

#[test]
fn an_image_that_is_there_is_asked_for_its_release_and_not_pulled() {
    let (ready, announced, asked) =
        Fake::new(&["there"], "Flower version: 1.41.0\n").make_ready(Pull::Announced);
    assert_eq!(ready.unwrap(), Ready { id: "sha256:beef".into(), pulled: false });
    assert_eq!((announced.len(), asked), (0, strings(&["image", "run"])));
}

#[test]
fn an_absent_image_is_an_error_or_an_announced_pull() {
    let (ready, announced, asked) = Fake::new(&[], "Flower version: 1.41.0\n").make_ready(Pull::Never);
    assert_eq!(ready.unwrap_err().to_string(), "the image flwr/superlink:1.41.0 is not on this VM");
    assert_eq!((announced.len(), asked), (0, strings(&["image"])));
    let (ready, announced, asked) = Fake::new(&[], "Flower version: 1.41.0\n").make_ready(Pull::Announced);
    assert!(ready.unwrap().pulled);
    assert_eq!(announced, ["flwr/superlink:1.41.0"]);
    assert_eq!(asked, strings(&["image", "pull", "image", "run"]));
}

#[test]
fn a_refused_pull_another_release_and_an_engine_that_is_down_have_their_own_errors() {
    let (ready, ..) = Fake::new(&["refused"], "").make_ready(Pull::Announced);
    let text = ready.unwrap_err().to_string();
    assert!(
        text.ends_with(
            "cannot be pulled: Error response from daemon: manifest for flwr/superlink:1.41.0 not found"
        ),
        "{text}"
    );
    let (ready, ..) = Fake::new(&["there"], "Flower version: 1.31.0\n").make_ready(Pull::Announced);
    let why = ready.unwrap_err();
    assert_eq!(why.to_string(), "the image flwr/superlink:1.41.0 holds Flower 1.31.0, asked for is 1.41.0");
    assert!(why.hint().contains("1.41.0"));
    let (ready, ..) = Fake::new(&["there"], "24.04\n").make_ready(Pull::Announced);
    assert!(matches!(ready.unwrap_err(), ContainerError::NoRelease { .. }));
    let (ready, _, asked) = Fake::new(&["down"], "").make_ready(Pull::Announced);
    let text = ready.unwrap_err().to_string();
    assert!(
        text.starts_with("docker could not look for the image flwr/superlink:1.41.0: Cannot connect"),
        "{text}"
    );
    assert_eq!(asked, ["image"], "an engine that is down must not be asked to pull");
}

/// The real client parses options before it looks for its engine, which does not need to run.
#[test]
fn the_real_docker_client_takes_these_options() {
    let Some(client) =
        ["/usr/bin/docker", "/usr/local/bin/docker"].iter().map(Path::new).find(|p| p.exists())
    else {
        eprintln!("no docker client on this machine: not tested");
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/no-engine.sock", dir.path().display());
    let image = Image::supernode("1.41.0".parse().unwrap());
    let paths = [PathBuf::from(CA), PathBuf::from(HOME)];
    let container =
        Container { memory: Some(1 << 30), gpus: true, ..container(Engine::Docker, client, &image, &paths) };
    let node = container.supernode(&supernode("1.41.0", "127.0.0.1:9092", true)).unwrap();
    let link = container.superlink(&superlink("1.31.0")).unwrap();
    let mut all = vec![node.run, node.stop, link.run, container.inspect(), container.pull()];
    all.push(container.ask_release("flower-superlink"));
    all.extend(link.before);
    for command in all {
        let output = Command::new(&command.program)
            .args(&command.args)
            .env_clear()
            .envs(command.env)
            .envs([("DOCKER_HOST", socket.as_str()), ("DOCKER_CONFIG", dir.path().to_str().unwrap())])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.to_lowercase().contains("cannot connect") || said.contains("failed to connect"),
            "{said}"
        );
    }
}
