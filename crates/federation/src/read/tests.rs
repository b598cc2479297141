use super::*;
use crate::model::{Reference, VmTemplate};
use proptest::prelude::*;

const CA: &str = include_str!("../../../context/tests/data/ca.pem");
const EXAMPLE: &str = include_str!("../../../../examples/three-zones.toml");

const ONE_ZONE: &str = include_str!("../../../../examples/one-zone.toml");

/// A small plan; each bad input is this one with a part replaced.
const SMALL: &str = r#"name = "lab"

[coordinator]
zone = "north"

[[site]]
name = "east"
zone = "east"
supernodes = 2

[zone.north]
endpoint = "http://127.0.1.1:2633/RPC2"
oneflow = "http://127.0.1.1:2474"
network = 0

[zone.east]
endpoint = "http://127.0.2.1:2633/RPC2"
oneflow = "http://127.0.2.1:2474"
network = "private"
"#;

/// All problems as text, errors before warnings.
pub(super) fn told(text: &str) -> String {
    let checked = check(text);
    assert_eq!(checked.federation.is_none(), !checked.errors.is_empty());
    let all = checked.errors.iter().chain(&checked.warnings);
    all.map(|diagnostic| format!("{diagnostic}\n")).collect()
}

/// The small plan with one piece of text replaced.
fn with(from: &str, to: &str) -> String {
    assert_eq!(SMALL.matches(from).count(), 1, "{from}");
    told(&SMALL.replace(from, to))
}

#[test]
fn the_example_is_a_plan_without_warnings() {
    let federation = parse(EXAMPLE).unwrap();
    assert_eq!(federation.warnings, []);
    assert_eq!(federation.name.as_str(), "hospitals");
    assert!(federation.tls && federation.hub().is_none());
    let names: Vec<_> = federation.zones.iter().map(|zone| zone.name.as_str()).collect();
    assert_eq!(names, ["madrid", "paris", "lisbon"]);
    let partitions: Vec<_> = federation.sites.iter().map(|s| (s.partition.base, s.partition.total)).collect();
    assert_eq!(partitions, [(0, 4), (2, 4)]);
}

#[test]
fn the_example_in_one_zone_is_a_plan_without_warnings() {
    let federation = parse(ONE_ZONE).unwrap();
    assert_eq!(federation.warnings, []);
    assert!(federation.sites.is_empty());
    assert_eq!(federation.coordinator.local.unwrap().supernodes.to_string(), "2");
    assert_eq!(federation.zones[0].machine.as_ref().unwrap().memory, 4096);
}

#[test]
fn the_table_and_flower_agree_on_the_default_release() {
    let default = onefed_context::variable("FLOWER_VERSION").unwrap().default;
    assert_eq!(default, Some(DEFAULT_RELEASE.to_string().as_str()));
    assert_eq!(parse(SMALL).unwrap().flower.version(), DEFAULT_RELEASE);
}

#[test]
fn everything_that_can_be_written_is_read() {
    let text = r#"
name = "lab"
flower = "1.40.0"
network = { mode = "public", subnet = "10.10.9.0/24" }
variables = { FL_LOG_LEVEL = "DEBUG", FL_TLS_ENABLED = true, FL_MAX_RETRIES = 5 }

[coordinator]
zone = "north"
address = "2001:DB8::1"
fleet_port = 443
admin_port = 444
variables = { FL_CERT_EXTRA_SAN = "DNS:hub.example.org" }

[[site]]
name = "east"
zone = "north"
supernodes = { min = 2, max = 10 }
gateway = "embedded"
flower = "1.40.0"
node_config = { lr = 0.5, data.path = "C:\\x", rows = 0x10, big = true }

[zone.north]
endpoint = "https://one.example.org/north/RPC2"
oneflow = "https://one.example.org/north/flow"
auth = "/etc/one_auth"
template = "flower"
gateway_template = 7
network = 0
lan = "192.168.0.0/16"
"#;
    let federation = parse(text).unwrap();
    assert_eq!(federation.warnings, []);
    assert_eq!(federation.hub().unwrap().to_string(), "[2001:db8::1]:443");
    assert_eq!(federation.variables.get("FL_TLS_ENABLED").map(String::as_str), Some("YES"));
    let [site] = federation.sites.as_slice() else { panic!("{:?}", federation.sites) };
    assert_eq!(site.node_config.to_string(), r#"big=true data.path="C:\\x" lr=0.5 rows=16"#);
    assert_eq!(site.supernodes.to_string(), "2 to 10");
    assert_eq!((site.partition.base, site.partition.total), (0, 10));
    let [zone] = federation.zones.as_slice() else { panic!("{:?}", federation.zones) };
    assert_eq!(zone.templates.gateway, VmTemplate::Given(Reference::Id(7)));
    assert_eq!(zone.templates.superlink, VmTemplate::Given(Reference::Name("flower".to_owned())));
    assert_eq!((zone.machine.is_none(), &zone.onegate, &zone.ca), (true, &None, &None));
}

#[test]
fn unknown_keys() {
    insta::assert_snapshot!(told(&format!(
        "nmae = 'x'\n{}",
        SMALL
            .replace("network = 0", "network = 0\nendpiont = 1")
            .replace("supernodes = 2", "supernode = 2\ncolour = 'red'")
    )));
}

#[test]
fn a_zone_that_nothing_uses() {
    let more = "\n[zone.west]\nendpoint = 'http://w:2633/RPC2'\noneflow = 'http://w:2474'\nnetwork = 1\n";
    insta::assert_snapshot!(told(&format!("{SMALL}{more}")), @"21:7: warning[plan::unused-zone]: nothing in the plan uses [zone.west]");
}

#[test]
fn zones_that_do_not_exist() {
    insta::assert_snapshot!(told(
        &SMALL
            .replace("zone = \"east\"\nsuper", "zone = \"eats\"\nsuper")
            .replace("zone = \"north\"", "zone = \"mars\"")
    ));
}

#[test]
fn two_coordinators() {
    let second = with("[[site]]", "[coordinator]\nzone = \"east\"\nport = 1\n\n[[site]]");
    let list = told(
        &SMALL
            .replace("[coordinator]", "[[coordinator]]")
            .replace("[[site]]", "[[coordinator]]\nzone = \"east\"\n\n[[site]]"),
    );
    let one = told(&SMALL.replace("[coordinator]", "[[coordinator]]"));
    insta::assert_snapshot!(format!(
        "[coordinator] twice\n{second}\n[[coordinator]] twice\n{list}\nonly one\n{one}"
    ));
}

#[test]
fn numbers_of_supernodes() {
    let mut out = String::new();
    for count in
        ["0", "{ min = 0, max = 2 }", "{ min = 3, max = 2 }", "-1", "1.5", "{ min = 1 }", "20000", "'2'"]
    {
        out.push_str(&format!("{count}\n{}", with("supernodes = 2", &format!("supernodes = {count}"))));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn addresses_and_ports() {
    let mut out = String::new();
    for line in [
        "address = '999.1.1.1'",
        "address = 'hub:9092'",
        "address = '0.0.0.0'",
        "address = 'http://hub'",
        "address = ''",
        "address = 10",
        "fleet_port = 0",
        "fleet_port = 65536",
        "admin_port = 9092",
    ] {
        out.push_str(&format!("{line}\n{}", with("zone = \"north\"", &format!("zone = \"north\"\n{line}"))));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn endpoints() {
    let mut out = String::new();
    for url in [
        "one",
        "ftp://one/RPC2",
        "http://127.0.1.1:2633",
        "http://127.0.1.1/RPC2",
        "http://:2633/RPC2",
        "http://one:0/RPC2",
        "http://one:99999/RPC2",
        "http://oneadmin:secret@one:2633/RPC2",
        "http://127.0.2.1:2633/RPC2",
    ] {
        out.push_str(&format!("{url}\n{}", with("http://127.0.1.1:2633/RPC2", url)));
    }
    let local =
        SMALL.replace("127.0.1.1:2633", "localhost:2633").replace("127.0.2.1:2633", "localhost:12633");
    out.push_str(&format!("localhost twice\n{}", told(&local)));
    insta::assert_snapshot!(out);
}

#[test]
fn versions() {
    // Which releases there are is for the crate that knows Flower.
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"covers \d[0-9., to]*", "covers [releases]");
    settings.add_filter(r"hint: use \d.*", "hint: use [releases]");
    let _guard = settings.bind_to_scope();
    let mut out = String::new();
    for flower in ["1.30.0", "1.99.0", "latest"] {
        out.push_str(&format!("{flower}\n{}", told(&format!("flower = '{flower}'\n{SMALL}"))));
    }
    out.push_str(&format!("site\n{}", with("supernodes = 2", "supernodes = 2\nflower = '1.30.0'")));
    insta::assert_snapshot!(out);
}

#[test]
fn a_site_may_run_another_release() {
    let plan = SMALL.replace("supernodes = 2", "supernodes = 2\nflower = '1.31.0'");
    let federation = parse(&format!("flower = '1.41.0'\n{plan}")).unwrap();
    assert_eq!(federation.warnings, []);
    let releases = [federation.flower, federation.sites[0].flower].map(|it| it.version().to_string());
    assert_eq!(releases, ["1.41.0", "1.31.0"]);
    let federation = parse(&format!("flower = '1.40.0'\n{SMALL}")).unwrap();
    assert_eq!(federation.sites[0].flower, federation.flower, "a site that names none has the federation's");
    // An image of one release, for VMs of another: as its VMs would say it.
    let image = "FL_RUNTIME = 'container', FL_CONTAINER_IMAGE = 'registry.example.org/flower:1.41.0'";
    let told =
        told(&plan.replace("flower = '1.31.0'", &format!("flower = '1.31.0'\nvariables = {{ {image} }}")));
    assert!(told.contains("context::image-release"), "{told}");
}

#[test]
fn networks() {
    let mut out = String::new();
    for network in [
        "mode = 'wireguard'",
        "mode = 'route'",
        "mode = 'vpn'",
        "subnet = '10.10.9.5/24'",
        "subnet = 'x'",
        "mtu = 1",
    ] {
        out.push_str(&format!("{network}\n{}", told(&format!("{SMALL}\n[network]\n{network}"))));
    }
    let overlap = SMALL.replace("network = 0", "network = 0\nlan = '10.0.0.0/8'");
    out.push_str(&format!("overlap\n{}", told(&format!("{overlap}\n[network]\nsubnet = '10.10.9.0/24'"))));
    insta::assert_snapshot!(out);
}

#[test]
fn variables() {
    insta::assert_snapshot!(told(&format!(
        "{}\n[variables]\n{}",
        SMALL
            .replace(
                "zone = \"north\"",
                "zone = \"north\"\nvariables = { FL_MAX_RETRIES = 3, FL_CERT_EXTRA_SAN = '10.0.0.1' }"
            )
            .replace(
                "supernodes = 2",
                "supernodes = 2\nvariables.FL_DATABASE = 'x'\nvariables.FL_LOG_LEVEL = 'info'"
            ),
        "FL_GRPC_KEEPALIV_TIME = 30\nONEAPP_FL_LOG_LEVEL = 'INFO'\nFLOWER_VERSION = '1.41.0'\nFL_ROLE = 'gateway'\n\
         FL_ISOLATION = 'process'\nFL_MAX_WAIT_TIME = [1]\nFL_CERT_EXTRA_SAN = 'DNS:${x}'\nFL_NODE_CONFIG = ''\n",
    )));
}

#[test]
fn node_configs() {
    insta::assert_snapshot!(with(
        "supernodes = 2",
        "supernodes = 2\n[site.node_config]\npartition-id = 0\n'a b' = 1\nlist = [1]\nwhen = 1979-05-27\nnan = nan\n\
         ok = 'a'\nhuge = 99999999999999999999\nhome = '${HOME}'\n"
    ));
}

#[test]
fn keepalive_over_all_zones() {
    let mut out = String::new();
    for (hub, site, all) in [
        ("", "", "FL_GRPC_KEEPALIVE_TIME = 15"),
        ("", "", "FL_GRPC_KEEPALIVE_TIMEOUT = 60"),
        ("", "FL_GRPC_KEEPALIVE_TIME = 20", ""),
        ("", "FL_GRPC_KEEPALIVE_TIME = 29", ""),
        ("", "FL_GRPC_KEEPALIVE_TIME = 30", ""),
        ("FL_GRPC_KEEPALIVE_TIME = 120", "", "FL_GRPC_KEEPALIVE_TIME = 40"),
        ("", "", "FL_GRPC_KEEPALIVE_TIME = 5\nFL_GRPC_KEEPALIVE_TIMEOUT = 2"),
    ] {
        let text = SMALL
            .replace("zone = \"north\"", &format!("zone = \"north\"\nvariables = {{ {hub} }}"))
            .replace("supernodes = 2", &format!("supernodes = 2\nvariables = {{ {site} }}"));
        let text = format!("{text}\n[variables]\n{all}");
        out.push_str(&format!("hub: {hub:?}, site: {site:?}, all: {all:?}\n{}", told(&text)));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn a_site_that_hides_cuts_for_longer_than_the_hub_is_warned_of() {
    let told = |hub: &str, site: &str, all: &str| {
        let text = SMALL
            .replace("zone = \"north\"", &format!("zone = \"north\"\nvariables = {{ {hub} }}"))
            .replace("supernodes = 2", &format!("supernodes = 2\nvariables = {{ {site} }}"));
        told(&format!("{text}\n[variables]\n{all}"))
    };
    let warned = [told("", "FL_LINK_HOLD = 1200", ""), told("FL_LINK_HOLD = 300", "", "")];
    let refused = told("", "FL_LINK_HOLD = 5", "");
    insta::assert_snapshot!([warned.concat(), refused].concat());
    for (hub, site, all) in
        [("", "FL_LINK_HOLD = 60", ""), ("", "", "FL_LINK_HOLD = 3600"), ("", "FL_LINK_HOLD = 0", "")]
    {
        assert_eq!(told(hub, site, all), told("", "", ""), "{hub} {site} {all}");
    }
}

#[test]
fn tls_is_the_same_everywhere() {
    let differs = with("supernodes = 2", "supernodes = 2\nvariables.FL_TLS_ENABLED = false");
    let plain = told(&format!("{SMALL}\n[variables]\nFL_TLS_ENABLED = 'no'"));
    assert!(!parse(&format!("{SMALL}\n[variables]\nFL_TLS_ENABLED = 'no'")).unwrap().tls);
    let public = told(&format!("{SMALL}\n[network]\nmode = 'public'\n[variables]\nFL_TLS_ENABLED = 'no'"));
    insta::assert_snapshot!(format!("{differs}\nall\n{plain}\npublic\n{public}"));
}

#[test]
fn sites_and_names() {
    let more = "\n[[site]]\nname = 'east'\nzone = 'east'\nsupernodes = 1\n[[site]]\nname = 'coordinator'\n\
                zone = 'east'\nsupernodes = 1\n[[site]]\nname = 'Über'\nzone = 'EAST'\nsupernodes = 1\n[[site]]\n";
    let single = told(&SMALL.replace("[[site]]", "[site]"));
    let gateway = with("supernodes = 2", "supernodes = 2\ngateway = 'dedicate'");
    insta::assert_snapshot!(format!(
        "{}\nsingle\n{single}\ngateway\n{gateway}",
        told(&format!("{SMALL}{more}"))
    ));
}

#[test]
fn what_is_missing() {
    insta::assert_snapshot!(format!(
        "nothing\n{}\nparts\n{}",
        told(""),
        told("name = 'x'\nsite = []\n[coordinator]\n[zone]\n")
    ));
}

#[test]
fn wrong_types() {
    insta::assert_snapshot!(told(
        "name = 1\nflower = 1.41\nnetwork = 'x'\ncoordinator = 'x'\nsite = 'x'\nzone = 'x'\nvariables = 1\n"
    ));
}

#[test]
fn syntax_errors_have_their_places() {
    let mut out = String::new();
    for text in [
        "name = lab\n[coordinator\nzone = 'x'\n",
        "name = 'ü' x\n",
        "a = [1,\nb = 2\n",
        "name = 'a'\nname = 'b'\n",
    ] {
        out.push_str(&format!("{text}{}\n", told(text)));
    }
    insta::assert_snapshot!(out);
}

#[test]
fn several_problems_come_at_once_and_in_order() {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"hint: use \d.*", "hint: use [releases]");
    let _guard = settings.bind_to_scope();
    let text = SMALL
        .replace("name = \"lab\"", "name = \"Lab\"\nflower = \"latest\"")
        .replace("zone = \"north\"", "zone = \"nroth\"\naddress = \"10.0.0.300\"")
        .replace("supernodes = 2", "supernodes = 0\ngatway = \"embedded\"")
        .replace("network = 0", "network = 0\nauht = \"x\"");
    insta::assert_snapshot!(told(&text));
    let places: Vec<_> = check(&text).errors.iter().map(|d| d.place.start).collect();
    assert!(places.is_sorted());
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).*", near in "(\\[\\[?[a-z.]{1,12}\\]?\\]\n|[a-z_]{1,6} = [0-9'\"{a-z=, }]{0,8}\n){0,12}") {
        let _ = check(&text);
        let _ = check(&near);
    }

    #[test]
    fn no_damage_to_a_plan_panics(at in 0usize..4000, length in 0usize..40, text in "[\\[\\]=\"'{}a-z0-9.\n]{0,8}") {
        for example in [EXAMPLE, ONE_ZONE] {
            let mut damaged = example.to_owned();
            let floor = |mut at: usize| { at = at.min(example.len()); while !example.is_char_boundary(at) { at -= 1 } at };
            damaged.replace_range(floor(at)..floor(at + length), &text);
            let checked = check(&damaged);
            prop_assert_eq!(checked.federation.is_none(), !checked.errors.is_empty());
            prop_assert!(checked.errors.iter().all(|d| d.code != "plan::internal"));
            for diagnostic in checked.errors.iter().chain(&checked.warnings) {
                prop_assert!(diagnostic.place.line >= 1 && diagnostic.place.column >= 1);
            }
        }
    }
}

#[test]
fn variables_are_checked_together_and_idle_ones_are_said() {
    let plan = |coordinator: &str, site: &str, all: &str| {
        let text = SMALL
            .replace("zone = \"north\"", &format!("zone = \"north\"\nvariables = {{ {coordinator} }}"))
            .replace("supernodes = 2", &format!("supernodes = 2\nvariables = {{ {site} }}"));
        told(&format!("{text}\n[variables]\n{all}"))
    };
    // Defaults are no wish of anybody, and draw nothing.
    assert_eq!(plan("FL_STRATEGY = \"FedAvg\"", "FL_GPU_ENABLED = false", "FL_LOG_FORMAT = \"text\""), "");
    let mut out = String::new();
    for (coordinator, site, all) in [
        ("FL_STRATEGY = \"Bulyan\"", "", "FL_MIN_AVAILABLE_CLIENTS = 2"),
        ("", "", "FL_MIN_AVAILABLE_CLIENTS = 3"),
        ("FL_PROXIMAL_MU = 0.5", "FL_USE_CASE = \"anomaly-detection\"", "FL_LOG_FORMAT = \"json\""),
        ("FL_METRICS_ENABLED = true, FL_METRICS_PORT = 9443", "", ""),
        ("FL_SSL_KEYFILE = \"x\"", "", "FL_CONTROL_API_ADDRESS = \"0.0.0.0:9093\""),
    ] {
        out += &format!("{coordinator} | {site} | {all}\n{}", plan(coordinator, site, all));
    }
    insta::assert_snapshot!(out, @r#"
FL_STRATEGY = "Bulyan" |  | FL_MIN_AVAILABLE_CLIENTS = 2
24:28: error[context::byzantine-bound]: Bulyan requires n >= 4*f+3. FL_MIN_AVAILABLE_CLIENTS=2, FL_NUM_MALICIOUS=0 requires n >= 3.
  hint: set FL_MIN_AVAILABLE_CLIENTS to at least 3
5:29: warning[context::not-used-yet]: FL_STRATEGY is not used by onefed yet; the app decides, and `onefed train --run-config` overrides what it declares.
 |  | FL_MIN_AVAILABLE_CLIENTS = 3
24:28: error[plan::too-few-supernodes]: FL_MIN_AVAILABLE_CLIENTS is 3, but all sites together have at most 2 SuperNodes
  hint: a run would wait for ever: lower it, or add SuperNodes
24:28: warning[context::not-used-yet]: FL_MIN_AVAILABLE_CLIENTS is not used by onefed yet; the app decides, and `onefed train --run-config` overrides what it declares.
FL_PROXIMAL_MU = 0.5 | FL_USE_CASE = "anomaly-detection" | FL_LOG_FORMAT = "json"
11:29: error[context::use-case]: FL_USE_CASE 'anomaly-detection' requires ML_FRAMEWORK 'sklearn', but ML_FRAMEWORK is set to 'pytorch'
5:32: warning[context::no-effect]: FL_PROXIMAL_MU has no effect unless FL_STRATEGY is FedProx.
11:29: warning[context::not-used-yet]: FL_USE_CASE is not used by onefed yet; an app is submitted with `onefed train`.
24:17: warning[context::not-used-yet]: FL_LOG_FORMAT is not used by onefed yet; log lines are plain text.
FL_METRICS_ENABLED = true, FL_METRICS_PORT = 9443 |  | 
5:60: error[context::port-twice]: FL_METRICS_PORT (9443) is the port of FL_ADMIN_API_ADDRESS already.
5:36: warning[context::not-used-yet]: FL_METRICS_ENABLED is not used by onefed yet; training metrics are not exposed.
5:60: warning[context::not-used-yet]: FL_METRICS_PORT is not used by onefed yet; training metrics are not exposed.
FL_SSL_KEYFILE = "x" |  | FL_CONTROL_API_ADDRESS = "0.0.0.0:9093"
5:15: error[plan::managed-variable]: `FL_SSL_KEYFILE` is set by onefed
  hint: leave it out: the hub makes its own key and gets its certificate from the federation's CA
24:26: warning[context::not-used]: FL_CONTROL_API_ADDRESS is not used by onefed; the Control API listens on the VM's loopback, and `onefed connect` reaches it through the hub.
"#);
}

#[test]
fn node_authentication_is_on_unless_the_plan_says_otherwise() {
    let told = |variables: &str| told(&format!("{SMALL}\n[variables]\n{variables}"));
    assert_eq!(told("FL_NODE_AUTH = true"), "");
    assert_eq!(told("FL_NODE_AUTH = false"), "");
    insta::assert_snapshot!(told("FL_NODE_AUTH = true\nFL_TLS_ENABLED = false"));
    insta::assert_snapshot!(told(
        "FL_RUNTIME = 'container'\nFL_CONTAINER_IMAGE = 'x/y:1.40.0'\nFL_CA_TRUST = 'first-use'"
    ));
}

#[test]
fn a_plan_that_opens_its_sites_by_name_registers_no_keys_unless_told() {
    let node_auth =
        |variables: &str| parse(&format!("{SMALL}\n[variables]\n{variables}")).unwrap().node_auth();
    let said = |variables: &str| told(&format!("{SMALL}\n[variables]\n{variables}"));
    assert!(node_auth(""), "the default is no wish of anybody");
    assert!(!node_auth("FL_SITE_ENROLMENT = 'open'"));
    assert!(node_auth("FL_SITE_ENROLMENT = 'open'\nFL_NODE_AUTH = true"));
    assert_eq!(said("FL_SITE_ENROLMENT = 'open'"), "");
    assert_eq!(said("FL_SITE_ENROLMENT = 'open'\nFL_NODE_AUTH = false"), "");
    insta::assert_snapshot!(said("FL_SITE_ENROLMENT = 'open'\nFL_NODE_AUTH = true"), @"
    23:16: warning[plan::open-with-keys]: FL_SITE_ENROLMENT is open and FL_NODE_AUTH is YES: SuperNodes of sites that are made by hand wait until somebody registers their keys
      hint: leave FL_NODE_AUTH out, or register each key: `flwr supernode register` through `onefed connect`
    ");
    insta::assert_snapshot!(said("FL_SITE_ENROLMENT = 'token'"), @"
    22:21: error[context::unsupported]: FL_SITE_ENROLMENT=token is planned, and not supported yet.
      hint: use open
    ");
    let only_here = SMALL
        .replace("zone = \"north\"", "zone = \"north\"\nvariables.FL_SITE_ENROLMENT = 'open'")
        .replace("supernodes = 2", "supernodes = 2\nvariables.FL_NODE_AUTH = true");
    insta::assert_snapshot!(told(&only_here), @"
    11:26: error[plan::node-auth-differs]: FL_NODE_AUTH is YES for site `east` but NO for the coordinator
      hint: set it once, in [variables]
    ");
}

/// A plan refuses what its VMs would refuse, and nothing else: with every switch at its default, the value of each
/// variable that a plan may set gets the same messages from both.
#[test]
fn a_plan_is_as_strict_as_the_boot_of_its_vms() {
    use onefed_context::{Placement, RawContext, TABLE, validate};
    const VALUES: [&str; 22] = [
        "x",
        "-1",
        "0",
        "1",
        "2",
        "7",
        "YES",
        "no",
        "null",
        "undefined",
        "1.5",
        "0.2",
        "1e-3",
        "/x/y",
        "rel/ative",
        "..",
        "all",
        "0,1",
        "9092",
        "a b",
        "process",
        "IP:1.2.3.4",
    ];
    for row in TABLE.iter().filter(|row| row.placement != Placement::Infrastructure) {
        for value in VALUES {
            let plan = check(&format!("{SMALL}\n[variables]\n{} = '{value}'", row.name));
            if plan.errors.iter().any(|error| error.code == "plan::managed-variable") {
                continue;
            }
            let of_plan: Vec<_> = plan
                .errors
                .iter()
                .filter(|e| e.code.starts_with("context::"))
                .map(|e| e.message.clone())
                .collect();
            let mut of_vms = Vec::new();
            for role in row.roles {
                let mut pairs = vec![("FL_ROLE", role.as_str()), ("VMID", "1"), ("ETH0_IP", "10.0.0.2")];
                if role.as_str() != "superlink" {
                    pairs.extend([
                        ("FL_SITE", "east"),
                        ("FL_SUPERLINK_ADDRESS", "hub:9092"),
                        ("FL_SSL_CA_CERTFILE", CA),
                        // What every plan gives its VMs.
                        ("TOKEN", "YES"),
                        ("ONEGATE_ENDPOINT", "http://127.0.0.1:5030"),
                    ]);
                }
                if role.as_str() == "gateway" {
                    pairs.push(("FL_ENROL_KEY", "q1w2e3r4t5y6u7i8o9p0-_q1w2e3r4t5"));
                }
                pairs.push((row.name, value));
                let own = validate(&RawContext::from_pairs(pairs)).problems;
                of_vms.extend(
                    own.into_iter()
                        .filter(|p| p.is_error() && p.code != "context::missing")
                        .map(|p| p.message),
                );
            }
            // A CA next to plaintext is the test's own doing.
            of_vms.retain(|message| !message.contains("implies TLS"));
            for message in &of_vms {
                // The plan names the part.
                assert!(
                    of_plan.iter().any(|have| have.contains(message.as_str())),
                    "{}={value}: only a VM says {message}",
                    row.name
                );
            }
            for message in &of_plan {
                assert!(
                    of_vms.iter().any(|have| message.contains(have.as_str())),
                    "{}={value}: only the plan says {message}",
                    row.name
                );
            }
        }
    }
}
