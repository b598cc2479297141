use super::*;

#[test]
fn a_zone_is_all_overlaid_by_its_own() {
    let world = World::parse(
        r#"
        [[user]]
        name = "alice"
        password = "secret word"
        [all]
        version = "7.2.0"
        delays = { boot_seconds = 20, oneflow_seconds = 0.23 }
        network = [{ name = "wan", size = 20 }, { name = "lan", owner = "alice", permissions = "640" }]
        [zone.paris]
        version = "6.10.0"
        delays = { boot_seconds = 1 }
        quota = [{ user = "alice", vms = 3, network = "lan", leases = 2 }]
        template = [{ name = "plain", image = "Debian 12", inputs = { A = "M|text|a" } }]
        "#,
    )
    .unwrap();
    assert!(!format!("{world:?}").contains("secret word"));
    assert_eq!(world.users[0].groups, ["users"]);
    let (paris, madrid) = (world.of("paris"), world.of("madrid"));
    assert_eq!((paris.version.as_deref(), madrid.version.as_deref()), (Some("6.10.0"), Some("7.2.0")));
    let delays = paris.delays();
    assert_eq!(
        (delays.boot.as_secs(), delays.oneflow.as_millis(), delays.ready_poll.as_secs()),
        (1, 230, 30)
    );
    assert_eq!((paris.networks()[1].owner.mode, paris.images().len()), (Mode(0o640), 3));
    assert_eq!(
        (paris.templates()[0].name.as_str(), madrid.templates()[0].name.as_str()),
        ("plain", "onefed")
    );
    assert_eq!(world.strangers(&["madrid".to_owned()]).len(), 1);
    assert!(World::parse("").unwrap().of("x").hosts()[0].on);
}

#[test]
fn all_problems_come_at_once_with_their_lines_and_a_hint() {
    let said = World::parse(
        r#"[[user]]
name = "al ice"
[all]
versoin = "7"
version = "seven"
enabled = "yes"
network = [{ name = "a", size = 201 }, { size = 2 }]
template = [{ name = "t", image = "nope", owner = "bob", permissions = "999" }]
quota = [{ vms = 1 }, { user = "bob" }]
delays = { boot = 20 }
[zone]
x = 1
"#,
    )
    .unwrap_err();
    let wanted = [
        "line 1: user 1 needs a `password`",
        "line 4: all has no `versoin`: did you mean `version`?",
        "line 5: all: `version` must be numbers with dots, such as 7.4.0",
        "line 6: all: `enabled` must be true or false",
        "line 7: all, network 1: `size` must be a whole number from 1 to 200",
        "line 7: all, network 2 needs a `name`",
        "line 8: all, template 1: `owner` bob is not a user of the world",
        "line 8: all, template 1: `permissions` must be three octal digits, such as 644",
        "line 9: all, quota 1 needs `user` or `group`, one of them",
        "line 9: all, quota 2: the world does not have bob",
        "line 10: all.delays has no `boot`: there are boot_seconds",
        "line 12: the world: `x` must be a table",
        "names the image nope, which is not there",
    ];
    for text in wanted {
        assert!(said.iter().any(|line| line.contains(text)), "{text} is not in {said:#?}");
    }
    assert_eq!(said.len(), wanted.len(), "{said:#?}");
    assert!(World::parse("[all").unwrap_err()[0].starts_with("line 1: "));
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(text in "([a-z]{1,8}( = |\\.)|\\[+(all|user|zone\\.x)\\]+|[0-9{}\"\\[\\],\n ]){0,40}") {
        let _ = World::parse(&text);
    }
}
