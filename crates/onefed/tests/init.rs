//! `onefed init`: what it finds, what it writes, what it refuses; and that the file it writes is one to go on with.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::process::Command;

use support::{Desk, Sandbox, fake_flower, run};

/// `init` at the door of the sandbox's first zone.
fn init(desk: &Desk, args: &str) -> Command {
    let mut command = desk.onefed("init");
    command.args(["--endpoint", &format!("http://{}/RPC2", desk.address("1.1:2633"))]);
    command.args(["--auth", "sandbox/one_auth"]).args(args.split_whitespace());
    command
}

#[test]
fn from_nothing_to_a_plan() {
    let desk = Desk::new("init-plan", 223);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.snapshot("init__incomplete", &mut init(&desk, "")).expect(64);
    assert!(!desk.path("federation.toml").exists());
    let args = "--name hospitals --coordinator madrid --yes";
    desk.snapshot("init__written", &mut init(&desk, args)).expect(0);
    let text = std::fs::read_to_string(desk.path("federation.toml")).unwrap();
    let settings: Vec<&str> =
        text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert!(settings.iter().any(|line| line.starts_with("[zone.lisbon] ")), "{text}");
    let plan = run(&mut desk.onefed("plan")).expect(2);
    assert!(plan.stdout.contains("Plan: 6 to create"), "{}", plan.stdout);

    // What is there is somebody's work.
    desk.write("federation.toml", "mine");
    desk.snapshot("init__there_already", &mut init(&desk, args)).expect(65);
    assert_eq!(std::fs::read_to_string(desk.path("federation.toml")).unwrap(), "mine");
    run(&mut init(&desk, &format!("{args} --force"))).expect(0);
    assert_eq!(std::fs::read_to_string(desk.path("federation.toml")).unwrap(), text);
}

#[test]
fn from_the_files_and_variables_of_opennebulas_own_tools() {
    let desk = Desk::new("init-env", 224);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    let without = desk.snapshot("init__no_endpoint", &mut desk.onefed("init")).expect(64);
    assert_eq!(without.stdout, "");
    let url = format!("http://{}/RPC2", desk.address("2.1:2633"));
    desk.snapshot("init__no_login", desk.onefed("init").env("ONE_XMLRPC", &url)).expect(77);

    let args = "init --name clinics --coordinator paris --site lisbon=3 --out clinics.toml --format json";
    let auth = desk.path("sandbox/one_auth");
    let mut command = desk.onefed(args);
    let done = desk.snapshot("init__json", command.env("ONE_XMLRPC", &url).env("ONE_AUTH", &auth)).expect(0);
    assert_eq!(done.json()["sites"][0]["supernodes"], 3);
    let first = std::fs::read_to_string(desk.path("clinics.toml")).unwrap();
    assert!(!first.contains("\nauth "), "the plan finds the login as init did");
    assert!(!first.contains("madrid"), "a zone that takes no part");

    desk.write(".one/one_endpoint", &format!("{url}\n"));
    std::fs::copy(&auth, desk.path(".one/one_auth")).unwrap();
    run(&mut desk.onefed(&format!("{args} --force"))).expect(0);
    assert_eq!(std::fs::read_to_string(desk.path("clinics.toml")).unwrap(), first);
    let plan = run(&mut desk.onefed("plan -f clinics.toml")).expect(2);
    assert!(plan.stdout.contains("clinics-lisbon"), "{}", plan.stdout);
}

#[test]
fn zones_of_no_federation_are_given_by_name() {
    let desk = Desk::new("init-alone", 225);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    let mut command = desk.onefed("init --yes --name labs --coordinator North --auth sandbox/one_auth");
    command.args(["--endpoint", &format!("North=http://{}", desk.address("1.1:2633"))]);
    command.args(["--endpoint", &format!("south=http://{}/RPC2", desk.address("3.1:2633"))]);
    // One that is not there does not keep the others.
    command.args(["--endpoint", &format!("dead=http://{}/RPC2", desk.address("9.1:2633"))]);
    desk.snapshot("init__alone", &mut command).expect(0);
    let plan = run(&mut desk.onefed("plan")).expect(2);
    assert!(
        plan.stdout.contains("zone north (coordinator)") && plan.stdout.contains("labs-south"),
        "{}",
        plan.stdout
    );

    let mut twice = desk.onefed("init --auth sandbox/one_auth --endpoint http://a --endpoint ftp://b");
    desk.snapshot("init__bad_endpoints", twice.args(["--force", "--endpoint", "http://u:hunter2@c"]))
        .expect(64);
}

#[test]
fn nobody_answers() {
    let desk = Desk::new("init-dead", 226);
    desk.write("sandbox/one_auth", "oneadmin:secret\n");
    desk.snapshot("init__dead", &mut init(&desk, "--yes")).expect(69);
    assert_eq!(desk.files(), ["sandbox/", "sandbox/one_auth"]);
}

#[test]
fn asked_on_a_terminal() {
    use std::io::Write as _;
    use std::process::Stdio;

    let desk = Desk::new("init-terminal", 227);
    if Command::new("script").arg("--version").output().is_err() {
        println!("skipped: there is no program `script`, which makes a terminal");
        return;
    }
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    let door = format!("http://{}/RPC2", desk.address("1.1:2633"));
    let line = format!("{} init --endpoint {door} --auth sandbox/one_auth", env!("CARGO_BIN_EXE_onefed"));
    let mut command = Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(desk.dir()).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    // Name, mode, coordinator with a slip, sites, address.
    child.stdin.take().unwrap().write_all(b"clinics\n\nmadri\nmadrid\nlisbon=3\n\n").unwrap();
    let said = String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned();
    let written = std::fs::read_to_string(desk.path("federation.toml")).expect(&said);
    assert!(said.contains("madri: there is no such zone"), "{said}");
    assert!(written.contains("\"clinics\"") && written.contains("supernodes = 3"), "{written}");
    let plan = run(&mut desk.onefed("plan")).expect(2);
    assert!(plan.stdout.contains("clinics-lisbon") && !plan.stdout.contains("paris"), "{}", plan.stdout);
}

/// Answers XML-RPC on `address` as an OpenNebula before 7.0 with one zone, until the process ends.
fn old_opennebula(address: &str) {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind(address).unwrap();
    let url = format!("http://{address}/RPC2");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let (mut asked, mut part) = (String::new(), [0; 4096]);
            while !asked.contains("</methodCall>") {
                let read = stream.read(&mut part).unwrap_or(0);
                if read == 0 {
                    break;
                }
                asked.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            let answer = if asked.contains("one.zonepool.info") {
                format!(
                    "&lt;ZONE_POOL&gt;&lt;ZONE&gt;&lt;ID&gt;0&lt;/ID&gt;&lt;NAME&gt;Old One&lt;/NAME&gt;&lt;STATE&gt;1&lt;/STATE&gt;\
                     &lt;TEMPLATE&gt;&lt;ENDPOINT&gt;{url}&lt;/ENDPOINT&gt;&lt;/TEMPLATE&gt;&lt;/ZONE&gt;&lt;/ZONE_POOL&gt;"
                )
            } else {
                "6.10.2".to_owned()
            };
            let body = format!(
                "<?xml version=\"1.0\"?><methodResponse><params><param><value><array><data><value><boolean>1</boolean></value>\
                 <value><string>{answer}</string></value><value><i4>0</i4></value></data></array></value></param></params>\
                 </methodResponse>"
            );
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
}

#[test]
fn a_zone_that_is_too_old_or_disabled_is_said_to_be() {
    let desk = Desk::new("init-old", 226);
    desk.write("sandbox/one_auth", "oneadmin:secret\n");
    old_opennebula(&desk.address("7.1:2633"));
    let mut command =
        desk.onefed("init --yes --auth sandbox/one_auth --coordinator old-one --template 0 --network 0");
    command.args(["--endpoint", &format!("http://{}/RPC2", desk.address("7.1:2633"))]);
    desk.snapshot("init__too_old", &mut command).expect(64);
    assert!(!desk.path("federation.toml").exists());
}
