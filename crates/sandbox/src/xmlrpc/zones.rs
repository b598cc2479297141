//! `one.system.*`, `one.zone.*`, `one.zonepool.info` and `one.acl.info`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler};
use crate::access::Right;
use crate::attributes::cdata;
use crate::federation::ZoneEntry;
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

/// A few of oned.conf's settings; ordinary users see fewer still.
fn config(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let public = "<DEFAULT_UMASK><![CDATA[177]]></DEFAULT_UMASK><VM_SUBMIT_ON_HOLD><![CDATA[NO]]></VM_SUBMIT_ON_HOLD>\
                  <API_LIST_ORDER><![CDATA[DESC]]></API_LIST_ORDER>";
    let own = format!(
        "<FEDERATION><MODE><![CDATA[{}]]></MODE><ZONE_ID><![CDATA[{}]]></ZONE_ID></FEDERATION>\
         <ONEGATE_ENDPOINT>{}</ONEGATE_ENDPOINT>",
        if call.zone.id == 0 { "MASTER" } else { "SLAVE" },
        call.zone.id,
        cdata(&call.zone.plan.url(crate::addresses::ONEGATE, "")),
    );
    let own = if call.caller.is_admin() { own } else { String::new() };
    Ok(Outcome::Text(format!("<OPENNEBULA_CONFIGURATION>{public}{own}</OPENNEBULA_CONFIGURATION>")))
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
    let zone = call.zone.id;
    let mut texts = vec![
        "@1 VM+IMAGE+TEMPLATE+DOCUMENT+SECGROUP+VMGROUP/* CREATE *".to_owned(),
        "* ZONE/* USE *".to_owned(),
    ];
    for group in &call.zone.vdc {
        texts.push(format!("@{group} HOST/* MANAGE #{zone}"));
        texts.push(format!("@{group} NET/* USE #{zone}"));
        texts.push(format!("@{group} DATASTORE/* USE #{zone}"));
    }
    let one = |(id, text): (usize, &String)| format!("<ACL><ID>{id}</ID><STRING>{text}</STRING></ACL>");
    let rules: String = texts.iter().enumerate().map(one).collect();
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
