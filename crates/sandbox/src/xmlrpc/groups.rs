//! `one.group.info` and `one.grouppool.info`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler};
use crate::access::Right;
use crate::attributes::cdata;
use crate::quota::Of;
use crate::refusal::Refusal;

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("group", "info") => info,
        ("grouppool", "info") => pool,
        _ => return None,
    })
}

fn may_see(call: &Call<'_>, id: u32) -> bool {
    call.caller.is_admin() || call.caller.groups.contains(&id)
}

/// -1 is the caller's own.
fn info(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int_or(-1)?;
    arguments.flag_or()?;
    let number = if id == -1 { call.caller.gid } else { u32::try_from(id).unwrap_or(u32::MAX) };
    let xml = to_xml(call, number).ok_or_else(|| Refusal::missing("group", id))?;
    if !may_see(call, number) {
        return Err(Refusal::unauthorized(&call.caller, Right::Use, &format!("GROUP [{number}]")).into());
    }
    Ok(Outcome::Text(xml))
}

fn pool(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let ids: Vec<u32> = call.zone.host.federation().groups.keys().copied().collect();
    let seen = ids.into_iter().filter(|id| may_see(call, *id));
    let all: String = seen.filter_map(|id| to_xml(call, id)).collect();
    Ok(Outcome::Text(format!("<GROUP_POOL>{all}</GROUP_POOL>")))
}

fn to_xml(call: &Call<'_>, id: u32) -> Option<String> {
    let federation = call.zone.host.federation();
    let name = federation.groups.get(&id)?;
    let members = federation.users.iter().filter(|(_, user)| user.groups.contains(&id));
    let members: String = members.map(|(id, _)| format!("<ID>{id}</ID>")).collect();
    Some(format!(
        "<GROUP><ID>{id}</ID><NAME>{}</NAME><TEMPLATE/><USERS>{members}</USERS><ADMINS/>{}\
         <DEFAULT_GROUP_QUOTAS><DATASTORE_QUOTA/><NETWORK_QUOTA/><VM_QUOTA/><IMAGE_QUOTA/></DEFAULT_GROUP_QUOTAS></GROUP>",
        cdata(name),
        call.state.quota_xml(Of::Group(id)),
    ))
}
