use super::super::SystemdError;
use super::super::unit::render;
use super::*;

fn text(service: &Service) -> String {
    render(service, &"ab".repeat(32)).unwrap()
}

#[test]
fn a_hub() {
    insta::assert_snapshot!(text(&hub()));
}

#[test]
fn a_supernode() {
    insta::assert_snapshot!(text(&supernode(false)));
}

#[test]
fn a_container_of_each_engine() {
    insta::assert_snapshot!(
        [Engine::Docker, Engine::Podman].map(|engine| text(&container(engine))).join("\n=====\n")
    );
}

#[test]
fn a_gpu_keeps_its_devices_and_no_others() {
    let (without, with) = (text(&supernode(false)), text(&supernode(true)));
    assert!(without.contains("PrivateDevices=yes") && !without.contains("DeviceAllow"));
    assert!(
        !with.contains("PrivateDevices")
            && with.contains("DevicePolicy=closed\nDeviceAllow=char-nvidia* rw\n")
    );
}

#[test]
fn a_low_port_costs_one_capability() {
    let mut low = hub();
    low.listens = vec!["0.0.0.0:443".parse().unwrap()];
    assert!(text(&low).contains(
        "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"
    ));
    assert!(text(&hub()).contains("\nCapabilityBoundingSet=\nAmbientCapabilities=\n"));
}

#[test]
fn what_the_operator_put_below_a_protected_directory_stays_visible() {
    let mut homely = supernode(false);
    homely.command.program = "/run/user/7/venv/bin/flower-supernode".into();
    assert!(text(&homely).contains("ProtectHome=read-only"));
    homely.writes.push("/var/tmp/state".into());
    assert!(text(&homely).contains("PrivateTmp=no"));
    assert!(text(&supernode(false)).contains("ProtectHome=yes\nPrivateTmp=yes\n"));
}

#[test]
fn no_unit_is_started_by_a_target() {
    for service in [hub(), supernode(true), container(Engine::Docker)] {
        assert!(!text(&service).contains("[Install]"), "{}", service.name);
    }
}

#[test]
fn everything_that_cannot_be_said_is_refused_at_once() {
    let mut bad = service("hub", "onefed", &["a\0b", &"x".repeat(200_000)]);
    bad.command.env = vec![("A B".into(), "1".into()), ("C".into(), "\0".into())];
    bad.writes = vec!["relative".into()];
    let Err(SystemdError::Several(problems)) = render(&bad, "") else { panic!("accepted") };
    let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 6, "{texts:#?}");
    assert!(texts.iter().all(|text| text.starts_with("onefed-hub.service: ")));
    let many = "y".repeat(100_000);
    let long = service("hub", "/usr/bin/onefed", &[many.as_str(); 11]);
    assert!(render(&long, "").unwrap_err().to_string().contains("longer than 1 MiB"));
}
