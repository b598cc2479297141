//! What the plan will say: what was given, else what was answered, else what is obvious. What is none of these is named,
//! all of it at once.

mod objects;

use onefed_context::{Host, is_plain_name};
use onefed_flower::{DEFAULT_RELEASE, Release};
use url::Url;

use super::args::{ForZone, InitArgs};
use super::ask::Ask;
use super::names::{another, plan_name};
use super::zone::{Object, Zone};
use crate::failure::{Exit, Failure};

/// How many SuperNodes a site gets that nobody has counted.
const SUPERNODES: u32 = 2;

/// Everything that the file says.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) flower: String,
    pub(super) mode: String,
    /// The coordinator's zone, by its name in the plan.
    pub(super) coordinator: String,
    pub(super) address: Option<String>,
    pub(super) sites: Vec<Site>,
    /// The zones that are used, the coordinator's first.
    pub(super) zones: Vec<Used>,
}

/// A training site.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) name: String,
    pub(super) zone: String,
    pub(super) supernodes: u32,
}

/// A zone with what its VMs are made of.
#[derive(Clone, Debug)]
pub(super) struct Used {
    pub(super) found: Zone,
    pub(super) endpoint: Url,
    pub(super) oneflow: Url,
    pub(super) template: Reference,
    pub(super) network: Reference,
}

/// An object of a zone, as the plan calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Id(u32),
    Name(String),
}

/// Chooses. `directory` is the name of the directory that the file goes to.
pub(super) fn choose(
    found: &[Zone],
    args: &InitArgs,
    directory: Option<&str>,
    ask: Option<&mut dyn Ask>,
) -> Result<Choice, Failure> {
    let mut chooser = Chooser { found, ask, missing: Vec::new(), wrong: Vec::new() };
    let choice = chooser.all(args, directory)?;
    let Chooser { missing, wrong, .. } = chooser;
    if let (Some(choice), true) = (choice, missing.is_empty() && wrong.is_empty()) {
        return Ok(choice);
    }
    let missing = missing.into_iter().map(|flag| format!("needed: {flag}"));
    let text: Vec<String> = wrong.into_iter().chain(missing).collect();
    Err(Failure::new(Exit::Usage, "init-incomplete", format!("nothing was written\n  {}", text.join("\n  ")))
        .hint("give these options, or run `onefed init` on a terminal, where it asks"))
}

struct Chooser<'a, 'b> {
    found: &'a [Zone],
    ask: Option<&'b mut dyn Ask>,
    /// Options that have to be given.
    missing: Vec<String>,
    /// What is wrong with those that were given.
    wrong: Vec<String>,
}

impl Chooser<'_, '_> {
    fn all(&mut self, args: &InitArgs, directory: Option<&str>) -> Result<Option<Choice>, Failure> {
        let obvious = directory.map(|name| plan_name(name, "federation"));
        let name = self.decide(
            ("--name NAME", "the federation's name"),
            args.name.as_deref(),
            obvious.as_deref().or(Some("federation")),
            |_, text| {
                let why = "a lower-case letter, then up to 30 lower-case letters, digits or hyphens";
                if is_plain_name(text) { Ok(text.to_owned()) } else { Err(why.to_owned()) }
            },
        )?;
        let default = DEFAULT_RELEASE.to_string();
        let flower = match &args.flower {
            None => Some(default),
            given => {
                self.decide(("--flower X.Y.Z", "the Flower release"), given.as_deref(), None, |_, text| {
                    let release = Release::parse(text).map_err(|why| why.to_string())?;
                    Ok(release.version().to_string())
                })?
            }
        };
        let mode = self.decide(
            (
                "--mode MODE",
                "how do the zones reach each other: routed (a VPN or a network of their own) or public",
            ),
            args.mode.as_deref(),
            Some("routed"),
            |_, text| match text {
                "routed" | "public" => Ok(text.to_owned()),
                "wireguard" => Err("planned: this version has no tunnel yet; routed or public".to_owned()),
                _ => Err("routed or public".to_owned()),
            },
        )?;
        let usable: Vec<&Zone> = self.found.iter().filter(|zone| zone.usable()).collect();
        let only = match usable.as_slice() {
            [zone] => Some(zone.zone.clone()),
            _ => None,
        };
        let names = self.listed(&usable);
        let coordinator = self.decide(
            (&format!("--coordinator ZONE ({names})"), &format!("which zone gets the SuperLink: {names}")),
            args.coordinator.as_deref(),
            only.as_deref(),
            Self::zone,
        )?;
        let sites = self.sites(args, coordinator.as_deref(), &usable)?;
        let address = self.address(args)?;

        let mut used: Vec<String> = coordinator.iter().cloned().collect();
        for site in sites.iter().flatten() {
            if !used.contains(&site.zone) {
                used.push(site.zone.clone());
            }
        }
        let (templates, networks) = (ForZone::parse_all(&args.template), ForZone::parse_all(&args.network));
        self.unknown_zones("--template", &templates);
        self.unknown_zones("--network", &networks);
        self.unknown_zones("--auth", &ForZone::parse_all(&args.auth));
        self.unknown_zones("--ca", &ForZone::parse_all(&args.ca));
        let mut zones = Vec::new();
        for zone in used {
            zones.extend(self.used(&zone, &templates, &networks)?);
        }
        let choice = || {
            Some(Choice {
                name: name?,
                flower: flower?,
                mode: mode?,
                coordinator: coordinator?,
                address: address?,
                sites: sites?,
                zones,
            })
        };
        Ok(choice())
    }

    /// A value: the given one, else the answer, else the obvious one. `option` and `question` name it.
    fn decide<T>(
        &mut self,
        (option, question): (&str, &str),
        given: Option<&str>,
        obvious: Option<&str>,
        read: impl Fn(&Self, &str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        if let Some(text) = given {
            return Ok(match read(self, text.trim()) {
                Ok(value) => Some(value),
                Err(why) => {
                    let option = option.split_whitespace().next().unwrap_or(option);
                    self.wrong.push(format!("{option} {text}: {why}"));
                    None
                }
            });
        }
        if self.ask.is_none() {
            let value = obvious.and_then(|text| read(self, text).ok());
            if value.is_none() {
                self.missing.push(option.to_owned());
            }
            return Ok(value);
        }
        loop {
            let Some(ask) = self.ask.as_deref_mut() else { return Ok(None) };
            let Some(answer) = ask.ask(question, obvious)? else { continue };
            match read(self, &answer) {
                Ok(value) => return Ok(Some(value)),
                Err(why) => {
                    if let Some(ask) = self.ask.as_deref_mut() {
                        ask.say(&format!("  {answer}: {why}"));
                    }
                }
            }
        }
    }

    fn listed(&self, zones: &[&Zone]) -> String {
        let all: Vec<&str> = if zones.is_empty() {
            self.found.iter().map(|zone| zone.zone.as_str()).collect()
        } else {
            zones.iter().map(|zone| zone.zone.as_str()).collect()
        };
        all.join(", ")
    }

    /// A zone's name in the plan.
    fn zone(&self, text: &str) -> Result<String, String> {
        let found = |zone: &&Zone| zone.names().iter().any(|name| name.eq_ignore_ascii_case(text));
        let known = self.found.iter().find(found).map(|zone| zone.zone.clone());
        known.ok_or_else(|| {
            let all: Vec<&str> = self.found.iter().map(|zone| zone.zone.as_str()).collect();
            format!("there is no such zone; there are {}", all.join(", "))
        })
    }

    fn unknown_zones(&mut self, option: &str, values: &[ForZone]) {
        for ForZone { zone, value } in values {
            if let Some(Err(why)) = zone.as_ref().map(|zone| self.zone(zone)) {
                self.wrong.push(format!("{option} {}={value}: {why}", zone.as_deref().unwrap_or_default()));
            }
        }
    }

    fn sites(
        &mut self,
        args: &InitArgs,
        coordinator: Option<&str>,
        usable: &[&Zone],
    ) -> Result<Option<Vec<Site>>, Failure> {
        let mut others: Vec<&str> = usable.iter().map(|zone| zone.zone.as_str()).collect();
        // Where there is no other zone, the coordinator's trains as well.
        if others.len() > 1 {
            others.retain(|zone| Some(*zone) != coordinator);
        }
        let obvious: Vec<String> = others.iter().map(|zone| format!("{zone}={SUPERNODES}")).collect();
        let obvious = (!obvious.is_empty() && coordinator.is_some()).then(|| obvious.join(" "));
        let given = (!args.site.is_empty()).then(|| args.site.join(" "));
        if given.is_none() && coordinator.is_none() && self.ask.is_none() {
            // It follows from the coordinator's zone, which is missing already.
            return Ok(None);
        }
        self.decide(
            ("--site ZONE[=N]", "which zones train, and with how many SuperNodes"),
            given.as_deref(),
            obvious.as_deref(),
            |this, text| {
                let mut sites: Vec<Site> = Vec::new();
                for part in text.split([' ', ',']).filter(|part| !part.is_empty()) {
                    let (zone, count) = part.split_once('=').unwrap_or((part, ""));
                    let zone = this.zone(zone).map_err(|why| format!("{part}: {why}"))?;
                    let supernodes = match count {
                        "" => SUPERNODES,
                        count => count
                            .parse()
                            .ok()
                            .filter(|count| (1..=10_000).contains(count))
                            .ok_or_else(|| format!("{part}: a number of SuperNodes from 1 to 10000"))?,
                    };
                    let taken: Vec<String> = sites.iter().map(|site| site.name.clone()).collect();
                    // The coordinator's own objects have this name.
                    let wanted = if zone == "coordinator" { "coordinator-site" } else { &zone };
                    sites.push(Site { name: another(wanted, &taken), zone, supernodes });
                }
                if sites.is_empty() { Err("at least one zone".to_owned()) } else { Ok(sites) }
            },
        )
    }

    /// `None` inside: the address that OpenNebula gives the SuperLink's VM.
    fn address(&mut self, args: &InitArgs) -> Result<Option<Option<String>>, Failure> {
        const OWN: &str = "its own";
        let what = "where do sites reach the SuperLink's VM: an IP address, a DNS name, or its own";
        self.decide(("--address ADDRESS", what), args.address.as_deref(), Some(OWN), |_, text| {
            match text.parse::<Host>() {
                _ if text == OWN => Ok(None),
                Ok(Host::Ip(ip)) if ip.is_unspecified() || ip.is_multicast() => {
                    Err("sites cannot dial this".to_owned())
                }
                Ok(_) => Ok(Some(text.to_owned())),
                Err(_) => Err("neither an IP address nor a DNS name; without a port".to_owned()),
            }
        })
    }
}

impl Reference {
    /// By name where that says which one is meant.
    fn of(object: &Object, all: &[Object]) -> Self {
        let same = all.iter().filter(|other| other.name == object.name).count();
        if same == 1 && !object.name.trim().is_empty() {
            Self::Name(object.name.clone())
        } else {
            Self::Id(object.id)
        }
    }
}

#[cfg(test)]
mod tests;
