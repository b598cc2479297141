//! Which zones there are, and where each can be reached from here.

use onefed_opennebula::xmlrpc::{Client, Zone as Announced};
use url::Url;

use super::login::{self, Login, Start};
use super::names::plan_names;
use super::zone::Zone;
use crate::failure::{Exit, Failure};
use crate::zones::is_here;

/// The port that OneFlow has unless somebody changed it.
const ONEFLOW_PORT: u16 = 2474;

/// All zones, with endpoints but without what only they can say.
pub(super) async fn zones(start: &Start) -> Result<Vec<Zone>, Failure> {
    let mut zones = match &start.door {
        Some(door) => federation(start, door).await?,
        None => Vec::new(),
    };
    for (name, url) in &start.named {
        if let Some(zone) = find(&mut zones, name) {
            zone.endpoint = Some(url.clone());
            // Whatever was wrong with the announced one does not matter any more.
            zone.notes.clear();
        } else {
            let mut zone = Zone::new(String::new(), name.clone(), None);
            zone.endpoint = Some(url.clone());
            zones.push(zone);
        }
    }
    let names = plan_names(zones.iter().map(|zone| zone.opennebula_name.as_str()));
    for (zone, name) in zones.iter_mut().zip(names) {
        zone.zone = name;
    }
    let mut wrong = Vec::new();
    for (name, url) in &start.oneflow {
        match find(&mut zones, name) {
            Some(zone) => zone.oneflow = Some(url.clone()),
            None => wrong.push(format!("--oneflow {name}={url}: there is no zone {name}")),
        }
    }
    if !wrong.is_empty() {
        return Err(Failure::new(Exit::Usage, "init-options", wrong.join("\n  and: ")));
    }
    for zone in &mut zones {
        if let (None, Some(endpoint)) = (&zone.oneflow, &zone.endpoint) {
            zone.oneflow = beside(endpoint);
        }
    }
    Ok(zones)
}

fn find<'a>(zones: &'a mut [Zone], name: &str) -> Option<&'a mut Zone> {
    zones.iter_mut().find(|zone| zone.names().iter().any(|known| known.eq_ignore_ascii_case(name)))
}

/// A client with a login.
pub(super) fn rpc(name: &str, endpoint: &Url, login: &Login) -> Result<Client, Failure> {
    let name = name.parse().map_err(|why| Failure::new(Exit::Failed, "zone", why))?;
    let client = Client::new(name, endpoint.clone(), login.credentials.clone())?;
    Ok(match &login.ca {
        Some((_, pem)) => client.with_ca(pem)?,
        None => client,
    })
}

/// The zones of the federation that one of its endpoints belongs to.
async fn federation(start: &Start, door: &Url) -> Result<Vec<Zone>, Failure> {
    let client = rpc("OpenNebula", door, &start.login(&[])?)?;
    let (pool, config) = tokio::join!(client.zone_pool(), client.system_config());
    let pool = pool.map_err(|why| {
        let failure = Failure::from(why);
        match failure.exit {
            Exit::Unreachable => failure.hint("is OpenNebula up, and is --endpoint (or ONE_XMLRPC) right?"),
            Exit::Permission => failure.hint("check the login: the file holds user:password"),
            _ => failure,
        }
    })?;
    // Not everybody may ask for the configuration.
    let number = config.ok().and_then(|config| config.zone_id);
    let names = plan_names(pool.iter().map(|zone| zone.name.as_str()));
    let here = at_the_door(&pool, door, number);
    let zones = pool.iter().zip(names).enumerate().map(|(at, (announced, name))| {
        let mut zone = Zone::new(name, announced.name.clone(), Some(announced.id));
        let overridden = start
            .named
            .iter()
            .any(|(name, _)| zone.names().iter().any(|known| known.eq_ignore_ascii_case(name)));
        place(
            &mut zone,
            announced,
            door,
            here == Some(at),
            start.operator.oneflow.as_ref().and_then(|url| url.as_ref().ok()),
        );
        if !announced.enabled && !overridden {
            let name = &announced.name;
            zone.notes
                .push(format!("zone {name} is disabled: it takes no changes until `onezone enable {name}`"));
        }
        zone
    });
    Ok(zones.collect())
}

/// Which zone answers at the endpoint that we came by: the one whose number its configuration tells, else the one that
/// announces it. Else, where exactly one zone announces an address that means itself, that one: OpenNebula announces
/// localhost until an administrator changes it.
fn at_the_door(pool: &[Announced], door: &Url, number: Option<u32>) -> Option<usize> {
    if let Some(at) = number.and_then(|number| pool.iter().position(|zone| zone.id == number)) {
        return Some(at);
    }
    let endpoint = |zone: &Announced| login::parse(zone.endpoint.as_deref()?, Some("/RPC2")).ok();
    let one = |holds: &dyn Fn(&Url) -> bool| {
        let mut fit =
            pool.iter().enumerate().filter(|(_, zone)| endpoint(zone).is_some_and(|url| holds(&url)));
        fit.next().map(|(at, _)| at).filter(|_| fit.next().is_none())
    };
    one(&|url| same_place(url, door)).or_else(|| match pool {
        [_] => Some(0),
        _ => one(&is_here),
    })
}

/// Where a zone of a federation can be reached from here.
fn place(zone: &mut Zone, announced: &Announced, door: &Url, here: bool, oneflow_here: Option<&Url>) {
    let name = &announced.name;
    let mend = |attribute: &str, example: &str| {
        format!(
            "whoever administers the federation mends it with `onezone update {}`: {attribute}=\"{example}\"",
            announced.id
        )
    };
    let rpc = "http://ADDRESS-OF-THE-ZONE:2633/RPC2";
    let told = announced.endpoint.as_deref();
    match told.map(|text| login::parse(text, Some("/RPC2"))) {
        Some(Ok(url)) if here => {
            if is_here(&url) && !is_here(door) {
                zone.notes.push(format!(
                    "zone {name} announces {url}, which means whoever reads it: other zones and tools cannot reach it \
                     by that. It answers at {door}, which is written down; {}",
                    mend("ENDPOINT", door.as_str())
                ));
            }
            zone.endpoint = Some(door.clone());
        }
        // Also where several announce one address: which of them it is, nobody can know.
        Some(Ok(url)) if is_here(&url) && (!is_here(door) || same_place(&url, door)) => {
            zone.notes.push(format!(
                "zone {name} announces {url}, which means whoever reads it: it cannot be reached by that; {}; until \
                 then give --endpoint {}=URL",
                mend("ENDPOINT", rpc),
                zone.zone
            ));
        }
        Some(Ok(url)) => zone.endpoint = Some(url),
        _ if here => zone.endpoint = Some(door.clone()),
        Some(Err(why)) => zone.notes.push(format!(
            "zone {name} announces no usable endpoint ({why}); {}; until then give --endpoint {}=URL",
            mend("ENDPOINT", rpc),
            zone.zone
        )),
        None => zone.notes.push(format!(
            "zone {name} announces no endpoint; {}; until then give --endpoint {}=URL",
            mend("ENDPOINT", rpc),
            zone.zone
        )),
    }
    if let Some(url) = oneflow_here.filter(|_| here) {
        zone.oneflow = Some(url.clone());
        return;
    }
    match announced.oneflow.as_deref().map(|text| login::parse(text, None)) {
        Some(Ok(url)) if is_here(&url) && zone.endpoint.as_ref().is_some_and(|it| !is_here(it)) => {
            zone.notes.push(format!(
                "zone {name} announces its OneFlow at {url}, which means whoever reads it: it is tried beside its \
                 endpoint, at port {ONEFLOW_PORT}; {}",
                mend("ONEFLOW_ENDPOINT", "http://ADDRESS-OF-THE-ZONE:2474")
            ));
        }
        Some(Ok(url)) => zone.oneflow = Some(url),
        Some(Err(why)) => {
            zone.notes.push(format!("zone {name} announces no usable OneFlow endpoint ({why})"));
        }
        None => {}
    }
}

/// OneFlow at its usual port on the same machine.
fn beside(endpoint: &Url) -> Option<Url> {
    let mut url = endpoint.clone();
    url.set_path("");
    url.set_port(Some(ONEFLOW_PORT)).ok()?;
    Some(url)
}

fn same_place(one: &Url, other: &Url) -> bool {
    one.host() == other.host() && one.port_or_known_default() == other.port_or_known_default()
}

#[cfg(test)]
mod tests;
