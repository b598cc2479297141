//! Where the zones of a plan are, for those whose plan does not say it.
//!
//! A plan of one zone may leave it to the operator's environment. In a plan of several, ONE_XMLRPC is any zone of their
//! OpenNebula federation: it is asked for the others, by name.

use std::collections::BTreeMap;

use onefed_federation::Zone;
use onefed_opennebula::xmlrpc::{Client, Zone as Listed};
use url::{Host, Url};

use super::operator::Operator;
use crate::failure::{Exit, Failure};

/// The two endpoints of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) endpoint: Url,
    pub(crate) oneflow: Url,
}

/// The places of all zones, by name.
pub(crate) async fn find(zones: &[Zone], operator: &Operator) -> BTreeMap<String, Result<Place, Failure>> {
    let alone = zones.len() == 1;
    let mut asked = None;
    let mut places = BTreeMap::new();
    for zone in zones {
        let place = match known(zone, alone, operator) {
            Ok((Some(endpoint), Some(oneflow))) => Ok(Place { endpoint, oneflow }),
            Ok((endpoint, oneflow)) => {
                if asked.is_none() {
                    asked = Some(ask(zones, operator).await);
                }
                match &asked {
                    Some(Ok(federation)) => federation.complete(zone, endpoint, oneflow),
                    Some(Err(Unasked::Nowhere)) => Err(nowhere(zone, endpoint.is_none())),
                    Some(Err(Unasked::Failed(why))) => Err(about(zone, why.clone())),
                    None => Err(nowhere(zone, endpoint.is_none())),
                }
            }
            Err(why) => Err(why),
        };
        places.insert(zone.name.to_string(), place);
    }
    places
}

type Known = (Option<Url>, Option<Url>);

/// What plan and environment say. The environment is about one zone only if the plan has one only.
fn known(zone: &Zone, alone: bool, operator: &Operator) -> Result<Known, Failure> {
    let from = |given: &Option<Url>, operator: &Option<Result<Url, String>>| match (given, operator) {
        (Some(url), _) => Ok(Some(url.clone())),
        (None, Some(Ok(url))) if alone => Ok(Some(url.clone())),
        (None, Some(Err(why))) if alone => Err(endpoint(zone, why.clone())),
        _ => Ok(None),
    };
    Ok((from(&zone.endpoint, &operator.xmlrpc)?, from(&zone.oneflow, &operator.oneflow)?))
}

/// Why the OpenNebula federation could not be asked.
enum Unasked {
    /// Nobody says where.
    Nowhere,
    Failed(Failure),
}

impl From<onefed_opennebula::Error> for Unasked {
    fn from(why: onefed_opennebula::Error) -> Self {
        Self::Failed(why.into())
    }
}

/// What ONE_XMLRPC says of its federation.
struct Answer {
    at: Url,
    zones: Vec<Listed>,
    /// Which of them answered, if it says so.
    own: Option<u32>,
    /// ONEFLOW_URL, which is the OneFlow of the zone that answered.
    oneflow: Option<Url>,
}

async fn ask(zones: &[Zone], operator: &Operator) -> Result<Answer, Unasked> {
    let failed = |why: &String| Unasked::Failed(Failure::new(Exit::BadInput, "zone-endpoint", why));
    let at = match (&operator.xmlrpc, zones) {
        (Some(at), _) => at.clone().map_err(|why| failed(&why))?,
        // The one zone of the plan can say itself where its OneFlow is.
        (None, [Zone { endpoint: Some(own), .. }]) => own.clone(),
        (None, _) => return Err(Unasked::Nowhere),
    };
    // The users of a federation are the same in all zones.
    let login = match (operator.login(), zones.first()) {
        (Ok(login), _) => login,
        (Err(_), Some(first)) => super::credentials(first, operator).map_err(Unasked::Failed)?,
        (Err(why), None) => return Err(failed(&why)),
    };
    let name = "ONE_XMLRPC".parse().map_err(|why| failed(&format!("{why}")))?;
    let mut client = Client::new(name, at.clone(), login)?;
    if let Some(zone) = zones.iter().find(|zone| zone.ca.is_some())
        && let Some(pem) = super::authority(zone).map_err(Unasked::Failed)?
    {
        client = client.with_ca(&pem)?;
    }
    let listed = client.zone_pool().await?;
    // Not every server lets everybody read it; then only the list counts.
    let own = client.system_config().await.ok().and_then(|configuration| configuration.zone_id);
    let oneflow = operator.oneflow.as_ref().and_then(|url| url.clone().ok());
    Ok(Answer { at, zones: listed, own, oneflow })
}

impl Answer {
    fn complete(&self, zone: &Zone, given: Option<Url>, flow: Option<Url>) -> Result<Place, Failure> {
        let listed = self.zone(zone)?;
        let is_own = self.own == Some(listed.id);
        let own = |url: &Url| is_own.then(|| url.clone());
        let usable = |url: Option<Url>, attribute: &str, key: &str| match url {
            Some(url) if is_here(&url) && !is_here(&self.at) => {
                let why =
                    format!("its {attribute} in OpenNebula is {url}, which is whoever asks and not the zone");
                Err(endpoint(zone, why).hint(remedy(listed.id, attribute, key)))
            }
            Some(url) => Ok(url),
            None => {
                let why = format!("its {attribute} in OpenNebula is not set, or is no URL");
                Err(endpoint(zone, why).hint(remedy(listed.id, attribute, key)))
            }
        };
        // What was asked under an address that works is a better answer than what it says of itself.
        let rpc = given
            .or_else(|| own(&self.at))
            .map_or_else(|| usable(listed.endpoint_url(), "ENDPOINT", "endpoint"), Ok);
        let flow = flow
            .or_else(|| own(self.oneflow.as_ref()?))
            .map_or_else(|| usable(listed.oneflow_url(), "ONEFLOW_ENDPOINT", "oneflow"), Ok);
        match (rpc, flow) {
            (Ok(endpoint), Ok(oneflow)) => Ok(Place { endpoint, oneflow }),
            (rpc, flow) => {
                let failures = rpc.err().into_iter().chain(flow.err()).collect();
                Err(crate::failure::join(failures).unwrap_or_else(|| nowhere(zone, true)))
            }
        }
    }

    /// The zone of this name as a plan spells it: in small letters, with hyphens for what a plan's names cannot have.
    fn zone(&self, zone: &Zone) -> Result<&Listed, Failure> {
        let name = zone.name.as_str();
        let same = self.zones.iter().find(|listed| listed.name == name);
        let mut alike = self.zones.iter().filter(|listed| plan_name(&listed.name) == name);
        match (same, alike.next(), alike.next()) {
            (Some(listed), ..) | (None, Some(listed), None) => Ok(listed),
            _ => {
                let names: Vec<&str> = self.zones.iter().map(|listed| listed.name.as_str()).collect();
                let why =
                    format!("OpenNebula at {} has no zone of this name, but {}", self.at, names.join(", "));
                Err(endpoint(zone, why)
                    .hint(format!("call it as OpenNebula does, in small letters, or {GIVE}")))
            }
        }
    }
}

fn plan_name(name: &str) -> String {
    let spelled = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(spelled).collect()
}

const GIVE: &str = "give its `endpoint` and `oneflow` in the plan";

fn endpoint(zone: &Zone, why: String) -> Failure {
    Failure::new(Exit::Configuration, "zone-endpoint", format!("zone {}: {why}", zone.name))
}

fn nowhere(zone: &Zone, rpc: bool) -> Failure {
    let key = if rpc { "endpoint" } else { "oneflow" };
    endpoint(zone, format!("the plan does not say its `{key}`, and nothing says where to ask for it"))
        .hint(format!("{GIVE}, or set ONE_XMLRPC (or ~/.one/one_endpoint) to a zone that knows it"))
}

fn about(zone: &Zone, why: Failure) -> Failure {
    Failure { message: format!("zone {}: asking where it is: {}", zone.name, why.message), ..why }
}

fn remedy(id: u32, attribute: &str, key: &str) -> String {
    format!("set {attribute} with `onezone update {id}`, or give `{key}` of the zone in the plan")
}

/// An address that means the machine which reads it.
pub(crate) fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_unspecified(),
        Some(Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unspecified(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn listed(id: u32, name: &str, endpoint: &str, oneflow: Option<&str>) -> Listed {
        let (endpoint, oneflow) = (Some(endpoint.to_owned()), oneflow.map(str::to_owned));
        Listed { id, name: name.to_owned(), enabled: true, endpoint, oneflow }
    }

    /// The zone `name` of a plan, with these lines of its own.
    fn zone(name: &str, lines: &str) -> Zone {
        let text = format!(
            "name = \"t\"\nflower = \"1.41.0\"\n[network]\nmode = \"routed\"\n[coordinator]\n\
             zone = \"{name}\"\n[[site]]\nname = \"s\"\nzone = \"{name}\"\nsupernodes = 1\n[zone.{name}]\n{lines}\n\
             template = 0\nnetwork = 0\n"
        );
        let checked = onefed_federation::check(&text);
        let federation = checked.federation.unwrap_or_else(|| panic!("{:?}", checked.errors));
        federation.zones[0].clone()
    }

    fn federation(own: Option<u32>) -> Answer {
        Answer {
            at: url("http://192.0.2.1:2633/RPC2"),
            zones: vec![
                listed(0, "OpenNebula", "http://localhost:2633/RPC2", None),
                listed(100, "Paris", "http://192.0.2.2:2633/RPC2", Some("http://192.0.2.2:2474")),
                listed(101, "Rome", "http://127.0.0.1:2633/RPC2", Some("http://localhost:2474")),
                listed(102, "Oslo 2", "http://192.0.2.4:2633/RPC2", Some("no url")),
                listed(103, "Lisbon", "http://192.0.2.5:2633/RPC2", None),
                listed(104, "LISBON", "http://192.0.2.6:2633/RPC2", None),
            ],
            own,
            oneflow: Some(url("http://192.0.2.1:2474")),
        }
    }

    #[test]
    fn found_by_name_however_it_is_written() {
        let place = federation(None).complete(&zone("paris", ""), None, None).unwrap();
        assert_eq!(place.endpoint, url("http://192.0.2.2:2633/RPC2"));
        assert_eq!(place.oneflow, url("http://192.0.2.2:2474"));
        // What the plan says counts.
        let given = Some(url("http://203.0.113.9:2474"));
        let place = federation(None).complete(&zone("paris", ""), None, given.clone()).unwrap();
        assert_eq!((place.endpoint.as_str(), Some(place.oneflow)), ("http://192.0.2.2:2633/RPC2", given));
        for name in ["madrid", "lisbon"] {
            let why = federation(None).complete(&zone(name, ""), None, None).unwrap_err().to_string();
            assert!(
                why.contains("no zone of this name, but OpenNebula, Paris, Rome, Oslo 2, Lisbon, LISBON"),
                "{why}"
            );
        }
    }

    #[test]
    fn endpoints_that_mean_whoever_asks() {
        let why = federation(None).complete(&zone("rome", ""), None, None).unwrap_err().to_string();
        for part in [
            "zone rome: its ENDPOINT in OpenNebula is http://127.0.0.1:2633/RPC2, which is whoever asks",
            "its ONEFLOW_ENDPOINT in OpenNebula is http://localhost:2474/",
            "set ENDPOINT with `onezone update 101`, or give `endpoint` of the zone in the plan",
        ] {
            assert!(why.contains(part), "{why}");
        }
        let why = federation(None).complete(&zone("oslo-2", ""), None, None).unwrap_err().to_string();
        assert!(why.contains("its ONEFLOW_ENDPOINT in OpenNebula is not set, or is no URL"), "{why}");
        // The zone that answers is where it was asked.
        let zone = zone("opennebula", "");
        let place = federation(Some(0)).complete(&zone, None, None).unwrap();
        assert_eq!(
            (place.endpoint.as_str(), place.oneflow.as_str()),
            ("http://192.0.2.1:2633/RPC2", "http://192.0.2.1:2474/")
        );
        assert!(federation(None).complete(&zone, None, None).is_err());
        // On the front end itself localhost is right.
        let local = Answer { at: url("http://localhost:2633/RPC2"), own: None, ..federation(None) };
        let place = local.complete(&zone, None, Some(url("http://localhost:2474"))).unwrap();
        assert_eq!(place.endpoint.as_str(), "http://localhost:2633/RPC2");
    }

    #[tokio::test]
    async fn a_lone_zone_is_the_operators() {
        let operator = Operator {
            xmlrpc: Some(Ok(url("http://192.0.2.1:2633/RPC2"))),
            oneflow: Some(Ok(url("http://192.0.2.1:2474"))),
            ..Operator::default()
        };
        let only = zone("paris", "");
        let places = find(std::slice::from_ref(&only), &operator).await;
        assert_eq!(places["paris"].as_ref().unwrap().oneflow.as_str(), "http://192.0.2.1:2474/");
        let given =
            zone("paris", "endpoint = \"http://192.0.2.9:2633/RPC2\"\noneflow = \"http://192.0.2.9:2474\"");
        let places = find(std::slice::from_ref(&given), &operator).await;
        assert_eq!(places["paris"].as_ref().unwrap().endpoint.as_str(), "http://192.0.2.9:2633/RPC2");

        let broken =
            Operator { xmlrpc: Some(Err("ONE_XMLRPC is not a URL: x".into())), ..Operator::default() };
        let why = find(&[only], &broken).await["paris"].clone().unwrap_err().to_string();
        assert!(why.contains("zone paris: ONE_XMLRPC is not a URL"), "{why}");
    }

    #[tokio::test]
    async fn nobody_to_ask_is_said_of_each_zone() {
        let zones = [zone("paris", ""), zone("lisbon", "endpoint = \"http://192.0.2.9:2633/RPC2\"")];
        let places = find(&zones, &Operator::default()).await;
        for (name, key) in [("paris", "`endpoint`"), ("lisbon", "`oneflow`")] {
            let why = places[name].clone().unwrap_err();
            assert!(why.to_string().contains(key) && why.to_string().contains("ONE_XMLRPC"), "{why}");
            assert_eq!(why.exit, Exit::Configuration);
        }
    }
}
