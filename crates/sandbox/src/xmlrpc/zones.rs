//! `one.system.*` and `one.zonepool.info`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler, VERSION};

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("system", "version") => version,
        ("zonepool", "info") => pool,
        _ => return None,
    })
}

fn version(_: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    Ok(Outcome::Text(VERSION.to_owned()))
}

fn pool(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    Ok(Outcome::Text(call.zone.pool_xml.clone()))
}

/// ZONE_POOL of a sandbox: names with the URLs of XML-RPC and OneFlow.
pub(crate) fn zone_pool<'a>(zones: impl Iterator<Item = (&'a str, String, String)>) -> String {
    let one = |(at, (name, rpc, flow)): (usize, (&str, String, String))| {
        // As in a real federation: the master is 0, the others count from 100.
        let id = if at == 0 { 0 } else { 99 + at };
        format!(
            "<ZONE><ID>{id}</ID><NAME>{name}</NAME><STATE>0</STATE><TEMPLATE><ENDPOINT><![CDATA[{rpc}]]></ENDPOINT>\
             <ONEFLOW_ENDPOINT><![CDATA[{flow}]]></ONEFLOW_ENDPOINT></TEMPLATE><SERVER_POOL/></ZONE>"
        )
    };
    format!("<ZONE_POOL>{}</ZONE_POOL>", zones.enumerate().map(one).collect::<String>())
}
