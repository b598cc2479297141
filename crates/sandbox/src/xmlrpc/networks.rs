//! `one.vnpool.info`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler};
use crate::access::Caller;
use crate::addresses::{FIRST, SIZE};
use crate::attributes::{Attributes, xml};
use crate::machine::NETWORK;
use crate::zone::{State, Zone};

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("vnpool", "info") => pool,
        _ => return None,
    })
}

fn pool(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    for _ in 0..3 {
        arguments.int()?;
    }
    Ok(Outcome::Text(networks(call.zone, &call.state)))
}

fn networks(zone: &Zone, state: &State) -> String {
    let text = |v: String| serde_json::Value::String(v);
    let template: Attributes = [
        ("BRIDGE", "lo".to_owned()),
        ("NETWORK_ADDRESS", zone.plan.network().to_string()),
        ("NETWORK_MASK", "255.255.255.0".to_owned()),
        ("VN_MAD", "dummy".to_owned()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), text(v)))
    .collect();
    let (name, id) = NETWORK;
    let used = state.leases.len();
    let first = zone.plan.outside(FIRST);
    let owner = Caller::oneadmin().owned();
    format!(
        "<VNET_POOL><VNET><ID>{id}</ID>{}<NAME>{name}</NAME>{}<BRIDGE><![CDATA[lo]]></BRIDGE><STATE>1</STATE>\
         <USED_LEASES>{used}</USED_LEASES><VROUTERS/><TEMPLATE>{}</TEMPLATE><AR_POOL><AR><AR_ID>0</AR_ID>\
         <IP><![CDATA[{first}]]></IP><MAC><![CDATA[{}]]></MAC><SIZE><![CDATA[{SIZE}]]></SIZE><TYPE><![CDATA[IP4]]></TYPE>\
         <USED_LEASES>{used}</USED_LEASES></AR></AR_POOL></VNET></VNET_POOL>",
        owner.ids_xml(),
        owner.permissions_xml(),
        xml(&template),
        zone.plan.mac(FIRST)
    )
}
