//! What the VMs of a zone are made of: its VM template and its network.

use super::{Chooser, Reference, Used};
use crate::failure::Failure;
use crate::table::plain;
use crate::verb::init::args::{ForZone, pick};
use crate::verb::init::zone::Object;

/// The template that an image with onefed in it comes with.
const USUAL_TEMPLATE: &str = "onefed";

impl Chooser<'_, '_> {
    /// A zone that the plan uses, with everything that the plan has to say about it.
    pub(super) fn used(
        &mut self,
        name: &str,
        templates: &[ForZone],
        networks: &[ForZone],
    ) -> Result<Option<Used>, Failure> {
        let Some(zone) = self.found.iter().find(|zone| zone.zone == name).cloned() else { return Ok(None) };
        let known = zone.names();
        if zone.endpoint.is_none() {
            self.missing.push(format!("--endpoint {name}=URL"));
        } else if zone.oneflow.is_none() {
            self.missing.push(format!("--oneflow {name}=URL"));
        }
        if zone.version.is_some() && !zone.supported {
            self.wrong.push(format!(
                "zone {name}: OpenNebula {} is not supported yet",
                zone.version.as_deref().unwrap_or_default()
            ));
        }
        let template = self.object(
            (name, "template", "the VM template"),
            pick(templates, &known),
            zone.templates.as_deref(),
            Some(USUAL_TEMPLATE),
        )?;
        let network = self.object(
            (name, "network", "the network"),
            pick(networks, &known),
            zone.networks.as_deref(),
            None,
        )?;
        let used = || {
            Some(Used {
                endpoint: zone.endpoint.clone()?,
                oneflow: zone.oneflow.clone()?,
                template: template?,
                network: network?,
                found: zone.clone(),
            })
        };
        Ok(used())
    }

    /// An object of a zone: the given one, the one with the usual name, the only one, or the one that is answered.
    fn object(
        &mut self,
        (zone, option, what): (&str, &str, &str),
        given: Option<&str>,
        have: Option<&[Object]>,
        usual: Option<&str>,
    ) -> Result<Option<Reference>, Failure> {
        let all = have.unwrap_or_default();
        if given.is_none() {
            let mut named = all.iter().filter(|object| Some(object.name.as_str()) == usual);
            let single = match (named.next(), named.next(), all) {
                (Some(one), None, _) => Some(one),
                (None, _, [one]) => Some(one),
                _ => None,
            };
            if let Some(one) = single {
                return Ok(Some(Reference::of(one, all)));
            }
        }
        let names: Vec<String> =
            all.iter().map(|object| format!("{} #{}", plain(&object.name), object.id)).collect();
        let names = match (have, names.is_empty()) {
            (None, _) => "the zone does not say which there are".to_owned(),
            (Some(_), true) => "there is none that this login may use".to_owned(),
            (Some(_), false) => names.join(", "),
        };
        let read = |_: &Self, text: &str| {
            let number = text.strip_prefix('#').unwrap_or(text).parse::<u32>().ok();
            let named: Vec<&Object> = all.iter().filter(|object| object.name == text).collect();
            let by_id = || all.iter().find(|object| Some(object.id) == number);
            match (named.as_slice(), have) {
                ([one], _) => Ok(Reference::of(one, all)),
                ([], None) if text.is_empty() => Err("a name or an id".to_owned()),
                ([], None) => Ok(number.map_or_else(|| Reference::Name(text.to_owned()), Reference::Id)),
                ([], Some(_)) => by_id()
                    .map(|one| Reference::of(one, all))
                    .ok_or_else(|| format!("zone {zone} has none of that name or id: {names}")),
                _ => Err(format!("zone {zone} has several of that name, give the id: {names}")),
            }
        };
        let question = format!("zone {zone}: {what} ({names})");
        let flag = format!("--{option} {zone}=NAME ({names})");
        // Where there is nothing to choose from, a question could not be answered.
        if given.is_none() && have.is_some_and(<[Object]>::is_empty) {
            self.missing.push(flag);
            return Ok(None);
        }
        self.decide((&flag, &question), given, None, read)
    }
}
