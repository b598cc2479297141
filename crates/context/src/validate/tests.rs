use super::cases::{CA, CASES, KEY};
use super::*;
use crate::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn base(role: &str) -> BTreeMap<&'static str, String> {
    let mut map = BTreeMap::from([("FL_FEDERATION", "hospitals"), ("VMID", "7"), ("ETH0_IP", "10.0.0.2")]);
    if role != "superlink" {
        map.insert("FL_SITE", "paris");
        map.insert("FL_SSL_CA_CERTFILE", CA);
    }
    if role == "supernode" {
        map.insert("TOKEN", "YES");
        map.insert("ONEGATE_ENDPOINT", "http://127.0.0.1:5030");
    }
    if role == "gateway" {
        map.insert("FL_SUPERLINK_ADDRESS", "10.0.0.1:9092");
        map.insert("FL_ENROL_KEY", KEY);
    }
    let mut map: BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, v.to_owned())).collect();
    map.insert("FL_ROLE", role.to_owned());
    map
}

/// Validates the base of a role with changes; an empty value takes a variable away.
pub(super) fn with(role: &str, changes: &[(&'static str, &str)]) -> Validated {
    let mut map = base(role);
    map.extend(changes.iter().map(|(k, v)| (*k, (*v).to_owned())));
    validate(&RawContext::from_pairs(map))
}

/// The codes and messages of all problems, one a line.
pub(super) fn told(role: &str, changes: &[(&'static str, &str)]) -> String {
    let validated = with(role, changes);
    assert_eq!(validated.context.is_none(), validated.problems.iter().any(Problem::is_error));
    validated.problems.iter().map(|p| format!("{} {}: {}\n", p.severity, p.code, p.message)).collect()
}

pub(super) fn context(role: &str, changes: &[(&'static str, &str)]) -> VmContext {
    let validated = with(role, changes);
    validated.context.unwrap_or_else(|| panic!("{:#?}", validated.problems))
}

#[test]
fn every_row_accepts_and_refuses_as_its_reference_says() {
    let tested: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
    let known: BTreeSet<_> = TABLE.iter().map(|row| row.name).collect();
    assert_eq!(tested, known, "every row of the table needs its case");
    for case in CASES {
        let row = variable(case.name).unwrap();
        for good in case.good {
            assert_eq!(row.check(good), Ok(()), "{}={good}", case.name);
        }
        assert_eq!(row.check(row.default.unwrap_or_default()), Ok(()), "the default of {}", case.name);
        for (bad, message) in case.bad {
            let problem = row.check(bad).expect_err(case.name);
            assert_eq!(&problem.message, message);
            assert_eq!(problem.variable.as_deref(), Some(case.name));
            // The same message comes out of a whole context, with the switch on that makes the value matter.
            let mut changes = vec![(case.name, *bad)];
            changes.extend(row.only_when.map(|when| (when.variable, when.words[0])));
            let all = told("superlink", &changes);
            assert!(all.contains(message), "{all}");
        }
    }
}

#[test]
fn rows_are_well_formed() {
    let mut names = BTreeSet::new();
    for row in TABLE {
        assert!(names.insert(row.name), "{} twice", row.name);
        assert!(!row.roles.is_empty() && !row.description.is_empty(), "{}", row.name);
        assert!(!row.description.contains('|'), "{}", row.name);
        if let Some(input) = row.user_input() {
            assert_eq!(input.split('|').count(), 5, "{input}");
        }
        if row.secret {
            assert!(!row.error.contains("{value}"), "{} shows its value", row.name);
        }
    }
}

#[test]
fn inputs_are_opennebulas_five_fields() {
    let input = |name: &str| variable(name).unwrap().user_input();
    assert_eq!(input("FL_GRPC_KEEPALIVE_TIME").unwrap(), "O|number|gRPC keepalive interval in seconds||60");
    assert_eq!(
        input("FL_LOG_LEVEL").unwrap(),
        "O|list|Log verbosity of the Flower process|DEBUG,INFO,WARNING,ERROR|INFO"
    );
    assert_eq!(input("FL_ROLE"), None);
    let row = variable("FL_SUPERLINK_ADDRESS").unwrap();
    assert_eq!(
        row.user_input_as(InputFlag::Mandatory, "a|b").unwrap(),
        "M|text|Where the hub of the federation is reached, host:port||"
    );
}

#[test]
fn a_superlink_gets_defaults_and_all_of_its_addresses() {
    let vm =
        context("superlink", &[("ETH10_IP", "10.9.0.1"), ("ETH2_IP", "10.2.0.1"), ("ETH0_IP6", "fd00::2")]);
    let addresses: Vec<_> = vm.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.2", "fd00::2", "10.2.0.1", "10.9.0.1"]);
    assert_eq!((vm.vm_id, vm.tls(), vm.onegate, vm.log_level), (Some(7), true, None, LogLevel::Info));
    assert_eq!(vm.keepalive, KeepAlive::from_secs(60, 20).unwrap());
    assert_eq!((vm.link.hold.as_secs(), vm.link.disk_bytes), (600, 10 << 30));
    assert_eq!(vm.flower.as_str(), "1.41.0");
    let RoleContext::SuperLink(own) = vm.role else { panic!("{:?}", vm.role) };
    assert_eq!(own.fleet_api.to_string(), "0.0.0.0:9092");
    assert_eq!(own.admin_api.to_string(), "0.0.0.0:9443");
    assert_eq!((own.database.as_str(), own.extra_san.len()), ("state/state.db", 0));
    assert_eq!((own.tls, own.node_auth, own.runtime), (SuperLinkTls::Own, false, Runtime::Venv));
}

#[test]
fn no_limit_is_the_absence_of_the_flag() {
    let own = |changes: &[(&'static str, &str)]| match context("supernode", changes).role {
        RoleContext::SuperNode(own) => own,
        other => panic!("{other:?}"),
    };
    let plain = own(&[]);
    assert_eq!((plain.max_retries, plain.max_wait, plain.hub, plain.partition), (None, None, None, None));
    let limited = own(&[
        ("FL_MAX_RETRIES", "5"),
        ("FL_MAX_WAIT_TIME", "60"),
        ("FL_PARTITION_BASE", "2"),
        ("FL_NUM_PARTITIONS", "4"),
    ]);
    assert_eq!((limited.max_retries, limited.max_wait), (Some(5), Some(60)));
    assert_eq!(limited.partition, Some(PartitionShare { base: 2, total: 4 }));
    let embedded = own(&[("FL_GATEWAY", "embedded"), ("FL_SUPERLINK_ADDRESS", "hub:9092")]);
    assert_eq!(embedded.hub, Some(HubSource::Static("hub:9092".parse().unwrap())));
}

#[test]
fn tls_fails_closed() {
    insta::assert_snapshot!(told("gateway", &[("FL_SSL_CA_CERTFILE", "")]),
        @"error context::tls-without-ca: FL_SSL_CA_CERTFILE is required for role gateway when FL_TLS_ENABLED is YES.");
    insta::assert_snapshot!(told("supernode", &[("FL_SSL_CA_CERTFILE", "")]),
        @"error context::tls-without-ca: FL_SSL_CA_CERTFILE is required for role supernode when FL_TLS_ENABLED is YES.");
    insta::assert_snapshot!(told("gateway", &[("FL_TLS_ENABLED", "no")]),
        @"error context::ca-without-tls: FL_SSL_CA_CERTFILE is given but FL_TLS_ENABLED is NO: a CA implies TLS.");
    assert_eq!(told("superlink", &[("FL_SSL_CA_CERTFILE", "")]), "");
    insta::assert_snapshot!(told("superlink", &[("FL_SSL_CA_CERTFILE", ""), ("FL_ENROL_KEY", KEY)]),
        @"error context::enrol-without-ca: FL_ENROL_KEY is given without FL_SSL_CA_CERTFILE: there is no CA to enrol with.");
    insta::assert_snapshot!(told("gateway", &[("FL_SSL_CA_CERTFILE", ""), ("FL_TLS_ENABLED", "NO"), ("FL_ENROL_KEY", KEY)]), @"
    error context::enrol-without-ca: FL_ENROL_KEY is given without FL_SSL_CA_CERTFILE: there is no CA to enrol with.
    warning context::plaintext: FL_TLS_ENABLED is NO: models and credentials travel unencrypted.
    ");
    assert!(!context("superlink", &[("FL_SSL_CA_CERTFILE", ""), ("FL_TLS_ENABLED", "No")]).tls());
}

#[test]
fn keepalive_is_compared_with_its_defaults() {
    insta::assert_snapshot!(told("gateway", &[("FL_GRPC_KEEPALIVE_TIME", "15")]),
        @"error context::keepalive-order: FL_GRPC_KEEPALIVE_TIMEOUT (20) must be less than FL_GRPC_KEEPALIVE_TIME (15).");
    insta::assert_snapshot!(told("superlink", &[("FL_GRPC_KEEPALIVE_TIMEOUT", "60")]),
        @"error context::keepalive-order: FL_GRPC_KEEPALIVE_TIMEOUT (60) must be less than FL_GRPC_KEEPALIVE_TIME (60).");
    insta::assert_snapshot!(told("gateway", &[("FL_GRPC_KEEPALIVE_TIME", "9"), ("FL_GRPC_KEEPALIVE_TIMEOUT", "3")]),
        @"warning context::keepalive-short: FL_GRPC_KEEPALIVE_TIME=9 is aggressive and may cause excessive traffic.");
}

#[test]
fn what_is_missing_is_said_for_the_role() {
    insta::assert_snapshot!(told("gateway", &[("FL_SITE", ""), ("FL_SUPERLINK_ADDRESS", ""), ("TOKEN", "YES")]), @"
    error context::missing: FL_SUPERLINK_ADDRESS is required for role gateway.
    error context::missing: FL_SITE is required for role gateway.
    error context::missing: ONEGATE_ENDPOINT is required when TOKEN is YES.
    ");
    insta::assert_snapshot!(told("supernode", &[("FL_GATEWAY", "embedded")]),
        @"error context::missing: FL_SUPERLINK_ADDRESS is required for role supernode with FL_SITE and FL_GATEWAY=embedded.");
    let empty = validate(&RawContext::default());
    let codes: Vec<_> = empty.problems.iter().map(|p| (p.code, p.variable.clone().unwrap())).collect();
    let missing = ["FL_ROLE", "ETH0_IP"].map(|n| ("context::missing", n.to_owned()));
    assert_eq!(codes, missing);
}

#[test]
fn partitions_come_in_pairs_and_once() {
    insta::assert_snapshot!(told("supernode", &[("FL_PARTITION_BASE", "0")]),
        @"error context::partition-pair: FL_NUM_PARTITIONS is required when FL_PARTITION_BASE is given.");
    insta::assert_snapshot!(
        told("supernode", &[("FL_PARTITION_BASE", "4"), ("FL_NUM_PARTITIONS", "4"), ("FL_NODE_CONFIG", "partition-id=0")]),
        @"
    error context::partition-range: FL_PARTITION_BASE (4) must be less than FL_NUM_PARTITIONS (4).
    error context::partition-twice: FL_NODE_CONFIG sets partition-id, which comes from FL_PARTITION_BASE and FL_NUM_PARTITIONS already.
    ");
}

#[test]
fn names_are_known_or_suggested() {
    let raw = RawContext::from_pairs([
        ("FL_GRPC_KEEPALIV_TIME", "60"),
        ("ONEAPP_FL_SIET", "paris"),
        ("FLOWER_VERSON", "1.41.0"),
        ("FL_NO_SUCH_THING_AT_ALL", ""),
        ("FL_SITE", "paris"),
        ("ONEAPP_FL_SITE", "lyon"),
        ("DISK_ID", "1"),
    ]);
    let problems = validate(&raw).problems;
    let text: String = problems.iter().take(4).map(|p| format!("{p}\n")).collect();
    insta::assert_snapshot!(text, @"
    error[context::unknown]: FLOWER_VERSON is not a known variable.
      hint: did you mean FLOWER_VERSION?
    error[context::unknown]: FL_GRPC_KEEPALIV_TIME is not a known variable.
      hint: did you mean FL_GRPC_KEEPALIVE_TIME?
    error[context::unknown]: ONEAPP_FL_SIET is not a known variable.
      hint: did you mean FL_SITE?
    error[context::conflict]: ONEAPP_FL_SITE and FL_SITE are the same variable but have different values.
      hint: give only one of them
    ");
}

#[test]
fn what_a_role_does_not_use_is_a_remark() {
    insta::assert_snapshot!(
        told("supernode", &[
            ("FL_SUPERLINK_ADDRESS", "hub:9092"),
            ("FL_DATABASE", "state/state.db"),
            ("FL_CERT_EXTRA_SAN", "DNS:x"),
            ("FL_ENROL_KEY", KEY),
        ]),
        @"
info context::unused: FL_SUPERLINK_ADDRESS is set, but this supernode does not use it: it acts on the site's gateway.
info context::unused: FL_CERT_EXTRA_SAN is set, but this supernode does not use it.
info context::unused: FL_ENROL_KEY is set, but this supernode does not use it.
");
}

#[test]
fn the_keepalive_pair_of_a_supernode_acts_on_its_gateway() {
    let pair = [("FL_GRPC_KEEPALIVE_TIME", "40"), ("FL_GRPC_KEEPALIVE_TIMEOUT", "15")];
    insta::assert_snapshot!(told("supernode", &pair), @"
    info context::unused: FL_GRPC_KEEPALIVE_TIME is set, but this supernode does not use it: it acts on the site's gateway.
    info context::unused: FL_GRPC_KEEPALIVE_TIMEOUT is set, but this supernode does not use it: it acts on the site's gateway.
    ");
    let mut embedded = pair.to_vec();
    embedded.extend([("FL_GATEWAY", "embedded"), ("FL_SUPERLINK_ADDRESS", "hub")]);
    assert_eq!(told("supernode", &embedded), "");
    assert_eq!(context("supernode", &embedded).keepalive, KeepAlive::from_secs(40, 15).unwrap());
}

#[test]
fn what_the_link_may_acts_where_the_line_ends() {
    let set = [("FL_LINK_HOLD", "0"), ("FL_LINK_DISK", "512")];
    for role in ["superlink", "gateway"] {
        let link = context(role, &set).link;
        assert_eq!((link.hold.as_secs(), link.disk_bytes), (0, 512 << 20), "{role}");
    }
    insta::assert_snapshot!(told("supernode", &set), @"
    info context::unused: FL_LINK_HOLD is set, but this supernode does not use it: it acts on the site's gateway.
    info context::unused: FL_LINK_DISK is set, but this supernode does not use it: it acts on the site's gateway.
    ");
}

/// Whoever sets a variable gets another context or reads a line. Each row shows it on each role with some value.
#[test]
fn every_row_is_used_or_noted() {
    for case in CASES {
        let row = variable(case.name).unwrap();
        let values: Vec<_> = case.good.iter().filter(|good| !row.is_default(good)).collect();
        for role in Role::ALL {
            // OpenNebula's own, and what a template's author writes for all roles alike.
            let others = row.effect == Effect::Platform
                || (row.placement == Placement::Infrastructure && !row.roles.contains(role));
            // The value that this test has to vary, and one of which only the default is supported.
            if others || row.name == "FL_ROLE" || values.is_empty() {
                assert!(
                    !values.is_empty() || ["FL_ISOLATION", "FL_SITE_ENROLMENT"].contains(&row.name),
                    "{} has only its default",
                    row.name
                );
                continue;
            }
            let shows = |good: &str| {
                let mut around = vec![("TOKEN", "YES"), ("ONEGATE_ENDPOINT", "http://127.0.0.1:5030")];
                // The switch on, so that only the role and the effect are left.
                around.extend(row.only_when.map(|when| (when.variable, when.words[0])));
                around.retain(|(name, _)| *name != row.name || row.name == "ONEGATE_ENDPOINT");
                let without = [&around[..], &[(row.name, "")]].concat();
                around.push((row.name, good));
                let (before, after) = (with(role.as_str(), &without), with(role.as_str(), &around));
                before.context != after.context || before.problems != after.problems
            };
            assert!(
                values.iter().any(|good| shows(good)),
                "{} does nothing on a {role} and says nothing",
                row.name
            );
        }
    }
}

#[test]
fn a_whole_file_is_read_and_its_secret_stays_hidden() {
    let mut variables: BTreeMap<String, String> =
        base("gateway").into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    variables.extend(
        [
            ("FL_ENROL_KEY", KEY),
            ("TOKEN", "YES"),
            ("ONEGATE_ENDPOINT", "http://127.0.0.1:5030"),
            ("ETH0_MAC", "02:00"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned())),
    );
    let text = render_context_sh(&variables);
    let validated = read_context_sh(&text);
    assert_eq!(validated.problems, []);
    let vm = validated.context.unwrap();
    assert_eq!(vm.onegate.as_deref(), Some("http://127.0.0.1:5030"));
    assert!(!format!("{vm:?}").contains(KEY));
    let RoleContext::Gateway(own) = vm.role else { panic!("{:?}", vm.role) };
    let GatewayTls::Enrolled { key, .. } = own.tls else { panic!("{:?}", own.tls) };
    assert_eq!(key.expose(), KEY);
    assert!(read_context_sh(&format!("{text}\nOPEN='")).context.is_none());
}

#[test]
fn the_variables_of_phase_7_are_word_for_word() {
    for (name, input) in [
        ("FL_GRPC_KEEPALIVE_TIME", "O|number|gRPC keepalive interval in seconds||60"),
        ("FL_GRPC_KEEPALIVE_TIMEOUT", "O|number|gRPC keepalive ACK timeout in seconds||20"),
        (
            "FL_CERT_EXTRA_SAN",
            "O|text|Additional SAN entries for auto-generated TLS cert (comma-separated IP:/DNS:)||",
        ),
    ] {
        assert_eq!(variable(name).unwrap().user_input().unwrap(), input);
    }
}

#[test]
fn nothing_is_silently_inert() {
    for case in CASES {
        let row = variable(case.name).unwrap();
        if matches!(row.effect, Effect::Used | Effect::Platform) {
            continue;
        }
        let role = row.roles[0].as_str();
        for good in case.good.iter().filter(|good| !row.is_default(good)) {
            let mut changes = vec![(case.name, *good)];
            changes.extend(row.only_when.map(|when| (when.variable, when.words[0])));
            let lines = with(role, &changes).problems;
            let own: Vec<_> = lines
                .iter()
                .filter(|p| {
                    p.variable.as_deref() == Some(case.name) && p.code.starts_with("context::not-used")
                })
                .collect();
            assert_eq!(own.len(), 1, "{}={good}: {lines:?}", case.name);
        }
        let default = row.default.unwrap_or_default();
        assert!(told(role, &[(case.name, default)]).is_empty(), "{}", case.name);
    }
}

#[test]
fn a_value_behind_a_switch_that_is_off_is_one_remark() {
    insta::assert_snapshot!(told("superlink", &[("FL_PROXIMAL_MU", "0.5"), ("FL_CHECKPOINT_PATH", "/models"), ("FL_METRICS_PORT", "9200")]), @"
info context::no-effect: FL_PROXIMAL_MU has no effect unless FL_STRATEGY is FedProx.
info context::no-effect: FL_CHECKPOINT_PATH has no effect unless FL_CHECKPOINT_ENABLED is YES.
info context::no-effect: FL_METRICS_PORT has no effect unless FL_METRICS_ENABLED is YES.
");
    insta::assert_snapshot!(told("supernode", &[("FL_CUDA_VISIBLE_DEVICES", "1"), ("FL_NUM_ROUNDS", "7")]), @"
info context::unused: FL_NUM_ROUNDS is set, but this supernode does not use it.
info context::no-effect: FL_CUDA_VISIBLE_DEVICES has no effect unless FL_GPU_ENABLED is YES.
");
}

#[test]
fn the_bounds_of_the_strategies_are_as_they_really_are() {
    let bound = |strategy: &str, n: &str, f: &str, beta: &str| {
        let changes = [
            ("FL_STRATEGY", strategy),
            ("FL_MIN_AVAILABLE_CLIENTS", n),
            ("FL_NUM_MALICIOUS", f),
            ("FL_TRIM_BETA", beta),
        ];
        let problems = with("superlink", &changes).problems;
        let own = problems.into_iter().filter(|p| !p.code.starts_with("context::no"));
        own.map(|p| format!("{}: {}", p.severity, p.message)).collect::<Vec<_>>().join("; ")
    };
    for (strategy, n, f) in [
        ("Krum", "5", "1"),
        ("Krum", "7", "2"),
        ("Bulyan", "7", "1"),
        ("Bulyan", "3", "0"),
        ("Bulyan", "11", "2"),
        ("FedAvg", "2", "9"),
    ] {
        assert_eq!(bound(strategy, n, f, ""), "", "{strategy} {n} {f}");
    }
    assert_eq!(bound("FedTrimmedAvg", "5", "", "0.2"), "");
    insta::assert_snapshot!(bound("Krum", "4", "1", ""), @"error: Krum requires n >= 2*f+3. FL_MIN_AVAILABLE_CLIENTS=4, FL_NUM_MALICIOUS=1 requires n >= 5.");
    insta::assert_snapshot!(bound("Krum", "2", "0", ""), @"warning: Krum compares nothing with fewer than 3 clients; FL_MIN_AVAILABLE_CLIENTS is 2.");
    insta::assert_snapshot!(bound("Bulyan", "2", "", ""), @"error: Bulyan requires n >= 4*f+3. FL_MIN_AVAILABLE_CLIENTS=2, FL_NUM_MALICIOUS=0 requires n >= 3.");
    insta::assert_snapshot!(bound("Bulyan", "10", "2", ""), @"error: Bulyan requires n >= 4*f+3. FL_MIN_AVAILABLE_CLIENTS=10, FL_NUM_MALICIOUS=2 requires n >= 11.");
    insta::assert_snapshot!(bound("FedTrimmedAvg", "4", "", ""), @"error: FedTrimmedAvg trims floor(beta*n) clients at each end. FL_TRIM_BETA=0.2, FL_MIN_AVAILABLE_CLIENTS=4 trims none and requires n >= 5.");
    insta::assert_snapshot!(bound("Bulyan", "999999999", "999999999", ""), @"error: Bulyan requires n >= 4*f+3. FL_MIN_AVAILABLE_CLIENTS=999999999, FL_NUM_MALICIOUS=999999999 requires n >= 3999999999.");
}

#[test]
fn what_must_hold_between_training_gpu_and_metrics() {
    insta::assert_snapshot!(told("superlink", &[("FL_MIN_FIT_CLIENTS", "3"), ("FL_MIN_EVALUATE_CLIENTS", "4")]), @"
warning context::minimums: FL_MIN_FIT_CLIENTS (3) is greater than FL_MIN_AVAILABLE_CLIENTS (2): training waits until 3 clients are connected.
warning context::minimums: FL_MIN_EVALUATE_CLIENTS (4) is greater than FL_MIN_AVAILABLE_CLIENTS (2): evaluation waits until 4 clients are connected.
warning context::not-used-yet: FL_MIN_FIT_CLIENTS is not used by onefed yet; the app decides, and `onefed train --run-config` overrides what it declares.
warning context::not-used-yet: FL_MIN_EVALUATE_CLIENTS is not used by onefed yet; the app decides, and `onefed train --run-config` overrides what it declares.
");
    insta::assert_snapshot!(told("superlink", &[("FL_STRATEGY", "FedProx"), ("FL_PROXIMAL_MU", "0.0")]), @"
warning context::fedprox-zero: FL_STRATEGY is FedProx and FL_PROXIMAL_MU is 0: this is the same as FedAvg.
warning context::not-used-yet: FL_STRATEGY is not used by onefed yet; the app decides, and `onefed train --run-config` overrides what it declares.
warning context::not-used-yet: FL_PROXIMAL_MU is not used by onefed yet; the app decides, and `onefed train --run-config` overrides what it declares.
");
    insta::assert_snapshot!(told("superlink", &[("FL_METRICS_ENABLED", "YES"), ("FL_METRICS_PORT", "9443")]), @"
error context::port-twice: FL_METRICS_PORT (9443) is the port of FL_ADMIN_API_ADDRESS already.
warning context::not-used-yet: FL_METRICS_ENABLED is not used by onefed yet; training metrics are not exposed.
warning context::not-used-yet: FL_METRICS_PORT is not used by onefed yet; training metrics are not exposed.
");
    insta::assert_snapshot!(told("supernode", &[("FL_DCGM_ENABLED", "YES")]), @"
warning context::dcgm-without-gpu: FL_DCGM_ENABLED=YES but FL_GPU_ENABLED is not YES: there is no GPU to watch.
warning context::not-used-yet: FL_DCGM_ENABLED is not used by onefed yet; no GPU metrics are exposed.
");
    insta::assert_snapshot!(told("supernode", &[("FL_USE_CASE", "anomaly-detection")]), @"
error context::use-case: FL_USE_CASE 'anomaly-detection' requires ML_FRAMEWORK 'sklearn', but ML_FRAMEWORK is set to 'pytorch'
warning context::not-used-yet: FL_USE_CASE is not used by onefed yet; an app is submitted with `onefed train`.
");
    insta::assert_snapshot!(told("supernode", &[("FL_USE_CASE", "image-classification"), ("ML_FRAMEWORK", "sklearn")]), @"
error context::use-case: FL_USE_CASE 'image-classification' requires ML_FRAMEWORK 'pytorch or tensorflow', but ML_FRAMEWORK is set to 'sklearn'
warning context::not-used-yet: ML_FRAMEWORK is not used by onefed yet; the image of the VM decides which libraries there are.
warning context::not-used-yet: FL_USE_CASE is not used by onefed yet; an app is submitted with `onefed train`.
");
}

proptest! {
    #[test]
    fn accepted_values_survive_inputs_and_context(picks in proptest::collection::vec(0usize..8, CASES.len())) {
        // As OneFlow does it: the answer to an input lands in CONTEXT, where OpenNebula quotes it.
        let given: BTreeMap<String, String> = CASES
            .iter()
            .zip(picks)
            .filter_map(|(case, pick)| Some((case.name.to_owned(), (*case.good.get(pick)?).to_owned())))
            .collect();
        let (raw, problems) = RawContext::parse(&render_context_sh(&given));
        prop_assert!(problems.is_empty());
        for (name, value) in &given {
            let row = variable(name).unwrap();
            prop_assert_eq!(raw.get(name), Some(value.as_str()));
            prop_assert_eq!(row.check(value), Ok(()));
            if let Some(input) = row.user_input_as(InputFlag::Optional, value)
                && !value.contains(['|', '\n'])
            {
                let default = input.splitn(5, '|').nth(4).map(str::to_owned);
                prop_assert_eq!(default.as_deref(), Some(value.as_str()));
            }
        }
    }

    #[test]
    fn no_context_panics(text in "(?s).*", values in proptest::collection::vec("(?s).{0,40}", TABLE.len())) {
        let _ = read_context_sh(&text);
        let raw = RawContext::from_pairs(TABLE.iter().map(|row| row.name).zip(values));
        for problem in validate(&raw).problems {
            let _ = problem.to_string();
        }
    }

    #[test]
    fn plausible_contexts_give_a_context_or_an_error(
        picks in proptest::collection::vec(0usize..8, CASES.len()),
    ) {
        let pairs = CASES.iter().zip(picks).filter_map(|(case, pick)| {
            let values: Vec<&str> = case.good.iter().copied().chain(case.bad.iter().map(|b| b.0)).collect();
            values.get(pick).map(|value| (case.name, *value))
        });
        let validated = validate(&RawContext::from_pairs(pairs));
        prop_assert!(validated.problems.iter().all(|p| p.code != "context::internal"));
        prop_assert_eq!(validated.context.is_none(), validated.problems.iter().any(Problem::is_error));
    }
}
