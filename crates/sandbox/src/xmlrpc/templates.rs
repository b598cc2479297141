//! `one.template.*` and `one.templatepool.info`. Names are unique for each owner; a call is atomic, so of two who allocate
//! the same name at once one is refused.

use super::wire::{Arguments, Failure, Outcome};
use super::{Call, Handler, page};
use crate::access::{Caller, Right};
use crate::attributes::{Attributes, cdata, read, text, xml};
use crate::instantiate::{Over, instantiate};
use crate::refusal::{ACTION, API, INTERNAL, Refusal};
use crate::zone::{State, VmTemplate, now};

pub(super) fn handler(object: &str, verb: &str) -> Option<Handler> {
    Some(match (object, verb) {
        ("template", "allocate") => allocate,
        ("template", "info") => info,
        ("template", "update") => update,
        ("template", "delete") => delete,
        ("template", "chmod") => chmod,
        ("template", "rename") => rename,
        ("template", "clone") => clone,
        ("template", "instantiate") => make_vm,
        ("templatepool", "info") => pool,
        _ => return None,
    })
}

/// The template of that number, if the caller has the right.
fn known(call: &Call<'_>, id: i64, right: Right) -> Result<u32, Failure> {
    let found = u32::try_from(id).ok().and_then(|id| Some((id, call.state.templates.get(&id)?)));
    let (id, template) = found.ok_or_else(|| Refusal::missing("virtual machine template", id))?;
    Refusal::unless(&template.owned, &call.caller, right, "TEMPLATE", id)?;
    Ok(id)
}

/// oned's words for a name that cannot be a template's.
fn valid_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("Invalid NAME, it cannot be empty".to_owned());
    }
    if let Some(bad) = name.chars().find(|c| "&|:\\\";/'#{}$<>\t\n\u{b}\r\u{c}".contains(*c)) {
        return Err(format!("Invalid NAME, char '{bad}' is not allowed"));
    }
    if name.len() > 128 {
        return Err("Invalid NAME, max length is 128 chars".to_owned());
    }
    Ok(())
}

fn taken(state: &State, name: &str, uid: u32) -> Option<u32> {
    let mut all = state.templates.iter();
    all.find(|(_, t)| t.name == name && t.owned.uid == uid).map(|(id, _)| *id)
}

fn insert(state: &mut State, caller: &Caller, name: &str, content: Attributes) -> Result<u32, Refusal> {
    valid_name(name).map_err(Refusal::internal)?;
    if let Some(other) = taken(state, name, caller.id) {
        return Err(Refusal::internal(format!("NAME is already taken by TEMPLATE {other}.")));
    }
    let id = state.next_template;
    state.next_template += 1;
    let template = VmTemplate { name: name.to_owned(), owned: caller.owned(), registered: now(), content };
    state.templates.insert(id, template);
    Ok(id)
}

fn allocate(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let mut content = read(arguments.text()?).map_err(Refusal::internal)?;
    let name = content.remove("NAME").map(|name| text(&name)).unwrap_or_default();
    Ok(Outcome::Number(insert(&mut call.state, &call.caller, &name, content)?))
}

fn info(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    arguments.flag_or()?;
    arguments.flag_or()?;
    let id = known(call, id, Right::Use)?;
    Ok(Outcome::Text(call.state.templates.get(&id).map(|t| t.to_xml(id)).unwrap_or_default()))
}

fn update(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, given) = (arguments.int()?, arguments.text()?);
    let append = match arguments.int_or(0)? {
        0 => false,
        1 => true,
        _ => return Err(Refusal::new(API, -1, "Wrong update type").into()),
    };
    let id = known(call, id, Right::Manage)?;
    let refused =
        |why: String| Refusal::new(INTERNAL, i64::from(id), format!("Cannot update template. {why}"));
    let mut new = read(given).map_err(refused)?;
    // The name has a call of its own.
    new.remove("NAME");
    if let Some(template) = call.state.templates.get_mut(&id) {
        if !append {
            template.content.clear();
        }
        template.content.extend(new);
    }
    Ok(Outcome::Number(id))
}

fn delete(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    arguments.flag_or()?;
    let id = known(call, id, Right::Manage)?;
    call.state.templates.remove(&id);
    Ok(Outcome::Number(id))
}

fn chmod(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let id = arguments.int()?;
    let bits = (0..9).map(|_| arguments.int()).collect::<Result<Vec<_>, _>>()?;
    arguments.flag_or()?;
    let id = known(call, id, Right::Manage)?;
    if let Some(template) = call.state.templates.get_mut(&id) {
        template.owned.mode = template.owned.mode.changed(&bits);
    }
    Ok(Outcome::Number(id))
}

fn rename(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, name) = (arguments.int()?, arguments.text()?);
    let id = known(call, id, Right::Manage)?;
    valid_name(name).map_err(|why| Refusal::new(ACTION, i64::from(id), why))?;
    let owner = call.state.templates.get(&id).map_or(0, |t| t.owned.uid);
    if let Some(other) = taken(&call.state, name, owner).filter(|other| *other != id) {
        let text = format!("NAME is already taken by TEMPLATE {other}.");
        return Err(Refusal::new(ACTION, i64::from(id), text).into());
    }
    if let Some(template) = call.state.templates.get_mut(&id) {
        name.clone_into(&mut template.name);
    }
    Ok(Outcome::Number(id))
}

fn clone(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, name) = (arguments.int()?, arguments.text()?);
    arguments.flag_or()?;
    let id = known(call, id, Right::Use)?;
    let content = call.state.templates.get(&id).map(|t| t.content.clone()).unwrap_or_default();
    Ok(Outcome::Number(insert(&mut call.state, &call.caller, name, content)?))
}

fn make_vm(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (id, name) = (arguments.int()?, arguments.text_or("")?);
    let (hold, over, persistent) = (arguments.flag_or()?, arguments.text_or("")?, arguments.flag_or()?);
    let id = known(call, id, Right::Use)?;
    let over = read(over).map_err(Refusal::internal)?;
    if persistent {
        return Err(Refusal::new(ACTION, -1, "The sandbox has no persistent copies").into());
    }
    let vm = instantiate(call.zone, &mut call.state, &call.caller, id, name, hold, &Over::Replacing(&over))?;
    call.zone.changed.notify_one();
    Ok(Outcome::Number(vm))
}

fn pool(call: &mut Call<'_>, arguments: &mut Arguments<'_>) -> Result<Outcome, Failure> {
    let (filter, start, end) = arguments.range()?;
    let all = call.state.templates.iter().filter(|(_, t)| t.owned.passes(&call.caller, filter));
    let all = all.map(|(id, t)| (*id, t.to_xml(*id))).collect();
    let shown: String = page(all, start, end).concat();
    Ok(Outcome::Text(format!("<VMTEMPLATE_POOL>{shown}</VMTEMPLATE_POOL>")))
}

impl VmTemplate {
    fn to_xml(&self, id: u32) -> String {
        format!(
            "<VMTEMPLATE><ID>{id}</ID>{}<NAME>{}</NAME>{}<REGTIME>{}</REGTIME><TEMPLATE>{}</TEMPLATE></VMTEMPLATE>",
            self.owned.ids_xml(),
            cdata(&self.name),
            self.owned.permissions_xml(),
            self.registered,
            xml(&self.content)
        )
    }
}
