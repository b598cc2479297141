use std::collections::VecDeque;

use clap::Parser;

use super::*;

/// A person with answers ready.
struct Script {
    answers: VecDeque<&'static str>,
    asked: Vec<String>,
}

impl Script {
    fn new(answers: &[&'static str]) -> Self {
        Self { answers: answers.iter().copied().collect(), asked: Vec::new() }
    }
}

impl Ask for Script {
    fn ask(&mut self, question: &str, default: Option<&str>) -> Result<Option<String>, Failure> {
        self.asked.push(format!("{question} [{}]", default.unwrap_or_default()));
        match self.answers.pop_front() {
            None => Err(Failure::new(Exit::Failed, "terminal", "no answer")),
            Some("") => Ok(default.map(str::to_owned)),
            Some(answer) => Ok(Some(answer.to_owned())),
        }
    }

    fn say(&mut self, line: &str) {
        self.asked.push(line.to_owned());
    }
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: InitArgs,
}

fn args(line: &str) -> InitArgs {
    Line::parse_from(std::iter::once("init").chain(line.split_whitespace())).args
}

fn objects(names: &[&str]) -> Option<Vec<Object>> {
    Some((0..).zip(names).map(|(id, name)| Object { id, name: (*name).to_owned() }).collect())
}

pub(in crate::verb::init) fn zone(name: &str, templates: &[&str], networks: &[&str]) -> Zone {
    let mut zone = Zone::new(name.to_lowercase(), name.to_owned(), None);
    zone.endpoint = Some(format!("http://{}:2633/RPC2", zone.zone).parse().unwrap());
    zone.oneflow = Some(format!("http://{}:2474", zone.zone).parse().unwrap());
    zone.oneflow_answers = true;
    zone.version = Some("7.4.0".to_owned());
    zone.supported = true;
    zone.templates = objects(templates);
    zone.networks = objects(networks);
    zone.images = objects(&["Ubuntu 24.04"]);
    zone
}

fn three() -> Vec<Zone> {
    ["Madrid", "Paris", "Lisbon"].map(|name| zone(name, &["ttylinux", "onefed"], &["private"])).into()
}

#[test]
fn what_is_obvious_is_taken() {
    let choice = choose(&three(), &args("--coordinator madrid"), Some("Hospitals 2"), None).unwrap();
    assert_eq!((choice.name.as_str(), choice.mode.as_str()), ("hospitals-2", "routed"));
    let sites: Vec<(&str, u32)> =
        choice.sites.iter().map(|site| (site.name.as_str(), site.supernodes)).collect();
    assert_eq!(sites, [("paris", 2), ("lisbon", 2)]);
    assert_eq!(choice.zones.len(), 3);
    assert!(choice.zones.iter().all(|used| used.template == Reference::Name("onefed".into())));
    // A zone that is alone is everything.
    let choice = choose(&three()[..1], &args(""), None, None).unwrap();
    assert_eq!((choice.coordinator.as_str(), choice.sites[0].name.as_str()), ("madrid", "madrid"));
    assert_eq!(choice.name, "federation");
}

#[test]
fn all_that_is_missing_and_wrong_is_said_at_once() {
    let mut zones = three();
    zones[1].templates = objects(&["a", "b"]);
    zones[1].networks = objects(&[]);
    zones[2].endpoint = None;
    let line =
        "--site paris --site lisbon=0 --template rome=x --name Bad --mode rooted --address 10.0.0.1:9092";
    let why = choose(&zones, &args(line), None, None).unwrap_err();
    assert_eq!((why.exit, why.code), (Exit::Usage, "init-incomplete"));
    for part in [
        "--name Bad: ",
        "--mode rooted: routed or public",
        "--address 10.0.0.1:9092: ",
        "--site paris lisbon=0: lisbon=0: a number",
        "--template rome=x: there is no such zone; there are madrid, paris, lisbon",
        "needed: --coordinator ZONE (madrid, paris, lisbon)",
    ] {
        assert!(why.message.contains(part), "{part}\n{}", why.message);
    }
    let why =
        choose(&zones, &args("--site paris --site lisbon --coordinator madrid"), None, None).unwrap_err();
    for part in [
        "needed: --template paris=NAME (a #0, b #1)",
        "needed: --network paris=NAME (there is none that this login may use)",
        "needed: --endpoint lisbon=URL",
    ] {
        assert!(why.message.contains(part), "{part}\n{}", why.message);
    }
}

#[test]
fn names_that_are_not_unique_need_an_id() {
    let mut zones = three();
    zones[0].templates = objects(&["a", "a", "7", "onefed", "onefed"]);
    let of = |line: &str| {
        let line = format!("--coordinator madrid {line}");
        choose(&zones, &args(&line), None, None).map(|choice| choice.zones[0].template.clone())
    };
    assert!(of("").unwrap_err().message.contains("needed: --template madrid=NAME"));
    assert!(of("--template madrid=a").unwrap_err().message.contains("several of that name"));
    assert_eq!(of("--template madrid=1").unwrap(), Reference::Id(1));
    assert_eq!(of("--template madrid=#4").unwrap(), Reference::Id(4));
    // A name goes before an id.
    assert_eq!(of("--template madrid=7").unwrap(), Reference::Name("7".into()));
    assert!(of("--template madrid=99").unwrap_err().message.contains("none of that name or id"));
}

#[test]
fn a_person_is_asked_what_is_not_known_and_again_after_a_slip() {
    let mut zones = three();
    zones[2].templates = objects(&["big", "small"]);
    let mut script = Script::new(&["clinics", "", "madrit", "madrid", "paris=3 lisbon", "", "big"]);
    let choice = choose(&zones, &args(""), Some("x"), Some(&mut script)).unwrap();
    assert_eq!((choice.name.as_str(), choice.coordinator.as_str()), ("clinics", "madrid"));
    assert_eq!((choice.sites[0].supernodes, choice.sites[1].supernodes), (3, 2));
    assert_eq!(choice.address, None);
    assert_eq!(choice.zones[2].template, Reference::Name("big".into()));
    assert!(
        script.asked.iter().any(|line| line.contains("madrit: there is no such zone")),
        "{:?}",
        script.asked
    );
    assert_eq!(script.asked.len(), 8, "{:#?}", script.asked);
    // Nobody there any more: nothing is chosen.
    assert!(choose(&zones, &args(""), None, Some(&mut Script::new(&["clinics"]))).is_err());
}

#[test]
fn several_sites_in_one_zone_have_names_of_their_own() {
    let choice =
        choose(&three(), &args("--coordinator madrid --site paris --site paris=4"), None, None).unwrap();
    let names: Vec<&str> = choice.sites.iter().map(|site| site.name.as_str()).collect();
    assert_eq!((names, choice.zones.len()), (vec!["paris", "paris-2"], 2));
}
