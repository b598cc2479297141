//! What a VM says and asks through OneGate, and what it does when OneGate fails: each fault by its name. With the real
//! `onefed boot`, a OneGate that fails on demand, and programs in place of Flower's.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

#[path = "support/gate.rs"]
mod gate;
#[path = "support/vm.rs"]
mod vm;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gate::Call::{Delete, Put, Service, Vm as Own};
use gate::Fault::{Body, Close, Hang, Slow, Status};
use gate::{Call, Fault};
use onefed_trust::RootCa;
use rustix::process::Signal;
use vm::{Flower, Vm};

const NEW: &str = "1.41.0";
const HTML: &str = "<html><body>It works!</body></html>";
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a test for each row of a table, a few rows at a time.
fn each<T: Sync>(rows: &[T], test: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..rows.len().min(6) {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    test(row);
                }
            });
        }
    });
}

/// A SuperLink that soon has something to say: it asks for a certificate.
fn asks_for_a_certificate(vm: &Vm) {
    let ca = RootCa::generate("hospitals", SystemTime::now()).unwrap();
    let ca = STANDARD.encode(ca.cert_pem());
    vm.context(&[
        ("FL_ROLE", "superlink"),
        ("FL_SSL_CA_CERTFILE", &ca),
        ("FL_ENROL_KEY", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"),
    ]);
}

/// A SuperNode that asks OneGate where its hub is.
const ASKS_FOR_ITS_HUB: [(&str, &str); 2] = [("FL_ROLE", "supernode"), ("FL_TLS_ENABLED", "NO")];

fn hub_is_up(vm: &Vm) {
    let endpoint = STANDARD.encode("127.143.250.9:9092");
    vm.gate().peer("superlink", &[("FL_STATE", "ready"), ("FL_ENDPOINT", &endpoint), ("FL_TLS", "NO")]);
}

/// What must hold of everything that a VM ever sends: only what OneGate stores as it is, and READY=YES, as OneFlow
/// looks for it, in none but the last update, beside the state.
#[track_caller]
fn well_spoken(vm: &Vm) {
    let asked = vm.gate().asked();
    for update in asked.iter().filter(|asked| asked.call == Put) {
        for line in update.body.lines() {
            let (key, value) = line.split_once('=').unwrap();
            assert!(key.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "{line}");
            let safe = |c: char| c.is_ascii_alphanumeric() || "._:/+=- ".contains(c);
            assert!(!value.is_empty() && value.trim() == value && value.chars().all(safe), "{line}");
        }
        let bare: String = update.body.chars().filter(|c| !c.is_whitespace() && *c != '"').collect();
        let lines: Vec<&str> = update.body.lines().collect();
        if lines.contains(&"READY=YES") {
            assert!(lines.contains(&"FL_STATE=ready"), "{}", update.body);
            assert_eq!(bare.matches("READY=YES").count(), 1, "{}", update.body);
        } else {
            assert!(!bare.contains("READY=YES"), "{}", update.body);
        }
    }
}

fn decoded(vm: &Vm, name: &str) -> String {
    let found = vm.gate().attribute(name).unwrap_or_else(|| panic!("no {name}: {:?}", vm.gate().template()));
    String::from_utf8(STANDARD.decode(found).unwrap()).unwrap()
}

/// Waits for something that no log line tells.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_no_repetition_can_mend_stops_the_boot_by_name() {
    let flower = Flower::new(&[NEW]);
    let rows: [(Call, Fault, &str); 11] = [
        (Own, Status(401, "Not authorized"), "GET /vm of VM 7 at URL: login refused: Not authorized"),
        (Own, Status(403, "Forbidden"), "GET /vm of VM 7 at URL: not permitted: Forbidden"),
        (Own, Status(404, "nothing here"), "GET /vm of VM 7 at URL: not found: nothing here"),
        (
            Own,
            Status(400, "OneGate server doesn't support this feature"),
            "GET /vm of VM 7 at URL: refused (400): OneGate server doesn't support this feature",
        ),
        (Own, Body("{\"VM\":"), "an answer that is not OpenNebula's"),
        (Own, Body(HTML), "an answer that is not OpenNebula's"),
        (Own, Body("{\"VM\": 7}"), "an answer that is not OpenNebula's: no VM with an ID in it"),
        (Own, Status(302, "elsewhere"), "GET /vm of VM 7 at URL: refused (302): elsewhere"),
        (Put, Status(401, "Not authorized"), "PUT /vm of VM 7 at URL: login refused: Not authorized"),
        (
            Put,
            Status(403, "Attribute (SERVICE_ID) cannot be modified"),
            "PUT /vm of VM 7 at URL: not permitted: Attribute (SERVICE_ID) cannot be modified",
        ),
        (Delete, Status(403, "no"), "PUT /vm?type=2 of VM 7 at URL: not permitted: no"),
    ];
    each(&rows, |(call, fault, words)| {
        let mut vm = Vm::new(50, true, flower.of(NEW));
        vm.gate().set("FL_ERROR", "of_an_earlier_boot");
        vm.gate().fault(*call, *fault, 1);
        asks_for_a_certificate(&vm);
        vm.start();
        assert_eq!(vm.ended(), 69, "{words}\n{}", vm.log());
        let words = words.replace("URL", &format!("{}/", vm.gate().endpoint()));
        let log = vm.log();
        let failed = log.lines().find(|line| line.contains(" failed: ")).unwrap();
        assert!(failed.contains(&words) && failed.contains("code=\"onegate_failed\""), "{failed}\n{words}");
        assert!(failed.contains("TOKEN = \"YES\""), "the hint: {failed}");
        // Once more OneGate answers, and is told.
        assert_eq!(vm.gate().attribute("FL_STATE").as_deref(), Some("failed"));
        assert_eq!(vm.gate().attribute("FL_ERROR").as_deref(), Some("onegate_failed"));
        assert!(decoded(&vm, "FL_ERROR_TEXT").contains(&words));
        well_spoken(&vm);
        let (exit, _, why) = vm.onefed(&["health"]);
        assert_eq!(exit, 1, "{why}");
        assert!(why.contains("onegate_failed: OneGate: "), "{why}");
    });
}

#[test]
fn a_token_of_another_vm_is_refused() {
    let flower = Flower::new(&[NEW]);
    let mut vm = Vm::new(60, true, flower.of(NEW));
    asks_for_a_certificate(&vm);
    std::fs::write(vm.dir.path().join("context/token.txt"), "c29tZWJvZHkgZWxzZQ==\n").unwrap();
    vm.start();
    assert_eq!(vm.ended(), 69);
    let log = vm.log();
    assert!(log.contains("login refused: Not authorized"), "{log}");
    assert!(log.contains("the failure could not be published"), "{log}");
    assert!(!log.contains("c29tZWJvZHkgZWxzZQ"), "the token is a secret: {log}");
    assert!(vm.gate().template().is_empty());
}

#[test]
fn what_passes_is_asked_again_until_it_is_answered() {
    let flower = Flower::new(&[NEW]);
    let restart = Status(503, "<html>503 Service Unavailable</html>");
    let rows: [(Call, Fault, usize); 13] = [
        (Own, Status(500, "Internal server error"), 2),
        (Own, restart, 2),
        (Own, Close, 2),
        (Own, Hang, 1),
        (Own, Slow(Duration::from_secs(1)), 1),
        (Put, Status(500, "Internal server error"), 2),
        (Put, restart, 2),
        (Put, Close, 2),
        (Put, Slow(Duration::from_secs(1)), 2),
        (Delete, restart, 2),
        (Delete, Close, 2),
        // More often than the client tries by itself.
        (Own, restart, 5),
        (Put, restart, 5),
    ];
    each(&rows, |(call, fault, times)| {
        let mut vm = Vm::new(70, true, flower.of(NEW));
        vm.gate().set("FL_ERROR", "of_an_earlier_boot");
        vm.gate().fault(*call, *fault, *times);
        asks_for_a_certificate(&vm);
        vm.start();
        vm.wait(&["certificate requested"]);
        let template = vm.gate().template();
        let found = |name: &str| template.get(name).map(String::as_str);
        assert_eq!(
            (found("FL_STATE"), found("FL_BOOT")),
            (Some("starting"), Some("1")),
            "{call:?} {fault:?}"
        );
        assert_eq!((found("FL_ROLE"), found("FL_VERSION")), (Some("superlink"), Some(NEW)));
        assert!(found("FL_CSR").is_some() && found("FL_CSR_PROOF").is_some());
        assert_eq!(found("FL_ERROR"), None, "what an earlier boot said is taken back");
        if *times > 4 {
            assert!(vm.log().contains("OneGate cannot answer now, asking again"), "{}", vm.log());
            assert!(vm.log().contains("cannot answer now (503)"), "{}", vm.log());
        }
        well_spoken(&vm);
        vm.end();
    });
}

#[test]
fn whoever_waits_for_the_service_says_what_is_wrong_and_goes_on_when_it_is_not() {
    let flower = Flower::new(&[NEW]);
    let rows: [(Fault, &str); 10] = [
        (Status(400, "Empty or invalid SERVICE_ID"), "refused (400): Empty or invalid SERVICE_ID"),
        (Status(401, "Not authorized"), "login refused: Not authorized"),
        (Status(403, "no"), "not permitted: no"),
        (Status(404, "no"), "not found: no"),
        (Body("{"), "an answer that is not OpenNebula's"),
        (Body(HTML), "an answer that is not OpenNebula's"),
        (Body("{\"SERVICE\": {}}"), "no SERVICE with an id in it"),
        (Status(500, "Internal server error"), "the server cannot answer now (500)"),
        (Status(503, "restarting"), "the server cannot answer now (503)"),
        (Close, "cannot be reached"),
    ];
    each(&rows, |(fault, words)| {
        let mut vm = Vm::new(80, true, flower.of(NEW));
        vm.context(&ASKS_FOR_ITS_HUB);
        hub_is_up(&vm);
        vm.gate().fault(Service, *fault, usize::MAX);
        vm.start();
        vm.wait(&["not yet: OneGate: GET /service?extended=true of VM 7", words]);
        assert!(!vm.log().contains("failed"), "{}", vm.log());
        vm.gate().heal();
        vm.wait(&["step=\"processes\"", "ok: "]);
        assert_eq!(vm.json("spoke.json")["hub_host"], "127.143.250.9");
        well_spoken(&vm);
        vm.end();
    });
}

#[test]
fn whoever_waits_for_a_signature_says_what_is_wrong() {
    let flower = Flower::new(&[NEW]);
    let rows: [(Fault, &str); 4] = [
        (Status(401, "Not authorized"), "login refused: Not authorized"),
        (Status(503, "restarting"), "the server cannot answer now (503)"),
        (Body(HTML), "an answer that is not OpenNebula's"),
        (Close, "cannot be reached"),
    ];
    each(&rows, |(fault, words)| {
        let mut vm = Vm::new(170, true, flower.of(NEW));
        asks_for_a_certificate(&vm);
        vm.start();
        vm.wait(&["certificate requested"]);
        vm.gate().fault(Own, *fault, usize::MAX);
        vm.wait(&["not yet: OneGate: GET /vm of VM 7", words]);
        // It is heard when OneGate answers again, and refused: it is none.
        vm.gate().set("FL_CERT", "bm8gY2VydGlmaWNhdGU=");
        vm.gate().heal();
        vm.wait(&["ALARM: a certificate was offered that this VM must not take"]);
        assert_eq!(vm.gate().attribute("FL_STATE").as_deref(), Some("starting"));
        vm.end();
    });
}

#[test]
fn a_service_that_is_not_whole_yet_is_waited_for_in_words() {
    let flower = Flower::new(&[NEW]);
    let service = |roles: serde_json::Value| serde_json::json!({"SERVICE": {"id": "29", "roles": roles}});
    let rows = [
        (service(serde_json::json!([])), "service 29 has no role superlink"),
        (
            service(serde_json::json!([{"name": "superlink", "cardinality": 1, "nodes": []}])),
            "service 29 has no VM in role superlink yet",
        ),
        (
            service(serde_json::json!([{"name": "superlink", "cardinality": 1,
                "nodes": [{"deploy_id": 4, "vm_info": {"VM": {"ID": "4", "NAME": "n"}}}]}])),
            "SuperLink VM 4 is not up yet",
        ),
    ];
    each(&rows, |(service, words)| {
        let mut vm = Vm::new(90, true, flower.of(NEW));
        vm.context(&ASKS_FOR_ITS_HUB);
        vm.gate().service(service.clone());
        vm.start();
        vm.wait(&["not yet: ", words]);
        vm.gate().peer("superlink", &[("FL_STATE", "failed")]);
        vm.wait(&["not yet: ", "SuperLink VM 4 is failed"]);
        hub_is_up(&vm);
        vm.wait(&["step=\"processes\"", "ok: "]);
        vm.end();
    });
    // What is there and cannot be an address is an error at once: nobody will mend it by waiting.
    let mut vm = Vm::new(90, true, flower.of(NEW));
    vm.context(&ASKS_FOR_ITS_HUB);
    vm.gate().peer("superlink", &[("FL_ENDPOINT", &STANDARD.encode("no address")), ("FL_TLS", "NO")]);
    vm.start();
    assert_eq!(vm.ended(), 69);
    assert!(vm.log().contains("SuperLink VM 4 names `no address`"), "{}", vm.log());
    assert_eq!(vm.gate().attribute("FL_ERROR").as_deref(), Some("superlink_not_found"));
}

#[test]
fn onegate_may_be_restarted_at_any_time() {
    let flower = Flower::new(&[NEW]);
    let mut vm = Vm::new(100, true, flower.of(NEW));
    vm.context(&ASKS_FOR_ITS_HUB);
    // It is away at the start, …
    vm.gate().stop();
    vm.start();
    vm.wait(&["not yet: OneGate: GET /service", "cannot be reached"]);
    vm.gate().start();
    vm.wait(&["not yet: ", "Empty or invalid SERVICE_ID"]);
    // … and again in the middle.
    vm.gate().peer("superlink", &[("FL_STATE", "starting")]);
    vm.wait(&["not yet: ", "SuperLink VM 4 is starting"]);
    vm.gate().stop();
    vm.forget();
    vm.wait(&["not yet: OneGate: GET /service", "cannot be reached"]);
    hub_is_up(&vm);
    vm.gate().start();
    vm.wait(&["step=\"processes\"", "ok: "]);
    until("the first words", || vm.gate().attribute("FL_STATE").as_deref() == Some("starting"));
    well_spoken(&vm);
    vm.end();
}

#[test]
fn what_was_said_first_never_comes_after_a_failure() {
    let flower = Flower::new(&[NEW]);
    let slow = Slow(Duration::from_millis(1500));
    let away = Status(503, "restarting");
    // The boot fails at once, or while its first words are answered.
    let rows: [(Call, Fault, usize, bool); 6] = [
        (Put, slow, 1, false),
        (Own, slow, 1, false),
        (Own, away, 9, false),
        (Put, away, 3, false),
        (Put, slow, 1, true),
        (Own, away, 9, true),
    ];
    each(&rows, |(call, fault, times, late)| {
        let mut vm = Vm::new(110, true, if *late { flower.of(NEW) } else { PathBuf::from("/nowhere") });
        vm.gate().set("READY", "YES");
        vm.gate().set("FL_ENDPOINT", "b2xk");
        vm.gate().fault(*call, *fault, *times);
        let error = if *late {
            vm.context(&ASKS_FOR_ITS_HUB);
            vm.gate().peer("superlink", &[("FL_ENDPOINT", "bm8gYWRkcmVzcw=="), ("FL_TLS", "NO")]);
            vm.gate().fault(Service, Slow(Duration::from_millis(700)), 1);
            "superlink_not_found"
        } else {
            vm.context(&[("FL_ROLE", "superlink")]);
            "flower_missing"
        };
        vm.start();
        let exit = vm.ended();
        assert!([69, 78].contains(&exit), "{}", vm.log());
        std::thread::sleep(Duration::from_secs(2));
        let template = vm.gate().template();
        let found = |name: &str| template.get(name).map(String::as_str);
        assert_eq!(found("FL_STATE"), Some("failed"), "{call:?} {fault:?} {late}: {:?}", vm.gate().said());
        assert_eq!(found("FL_ERROR"), Some(error));
        assert!(!template.contains_key("READY") && !template.contains_key("FL_ENDPOINT"), "{template:?}");
        assert!(vm.gate().said().last().unwrap().starts_with("FL_STATE=failed\n"));
        well_spoken(&vm);
    });
}

#[test]
fn a_context_that_is_wrong_is_told_through_onegate_too() {
    let flower = Flower::new(&[NEW]);
    let mut vm = Vm::new(120, true, flower.of(NEW));
    for name in ["READY", "FL_ENDPOINT", "FL_TLS", "FL_CA_CERT"] {
        vm.gate().set(name, "YES");
    }
    vm.context(&[("FL_ROLE", "superlink"), ("FL_NUM_ROUNDS", "some"), ("FL_LOG_LEVEL", "LOUD")]);
    vm.start();
    assert_eq!(vm.ended(), 78);
    assert_eq!(vm.gate().attribute("FL_ERROR").as_deref(), Some("context_invalid"));
    let text = decoded(&vm, "FL_ERROR_TEXT");
    assert!(text.contains("Invalid FL_NUM_ROUNDS: 'some'") && text.contains("FL_LOG_LEVEL"), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    // Nobody finds an address that is not served any more.
    for name in ["READY", "FL_ENDPOINT", "FL_TLS", "FL_CA_CERT"] {
        assert_eq!(vm.gate().attribute(name), None, "{name}");
    }
    well_spoken(&vm);
}

#[test]
fn the_first_words_of_a_boot_that_another_context_has_ended_are_never_said() {
    let flower = Flower::new(&[NEW]);
    let mut vm = Vm::new(130, true, flower.of(NEW));
    let hub = ("FL_SUPERLINK_ADDRESS", "127.143.250.8:9092");
    vm.context(&[("FL_ROLE", "supernode"), ("FL_TLS_ENABLED", "NO"), hub]);
    vm.gate().fault(Own, Status(503, "restarting"), usize::MAX);
    for boots in 1..=4 {
        if boots == 1 {
            vm.start();
        } else {
            vm.forget();
            vm.signal(Signal::HUP);
        }
        // It waits for its hub, for long.
        vm.wait(&["not yet: "]);
    }
    vm.gate().heal();
    until("the first words", || !vm.gate().said().is_empty());
    // Time for those of the other three.
    std::thread::sleep(Duration::from_secs(4));
    let said = vm.gate().said();
    assert!(said.len() == 1 && said[0].contains("FL_BOOT=4"), "{said:?}");
    vm.end();
}

/// Something that answers as a SuperLink does whom nobody has shown a signature.
struct SuperLink {
    listener: TcpListener,
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

impl SuperLink {
    /// For the release with HTTP; the boot wants the port free until it has started Flower's program.
    fn behind(vm: &Vm) -> Self {
        let listener = TcpListener::bind(format!("{}:28000", vm.loopback)).unwrap();
        let own = listener.try_clone().unwrap();
        let connections: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let all = connections.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = own.accept() {
                all.lock().unwrap().push(stream.try_clone().unwrap());
                std::thread::spawn(move || answer(stream));
            }
        });
        Self { listener, connections }
    }
}

impl Drop for SuperLink {
    fn drop(&mut self) {
        // The thread has a handle of its own; without a listener it ends.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
        for connection in self.connections.lock().unwrap().iter() {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn answer(mut stream: TcpStream) {
    let mut reading = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reading.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let line = line.to_ascii_lowercase();
            if let Some(given) = line.strip_prefix("content-length:") {
                length = given.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let _ = reading.read_exact(&mut vec![0; length]);
        let _ = stream.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
    }
}

#[test]
fn readiness_comes_last_with_everything_that_peers_need_and_in_one_request() {
    let flower = Flower::new(&[NEW]);
    each(&["YES", "NO"], |tls| {
        let mut vm = Vm::new(140, true, flower.of(NEW));
        vm.context(&[("FL_ROLE", "superlink"), ("FL_TLS_ENABLED", tls)]);
        // What an earlier VM or boot has left, and what is not the appliance's.
        let stale =
            ["READY", "FL_ENDPOINT", "FL_TLS", "FL_CA_CERT", "FL_ERROR", "FL_ERROR_TEXT", "FL_NODE_ID"];
        let more = ["FL_NODE_KEY", "FL_CSR", "FL_CSR_PROOF", "FL_CERT"];
        for name in stale.iter().chain(&more) {
            vm.gate().set(name, "YES");
        }
        vm.gate().set("OWNER", "somebody");
        for boot in 1..=2 {
            let before = vm.gate().said().len();
            vm.start();
            vm.wait(&["step=\"processes\"", "ok: "]);
            until("the first words", || vm.gate().said().len() > before);
            let template = vm.gate().template();
            let left: Vec<_> =
                stale.iter().chain(&more).filter(|name| template.contains_key(**name)).collect();
            assert!(left.is_empty(), "believed still: {left:?}");
            assert_eq!(template["OWNER"], "somebody");
            assert_eq!((&*template["FL_STATE"], &*template["FL_BOOT"]), ("starting", &*boot.to_string()));
            let (exit, _, why) = vm.onefed(&["health"]);
            assert_eq!(exit, 1, "{why}");

            let superlink = SuperLink::behind(&vm);
            if boot == 1 {
                // OneGate is away just then.
                vm.gate().fault(Put, Status(503, "restarting"), 2);
            }
            vm.wait(&["step=\"publish\"", "ok: READY"]);
            let said = vm.gate().said();
            let last: Vec<&str> =
                said.last().unwrap().lines().map(|l| l.split('=').next().unwrap()).collect();
            let names: &[&str] = match *tls {
                "YES" => &["FL_ENDPOINT", "FL_TLS", "FL_CA_CERT", "FL_STATE", "READY"],
                _ => &["FL_ENDPOINT", "FL_TLS", "FL_STATE", "READY"],
            };
            assert_eq!(last, names);
            assert_eq!(said.len() - before, 2, "the first words and the last: {said:?}");
            assert_eq!(decoded(&vm, "FL_ENDPOINT"), format!("{}:9092", vm.address));
            let template = vm.gate().template();
            assert_eq!(
                (&*template["FL_TLS"], &*template["READY"], &*template["FL_STATE"]),
                (*tls, "YES", "ready")
            );
            if *tls == "YES" {
                let ca = std::fs::read_to_string(vm.disk().join("tls/own/server/current/ca.pem")).unwrap();
                assert_eq!(decoded(&vm, "FL_CA_CERT"), ca);
            }
            let (exit, words, _) = vm.onefed(&["health", "--role", "superlink"]);
            assert_eq!((exit, words.lines().count()), (0, 1), "{words}");
            well_spoken(&vm);
            vm.end();
            drop(superlink);
        }
    });
}

#[test]
fn a_long_wait_is_published_with_its_reason_and_gone_before_readiness() {
    let flower = Flower::new(&[NEW]);
    let mut vm = Vm::new(180, true, flower.of(NEW));
    vm.context(&[("FL_ROLE", "superlink")]);
    vm.start();
    vm.wait(&["not yet: "]);
    assert_eq!(vm.gate().attribute("FL_WAITING"), None, "a moment is no wait");
    until("the reason is published", || vm.gate().attribute("FL_WAITING").is_some());
    let why = decoded(&vm, "FL_WAITING");
    assert!(vm.log().contains(&format!("not yet: {why}")), "{why}\n{}", vm.log());
    assert_eq!(vm.gate().attribute("FL_STATE").as_deref(), Some("starting"));
    let _superlink = SuperLink::behind(&vm);
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    assert_eq!(vm.gate().attribute("FL_WAITING"), None);
    well_spoken(&vm);
    vm.end();
}

#[test]
fn health_has_an_exit_code_and_a_line_for_every_state() {
    let flower = Flower::new(&[NEW]);
    let mut vm = Vm::new(150, true, flower.of(NEW));
    // The first line of what it says.
    let health = |vm: &Vm, role: &str| {
        let (exit, out, err) = vm.onefed(&["health", "--role", role]);
        let all = format!("{out}{err}");
        let line = all.lines().next().unwrap_or_default().to_owned();
        let line = line.replace(&vm.dir.path().display().to_string(), "DIR").replace(&vm.address, "ADDRESS");
        format!("{exit} {line}")
    };
    assert_eq!(
        health(&vm, "superlink"),
        "78 error[context_invalid]: no boot has written down its state in DIR/disk"
    );
    vm.context(&[("FL_ROLE", "superlink"), ("FL_LOG_LEVEL", "LOUD")]);
    vm.start();
    assert_eq!(vm.ended(), 78);
    let said = health(&vm, "superlink");
    assert!(said.starts_with("1 error[health_timeout]: context_invalid: "), "{said}");
    assert!(said.contains("FL_LOG_LEVEL: 'LOUD'"), "{said}");

    vm.context(&[("FL_ROLE", "superlink")]);
    vm.start();
    vm.wait(&["step=\"processes\"", "ok: "]);
    vm.wait(&["not yet: "]);
    let said = health(&vm, "superlink");
    assert!(said.starts_with("1 error[health_timeout]: "), "{said}");
    let superlink = SuperLink::behind(&vm);
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    let well = "0 the SuperLink behind the hub at ADDRESS:9092 answers";
    assert_eq!(health(&vm, "superlink"), well);
    assert_eq!(health(&vm, "gateway"), "78 error[context_invalid]: this VM is a superlink, not a gateway");
    assert_eq!(
        health(&vm, "supernode"),
        "78 error[context_invalid]: this VM is a superlink, not a supernode"
    );
    let (exit, json, _) = vm.onefed(&["health", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((exit, &json["healthy"]), (0, &true.into()));

    // The hub alone is not enough.
    drop(superlink);
    let said = health(&vm, "superlink");
    assert!(
        said.starts_with("1 error[health_timeout]: ") && said.contains("SuperLink did not answer"),
        "{said}"
    );
    let superlink = SuperLink::behind(&vm);
    until("well again", || health(&vm, "superlink") == well);

    // A later context that is wrong: it goes on as it was, and says so.
    vm.context(&[("FL_ROLE", "superlink"), ("FL_LOG_LEVEL", "LOUD")]);
    vm.signal(Signal::HUP);
    vm.wait(&["step=\"context\"", "failed: "]);
    until("degraded", || vm.gate().attribute("FL_STATE").as_deref() == Some("degraded"));
    assert_eq!(vm.gate().attribute("FL_ERROR").as_deref(), Some("context_invalid"));
    let said = health(&vm, "superlink");
    assert!(said.starts_with("1 error[health_timeout]: context_invalid: "), "{said}");
    // And a right one again.
    vm.context(&[("FL_ROLE", "superlink")]);
    vm.forget();
    vm.signal(Signal::HUP);
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    until("well again", || health(&vm, "superlink") == well);
    assert_eq!(vm.gate().attribute("FL_ERROR"), None);
    assert_eq!(vm.gate().attribute("FL_BOOT").as_deref(), Some("2"));

    // After the end nobody answers.
    vm.end();
    let said = health(&vm, "superlink");
    assert!(said.starts_with("1 error[health_timeout]: cannot reach"), "{said}");
    drop(superlink);
}

#[test]
fn a_crash_loop_after_readiness_is_published_as_degraded() {
    let flower = Flower::new(&[NEW]);
    let program = flower.of(NEW).join("bin/flower-superlink");
    let body =
        "while [ ! -e \"$HOME/crash\" ]; do sleep 0.1; done\necho 'no space left for the state' >&2\nexit 3";
    vm::script(&program, body);
    let mut vm = Vm::new(160, true, flower.of(NEW));
    vm.context(&[("FL_ROLE", "superlink")]);
    vm.start();
    vm.wait(&["step=\"processes\"", "ok: "]);
    let superlink = SuperLink::behind(&vm);
    vm.wait(&["step=\"publish\"", "ok: READY"]);
    assert_eq!(vm.gate().attribute("FL_ERROR"), None);
    std::fs::write(vm.disk().join("flower/crash"), "").unwrap();
    // OneGate is away when it is to be told.
    vm.gate().fault(Put, Status(503, "restarting"), 2);
    until("degraded", || vm.gate().attribute("FL_STATE").as_deref() == Some("degraded"));
    assert_eq!(vm.gate().attribute("FL_ERROR").as_deref(), Some("process_failed"));
    let text = decoded(&vm, "FL_ERROR_TEXT");
    assert!(
        text.contains("flower-superlink keeps ending (exit status: 3): no space left for the state"),
        "{text}"
    );
    let (exit, _, why) = vm.onefed(&["health"]);
    assert_eq!(exit, 1, "{why}");
    assert!(why.contains("process_failed: flower-superlink keeps ending"), "{why}");
    well_spoken(&vm);
    vm.end();
    drop(superlink);
}
