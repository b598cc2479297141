//! `one.user.*` and `one.userpool.info`.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler};
use crate::access::Right;
use crate::attributes::cdata;
use crate::federation::{Token, User};
use crate::files::random_hex;
use crate::quota::Of;
use crate::refusal::{API, Refusal};
use crate::zone::now;
use onefed_opennebula::Secret;

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("user", "info") => info,
        ("user", "login") => login,
        ("userpool", "info") => pool,
        _ => return None,
    })
}

/// The user of that number (-1 is the caller), if the caller may see it.
fn known(call: &Call<'_>, id: i64) -> Result<u32, Failure> {
    let number = if id == -1 { call.caller.id } else { u32::try_from(id).unwrap_or(u32::MAX) };
    if !call.zone.host.federation().users.contains_key(&number) {
        return Err(Refusal::missing("user", id).into());
    }
    if number != call.caller.id && !call.caller.is_admin() {
        return Err(Refusal::unauthorized(&call.caller, Right::Use, &format!("USER [{number}]")).into());
    }
    Ok(number)
}

fn info(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = known(call, arguments.int_or(-1)?)?;
    arguments.flag_or()?;
    Ok(Outcome::Text(to_xml(call, id)))
}

fn pool(call: &mut Call<'_>, _: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let ids: Vec<u32> = call.zone.host.federation().users.keys().copied().collect();
    let seen = ids.into_iter().filter(|id| known(call, i64::from(*id)).is_ok());
    let all: String = seen.map(|id| to_xml(call, id)).collect();
    Ok(Outcome::Text(format!("<USER_POOL>{all}</USER_POOL>")))
}

fn to_xml(call: &Call<'_>, id: u32) -> String {
    let federation = call.zone.host.federation();
    let Some((user, caller)) = federation.users.get(&id).zip(federation.caller(id)) else {
        return String::new();
    };
    let groups: String = user.groups.iter().map(|id| format!("<ID>{id}</ID>")).collect();
    format!(
        "<USER><ID>{id}</ID><GID>{}</GID><GROUPS>{groups}</GROUPS><GNAME>{}</GNAME><NAME>{}</NAME><PASSWORD/>\
         <AUTH_DRIVER>core</AUTH_DRIVER><ENABLED>1</ENABLED>{}<TEMPLATE><TOKEN_PASSWORD>{}</TOKEN_PASSWORD></TEMPLATE>{}\
         <DEFAULT_USER_QUOTAS><DATASTORE_QUOTA/><NETWORK_QUOTA/><VM_QUOTA/><IMAGE_QUOTA/></DEFAULT_USER_QUOTAS></USER>",
        caller.gid,
        caller.gname,
        user.name,
        tokens(user),
        cdata(user.token_password.expose()),
        call.state.quota_xml(Of::User(id)),
    )
}

fn tokens(user: &User) -> String {
    let one = |token: &Token| {
        format!(
            "<LOGIN_TOKEN><TOKEN>{}</TOKEN><EXPIRATION_TIME>{}</EXPIRATION_TIME><EGID>{}</EGID></LOGIN_TOKEN>",
            token.text.expose(),
            token.expires.map_or_else(|| "-1".to_owned(), |at| at.to_string()),
            token.group.map_or_else(|| "-1".to_owned(), |id| id.to_string()),
        )
    };
    user.tokens.iter().map(one).collect()
}

/// Makes a login token (for so many seconds, -1 for ever) or takes back one or all (0 seconds).
fn login(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (name, token) = (arguments.text()?, arguments.text()?);
    let (seconds, group) = (arguments.int_or(0)?, arguments.int_or(-1)?);
    let found = call.zone.host.federation().user_id(name);
    let id = found.ok_or_else(|| Refusal::missing("user", -1))?;
    if id != call.caller.id && !call.caller.is_admin() {
        return Err(Refusal::unauthorized(&call.caller, Right::Manage, &format!("USER [{id}]")).into());
    }
    let fresh = random_hex(32).map_err(|why| Refusal::internal(why.to_string()))?;
    let mut federation = call.zone.host.federation();
    let user = federation.users.get_mut(&id).ok_or_else(|| Refusal::missing("user", i64::from(id)))?;
    let is = |known: &Token| known.text.expose() == token;
    if seconds == 0 {
        if token.is_empty() {
            user.tokens.clear();
        } else if user.tokens.iter().any(is) {
            user.tokens.retain(|known| !is(known));
        } else {
            return Err(Refusal::new(API, -1, format!("Could not find token: {token}")).into());
        }
        return Ok(Outcome::Text(token.to_owned()));
    }
    let group = u32::try_from(group).ok();
    if group.is_some_and(|group| !user.groups.contains(&group)) && !call.caller.is_admin() {
        return Err(Refusal::new(API, -1, "EGID is not in user group list").into());
    }
    let text = if token.is_empty() { fresh } else { token.to_owned() };
    user.tokens.retain(|known| !is(known));
    let expires = u64::try_from(seconds).ok().map(|seconds| now() + seconds);
    user.tokens.push(Token { text: Secret::new(text.clone()), expires, group });
    Ok(Outcome::Text(text))
}
