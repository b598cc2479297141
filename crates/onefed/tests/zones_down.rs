//! Zones that do not answer, answer something else, or do not let the operator in: each is named, all of them at once.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use support::{Desk, Sandbox, fake_flower, replaced, run};

/// A login for zones that are not there to check it.
fn login(desk: &Desk) {
    desk.write("sandbox/one_auth", "oneadmin:secret\n");
}

/// Answers every request on `address` with a web page, until the process ends.
fn web_page(address: &str) {
    let listener = TcpListener::bind(address).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // Enough of the request to have it read before the answer; who asks is not our business.
            let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
            let _ = stream.read(&mut [0; 4096]);
            let page = "<!DOCTYPE html><html><body>It works!</body></html>";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        }
    });
}

#[test]
fn every_zone_that_does_not_answer_is_named() {
    let desk = Desk::new("zones-dead", 121);
    desk.plan(|plan| plan);
    login(&desk);
    desk.snapshot("zones_down__dead_plan", &mut desk.onefed("plan")).expect(69);
    desk.snapshot("zones_down__dead_plan_json", &mut desk.onefed("plan --format json")).expect(69);
    desk.snapshot("zones_down__dead_destroy", &mut desk.onefed("destroy --yes")).expect(69);
    desk.snapshot("zones_down__dead_status", &mut desk.onefed("status")).expect(1);
    // What is left open by name is shown whatever else is known.
    let open = |variable: &str| {
        desk.plan(|plan| plan + &format!("\n{variable} = \"NO\"\n"));
        run(&mut desk.onefed("status")).expect(1).stdout
    };
    assert!(open("FL_NODE_AUTH").contains("OPEN       FL_NODE_AUTH is NO: whoever reaches the hub may join"));
    assert!(
        open("FL_TLS_ENABLED")
            .contains("OPEN       FL_TLS_ENABLED is NO: models and credentials travel as PLAINTEXT")
    );
    desk.plan(|plan| plan);
    run(&mut desk.onefed("apply")).expect(69);
    assert!(!desk.path(".onefed/ca.key").exists(), "an apply that reached no zone made keys");
}

#[test]
fn a_zone_that_is_a_web_page() {
    let desk = Desk::new("zones-garbage", 122);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    web_page(&desk.address("9.1:2633"));
    web_page(&desk.address("9.1:2474"));
    // First the XML-RPC endpoint of one zone, then the OneFlow endpoint of another.
    desk.plan(|plan| plan.replace(&desk.address("2.1:2633"), &desk.address("9.1:2633")));
    desk.snapshot("zones_down__garbage_xmlrpc", &mut desk.onefed("plan")).expect(78);
    desk.plan(|plan| plan.replace(&desk.address("3.1:2474"), &desk.address("9.1:2474")));
    desk.snapshot("zones_down__garbage_oneflow", &mut desk.onefed("plan")).expect(78);
    // What oned tells of a zone whose OneFlow does not answer is said all the same.
    desk.plan(|plan| {
        let plan = plan.replace(&desk.address("3.1:2474"), &desk.address("9.9:2474"));
        let lisbon = plan.find("[zone.lisbon]").unwrap();
        format!("{}{}", &plan[..lisbon], plan[lisbon..].replace("\"private\"", "\"lab\""))
    });
    let plan = run(&mut desk.onefed("plan")).expect(78);
    for words in ["error[zone::no-network]: zone lisbon: no network lab", "GET /service_template", "refused"]
    {
        assert!(plan.stderr.contains(words), "{words}: {}", plan.stderr);
    }
}

#[test]
fn logins_that_are_wrong_or_missing() {
    let desk = Desk::new("zones-login", 123);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);

    desk.write("wrong_auth", "oneadmin:guess\n");
    let paris =
        format!("oneflow  = \"http://{}\"\nauth     = \"sandbox/one_auth\"", desk.address("2.1:2474"));
    let with_auth =
        |name: &str| desk.plan(|plan| replaced(&plan, &paris, &paris.replace("sandbox/one_auth", name)));
    with_auth("wrong_auth");
    let refused = desk.snapshot("zones_down__wrong_password", &mut desk.onefed("plan")).expect(77);
    assert!(!refused.stderr.contains("guess"));

    desk.write("bad_auth", "just-a-password\n");
    with_auth("bad_auth");
    let refused = desk.snapshot("zones_down__bad_auth_file", &mut desk.onefed("plan")).expect(77);
    assert!(!refused.stderr.contains("just-a-password"));

    desk.plan(|plan| plan.replace("sandbox/one_auth", "nowhere/one_auth"));
    desk.snapshot("zones_down__missing_auth_files", &mut desk.onefed("plan")).expect(77);

    desk.plan(|plan| plan.replace("auth     = \"sandbox/one_auth\"", "# no auth"));
    desk.snapshot("zones_down__no_auth_anywhere", &mut desk.onefed("plan")).expect(77);
    let auth = desk.path("sandbox/one_auth");
    run(desk.onefed("plan").env("ONE_AUTH", &auth)).expect(2);
    std::fs::create_dir(desk.path(".one")).unwrap();
    std::fs::copy(auth, desk.path(".one/one_auth")).unwrap();
    run(&mut desk.onefed("plan")).expect(2);
}

#[test]
fn objects_that_a_zone_does_not_have() {
    let desk = Desk::new("zones-objects", 124);
    let flower = fake_flower(&desk, "1.41.0");
    let _zones = Sandbox::up(&desk, &flower);
    desk.plan(|plan| {
        let plan = plan.replace("template = \"onefed\"", "template = \"onefed-2\"");
        plan.replace("network  = \"private\"", "network  = 77")
    });
    desk.snapshot("zones_down__no_template", &mut desk.onefed("apply")).expect(78);
    assert!(!desk.path(".onefed/ca.key").exists(), "keys for a federation that cannot be");
    let plan = run(&mut desk.onefed("plan")).expect(78);
    assert!(plan.stderr.contains("zone lisbon: no VM template onefed-2"), "{}", plan.stderr);

    // A role that a zone has no VM of needs no template there.
    desk.plan(|plan| {
        let madrid = plan.find("[zone.paris]").unwrap();
        let one = plan[..madrid].replace("template = \"onefed\"", "superlink_template = 0\ntemplate = \"x\"");
        format!("{one}{}", &plan[madrid..])
    });
    let plan = run(&mut desk.onefed("plan")).expect(2);
    assert!(plan.stdout.ends_with("Plan: 6 to create, 0 to change, 0 to remove\n"), "{}", plan.stdout);
}
