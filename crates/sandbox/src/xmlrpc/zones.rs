//! `one.system.*`, `one.zone.*`, `one.zonepool.info` and `one.acl.info`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler};
use crate::access::Right;
use crate::attributes::cdata;
use crate::federation::ZoneEntry;
use crate::instantiate::RESTRICTED;
use crate::refusal::{ACTION, Refusal};

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("system", "version") => version,
        ("system", "config") => config,
        ("zone", "info") => info,
        ("zone", "enable") => enable,
        ("zonepool", "info") => pool,
        ("acl", "info") => rules,
        _ => return None,
    })
}

fn version(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    Ok(Outcome::Text(call.zone.version.clone()))
}

/// A few of oned.conf's settings. The original hides from ordinary users what holds passwords; there is nothing of it here.
fn config(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let mut restricted = String::new();
    for (key, parts) in RESTRICTED {
        let part = |part: &&str| format!("<VM_RESTRICTED_ATTR><![CDATA[{key}/{part}]]></VM_RESTRICTED_ATTR>");
        restricted.extend(parts.iter().map(part));
        if parts.is_empty() {
            restricted.push_str(&format!("<VM_RESTRICTED_ATTR><![CDATA[{key}]]></VM_RESTRICTED_ATTR>"));
        }
    }
    let mode = if call.zone.id == 0 { "MASTER" } else { "SLAVE" };
    Ok(Outcome::Text(format!(
        "<OPENNEBULA_CONFIGURATION><API_LIST_ORDER><![CDATA[DESC]]></API_LIST_ORDER><DEFAULT_UMASK><![CDATA[177]]></DEFAULT_UMASK>\
         <FEDERATION><MODE><![CDATA[{mode}]]></MODE><ZONE_ID><![CDATA[{}]]></ZONE_ID></FEDERATION>\
         <ONEGATE_ENDPOINT>{}</ONEGATE_ENDPOINT>{restricted}</OPENNEBULA_CONFIGURATION>",
        call.zone.id,
        cdata(&call.zone.plan.url(crate::addresses::ONEGATE, "")),
    )))
}

fn pool(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let federation = call.zone.host.federation();
    let zones: String = federation.zones.iter().map(to_xml).collect();
    Ok(Outcome::Text(format!("<ZONE_POOL>{zones}</ZONE_POOL>")))
}

fn info(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    arguments.flag_or()?;
    let federation = call.zone.host.federation();
    let zone = federation.zones.iter().find(|zone| i64::from(zone.id) == id);
    Ok(Outcome::Text(zone.map(to_xml).ok_or_else(|| Refusal::missing("zone", id))?))
}

/// At the zone's own endpoint only.
fn enable(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, on) = (arguments.int()?, arguments.flag()?);
    if id != i64::from(call.zone.id) {
        let why = "Enable/disable mode have to be set through the target zone endpoints";
        return Err(Refusal::new(ACTION, -1, why).into());
    }
    if !call.caller.is_admin() {
        return Err(Refusal::unauthorized(&call.caller, Right::Admin, &format!("ZONE [{id}]")).into());
    }
    call.state.disabled = !on;
    let mut federation = call.zone.host.federation();
    for zone in federation.zones.iter_mut().filter(|zone| zone.id == call.zone.id) {
        zone.enabled = on;
    }
    Ok(Outcome::Number(call.zone.id))
}

/// What the default rules and this zone's VDC give; administrators only, as in the original.
fn rules(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    if !call.caller.is_admin() {
        return Err(Refusal::unauthorized(&call.caller, Right::Manage, "ACL").into());
    }
    // Numbers whose upper half says what kind of thing the lower half names.
    const INDIVIDUAL: u64 = 1 << 32;
    const GROUP: u64 = 1 << 33;
    const ALL: u64 = 1 << 34;
    // VM, IMAGE, TEMPLATE, DOCUMENT, SECGROUP, VMGROUP.
    const MADE: u64 = 1 << 36 | 1 << 39 | 1 << 41 | 1 << 46 | 1 << 48 | 1 << 53;
    let mut rules = vec![
        ("@1 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP/* CREATE *".to_owned(), GROUP | 1, MADE, 8, ALL),
        ("* ZONE/* USE *".to_owned(), ALL, 1 << 47, 1, ALL),
    ];
    let zone = call.zone.id;
    for group in &call.zone.vdc {
        for (kind, bit, word, right) in
            [("HOST", 1 << 37, "MANAGE", 2), ("NET", 1 << 38, "USE", 1), ("DATASTORE", 1 << 44, "USE", 1)]
        {
            let text = format!("@{group} {kind}/* {word} #{zone}");
            rules.push((text, GROUP | u64::from(*group), bit, right, INDIVIDUAL | u64::from(zone)));
        }
    }
    let one = |(id, (text, user, kind, right, zone)): (usize, (String, u64, u64, u64, u64))| {
        let resource = kind | ALL;
        format!(
            "<ACL><ID>{id}</ID><USER>{user:x}</USER><RESOURCE>{resource:x}</RESOURCE><RIGHTS>{right:x}</RIGHTS>\
             <ZONE>{zone:x}</ZONE><STRING>{text}</STRING></ACL>"
        )
    };
    let rules: String = rules.into_iter().enumerate().map(one).collect();
    Ok(Outcome::Text(format!("<ACL_POOL>{rules}</ACL_POOL>")))
}

fn to_xml(zone: &ZoneEntry) -> String {
    let state = u8::from(!zone.enabled);
    let flow =
        zone.oneflow.as_ref().map(|url| format!("<ONEFLOW_ENDPOINT>{}</ONEFLOW_ENDPOINT>", cdata(url)));
    format!(
        "<ZONE><ID>{}</ID><NAME>{}</NAME><STATE>{state}</STATE><TEMPLATE><ENDPOINT>{}</ENDPOINT>{}</TEMPLATE>\
         <SERVER_POOL/></ZONE>",
        zone.id,
        zone.name,
        cdata(&zone.endpoint),
        flow.unwrap_or_default()
    )
}
