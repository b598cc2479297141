//! Requests about service templates.

use super::http::{Answer, Call};
use super::schema;
use super::service::{Service, Template, unsigned};
use crate::access::{Caller, Mode, Right};
use crate::attributes::{Attributes, merge, text};
use crate::refusal::Refusal;
use crate::zone::{VmTemplate, now, object};
use serde_json::{Value, json};

pub(super) fn list(call: &Call<'_>) -> Answer {
    let all = call.state.documents.templates.iter().filter(|(_, t)| t.owned.passes(&call.caller, -2));
    Answer::pool(all.map(|(id, t)| t.to_json(*id)).collect())
}

pub(super) fn show(call: &Call<'_>, id: u32) -> Result<Answer, Answer> {
    Ok(Answer::document(200, &known(call, id, Right::Use, "info")?.to_json(id)))
}

/// The template of that number, if the caller has the right.
fn known<'a>(call: &'a Call<'_>, id: u32, right: Right, verb: &str) -> Result<&'a Template, Answer> {
    let template = call.state.documents.templates.get(&id).ok_or_else(|| Answer::no_document(id))?;
    call.may(Right::Use, &template.owned, id, "info")?;
    call.may(right, &template.owned, id, verb)?;
    Ok(template)
}

/// A body that the schema passes; what is no JSON is refused by it, too.
fn checked(body: &[u8]) -> Result<Attributes, Answer> {
    let body = serde_json::from_slice(body).map_err(|e| Answer(400, format!("unexpected token: {e}")))?;
    schema::check(&body).map_err(|why| Answer(400, why))
}

fn name_of(body: &Attributes) -> Result<String, Answer> {
    let name = body.get("name").map(text).unwrap_or_default();
    if name.chars().count() > 128 {
        return Err(Answer::failed("[one.document.allocate] Invalid NAME, max length is 128 chars"));
    }
    Ok(name)
}

pub(super) fn create(mut call: Call<'_>) -> Result<Answer, Answer> {
    let mut body = checked(call.body)?;
    let name = name_of(&body)?;
    body.insert("registration_time".to_owned(), json!(now()));
    Ok(insert(&mut call, name, body))
}

fn insert(call: &mut Call<'_>, name: String, body: Attributes) -> Answer {
    let template = Template { name, owned: call.caller.owned(), body };
    let documents = &mut call.state.documents;
    let id = documents.number();
    let answer = Answer::document(201, &template.to_json(id));
    documents.templates.insert(id, template);
    answer
}

pub(super) fn update(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    known(&call, id, Right::Manage, "update")?;
    let given: Value =
        serde_json::from_slice(call.body).map_err(|e| Answer(400, format!("unexpected token: {e}")))?;
    replace(&mut call, id, given)?;
    show(&call, id)
}

/// Puts another body into a template. The document's own name stays.
fn replace(call: &mut Call<'_>, id: u32, mut given: Value) -> Result<(), Answer> {
    let Some(template) = call.state.documents.templates.get_mut(&id) else { return Ok(()) };
    let registered = template.body.get("registration_time").cloned().unwrap_or_default();
    if let Value::Object(given) = &mut given
        && *given.entry("registration_time").or_insert_with(|| registered.clone()) != registered
    {
        let attribute = "`service_template/registration_time`";
        return Err(Answer::failed(format!("Immutable value: {attribute} can not be changed")));
    }
    template.body = schema::check(&given).map_err(|why| Answer(400, why))?;
    Ok(())
}

pub(super) fn delete(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    let also =
        serde_json::from_slice::<Value>(call.body).ok().and_then(|b| Some(text(b.get("delete_type")?)));
    let template = known(&call, id, Right::Manage, "delete")?;
    let roles = template.body.get("roles").and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(kind @ ("templates" | "all")) = also.as_deref() {
        for role in roles {
            delete_vm_template(
                &mut call,
                unsigned(role.get("template_id")).unwrap_or(u32::MAX),
                kind == "all",
            )?;
        }
    }
    call.state.documents.templates.remove(&id);
    Ok(Answer::empty())
}

fn delete_vm_template(call: &mut Call<'_>, id: u32, images_too: bool) -> Result<(), Answer> {
    // Two roles may have the same one.
    let Some(template) = call.state.templates.get(&id) else { return Ok(()) };
    Refusal::unless(&template.owned, &call.caller, Right::Manage, "TEMPLATE", id)
        .map_err(|refusal| Answer::refused("one.template.delete", &refusal))?;
    let image = template.content.get("DISK").and_then(|disk| disk.get("IMAGE_ID")).map(text);
    call.state.templates.remove(&id);
    if let Some(image) = image.filter(|_| images_too).and_then(|id| id.parse().ok()) {
        call.state.images.remove(&image);
    }
    Ok(())
}

pub(super) fn act(mut call: Call<'_>, id: u32) -> Result<Answer, Answer> {
    let (perform, params) = call.action()?;
    let params = params.unwrap_or_default();
    match perform.as_str() {
        "instantiate" => instantiate(call, id, &params),
        "update" => {
            known(&call, id, Right::Manage, "update")?;
            let Some(given) = params.get("template_json") else { return Ok(Answer(200, String::new())) };
            let mut given: Value = serde_json::from_str(&text(given))
                .map_err(|e| Answer(400, format!("unexpected token: {e}")))?;
            if params.get("append") == Some(&json!(true)) {
                // Laid over, key by key.
                let mut whole = known(&call, id, Right::Manage, "update")?.body.clone();
                whole.extend(object(Some(&given)));
                given = Value::Object(whole);
            }
            replace(&mut call, id, given).or_else(|refusal| {
                // What is immutable is not changed, and nobody says so here.
                if refusal.0 == 400 { Err(refusal) } else { Ok(()) }
            })?;
            Ok(Answer::empty())
        }
        "rename" => {
            known(&call, id, Right::Manage, "rename")?;
            if let Some(template) = call.state.documents.templates.get_mut(&id) {
                template.name = params.get("name").map(text).unwrap_or_default();
            }
            Ok(Answer::empty())
        }
        "chmod" => {
            let Some(mode) = params.get("octet").map(text) else { return Ok(Answer(200, String::new())) };
            known(&call, id, Right::Manage, "chmod")?;
            let mode = Mode::parse(&mode).ok_or_else(|| Answer::unhandled("bad octet"))?;
            if let Some(template) = call.state.documents.templates.get_mut(&id) {
                template.owned.mode = mode;
            }
            Ok(Answer::empty())
        }
        "chown" | "chgrp" => {
            known(&call, id, Right::Manage, "chown")?;
            let given = (params.get("owner_id").cloned(), params.get("group_id").cloned());
            if let Some(owned) = owner(&call, given.0.as_ref(), given.1.as_ref())
                && let Some(template) = call.state.documents.templates.get_mut(&id)
            {
                owned.apply(&mut template.owned);
            }
            Ok(Answer::empty())
        }
        "clone" => clone(call, id, &params),
        // The original ignores what it does not know.
        _ => Ok(Answer(200, String::new())),
    }
}

/// A new owner, group, or both.
pub(super) struct Owner {
    user: Option<Caller>,
    group: Option<(u32, String)>,
}

impl Owner {
    pub(super) fn apply(self, owned: &mut crate::access::Owned) {
        if let Some(user) = self.user {
            (owned.uid, owned.uname) = (user.id, user.name);
        }
        if let Some(group) = self.group {
            (owned.gid, owned.gname) = group;
        }
    }
}

/// Who is meant by the numbers of a chown; `None` when nobody is. Administrators only.
pub(super) fn owner(call: &Call<'_>, user: Option<&Value>, group: Option<&Value>) -> Option<Owner> {
    let number = |value: Option<&Value>| value.and_then(|v| text(v).parse::<u32>().ok());
    let federation = call.zone.host.federation();
    let user = number(user).and_then(|id| federation.caller(id));
    let group = number(group).and_then(|id| Some((id, federation.groups.get(&id)?.clone())));
    let any = user.is_some() || group.is_some();
    (any && call.caller.is_admin()).then_some(Owner { user, group })
}

/// A copy of the document, and unless told not to, of its VM templates.
fn clone(mut call: Call<'_>, id: u32, params: &Attributes) -> Result<Answer, Answer> {
    let mut body = known(&call, id, Right::Use, "clone")?.body.clone();
    let name = params.get("name").map(text).unwrap_or_default();
    if params.get("recursive").map(text).as_deref() != Some("none") {
        let mut copies = std::collections::BTreeMap::new();
        for role in body.get_mut("roles").and_then(Value::as_array_mut).into_iter().flatten() {
            let of = unsigned(role.get("template_id")).unwrap_or(u32::MAX);
            let copy = match copies.get(&of) {
                Some(copy) => *copy,
                None => copy_vm_template(&mut call, of, &name)?,
            };
            copies.insert(of, copy);
            role["template_id"] = json!(copy);
        }
    }
    Ok(insert(&mut call, name, body))
}

fn copy_vm_template(call: &mut Call<'_>, id: u32, name: &str) -> Result<u32, Answer> {
    let known = call.state.templates.get(&id).ok_or_else(|| {
        Answer::failed(format!("[one.template.info] Error getting virtual machine template [{id}]."))
    })?;
    let copy = VmTemplate {
        name: format!("{}-{name}", known.name),
        owned: call.caller.owned(),
        registered: now(),
        content: known.content.clone(),
    };
    let id = call.state.next_template;
    call.state.next_template += 1;
    call.state.templates.insert(id, copy);
    Ok(id)
}

fn instantiate(mut call: Call<'_>, id: u32, params: &Attributes) -> Result<Answer, Answer> {
    let mut over = object(params.get("merge_template"));
    let template = known(&call, id, Right::Use, "info")?;
    inputs_given(&template.body, &over).map_err(|why| Answer(400, why))?;
    networks_given(&template.body, &mut over).map_err(|why| Answer(400, why.to_owned()))?;
    let name = over.get("name").map(text).unwrap_or_else(|| template.name.clone());
    let body =
        schema::check(&Value::Object(merged(&template.body, &over))).map_err(|why| Answer(400, why))?;
    // It would end the CDATA of the document that the original stores.
    if Value::Object(body.clone()).to_string().contains("]]>") {
        return Err(Answer::unhandled("[one.document.update] XML parse error"));
    }
    name_of(&body)?;
    let number = call.state.documents.number();
    let service = Service::new(number, name, call.caller.owned(), body);
    let answer = Answer::document(201, &service.to_json(&call.state));
    call.state.documents.services.insert(number, service);
    call.zone.changed.notify_one();
    Ok(answer)
}

fn inputs_given(template: &Attributes, over: &Attributes) -> Result<(), String> {
    let values = over.get("user_inputs_values").or_else(|| over.get("custom_attrs_values"));
    values_given(&object(template.get("user_inputs")), values)?;
    for role in template.get("roles").and_then(Value::as_array).into_iter().flatten() {
        // None at all will do where there is no such key, not where it is empty.
        let Some(wanted) = role.get("user_inputs") else { continue };
        let name = role.get("name").map(text).unwrap_or_default();
        let roles = over.get("roles").ok_or_else(|| {
            format!(
                "The Service template specifies user inputs for the role {name} but no values have been found"
            )
        })?;
        let roles = roles.as_array().filter(|roles| !roles.is_empty());
        let roles = roles.ok_or("The role user inputs are empty or do not have a valid format")?;
        // A role that was left out is not looked at.
        if let Some(given) = roles.iter().find(|r| r.get("name") == role.get("name")) {
            values_given(&object(Some(wanted)), given.get("user_inputs_values"))?;
        }
    }
    Ok(())
}

fn values_given(wanted: &Attributes, given: Option<&Value>) -> Result<(), String> {
    if wanted.is_empty() {
        return Ok(());
    }
    let given = given.ok_or("The Service template specifies User Inputs but no values have been found")?;
    let given = given.as_object().ok_or("Wrong User Inputs or User Inputs Values format")?;
    if wanted.keys().all(|key| given.contains_key(key)) {
        Ok(())
    } else {
        Err("Verify that every User Input have its corresponding value defined".to_owned())
    }
}

/// Every network of the template has a value, if only the default in its own text, `M|network|||id:0`.
fn networks_given(template: &Attributes, over: &mut Attributes) -> Result<(), &'static str> {
    let wanted = object(template.get("networks"));
    if !template.contains_key("networks") {
        return Ok(());
    }
    if !over.contains_key("networks_values") {
        let mut values = Vec::new();
        for (name, text) in &wanted {
            let default = text.as_str().and_then(|text| text.split('|').nth(4)?.trim().split_once(':'));
            let (key, value) = default.ok_or("Wrong networks format")?;
            values.push(json!({ name: { key: value } }));
        }
        over.insert("networks_values".to_owned(), Value::Array(values));
    }
    let values = over.get("networks_values").and_then(Value::as_array);
    let values = values.ok_or("Wrong networks_values format")?;
    if values.iter().any(|value| !value.is_object()) {
        return Err("Wrong networks_values format");
    }
    if wanted.keys().all(|name| values.iter().any(|value| value.get(name).is_some())) {
        Ok(())
    } else {
        Err("Every network key must have its value defined at networks_value")
    }
}

/// The template with everything that instantiate lays over it. Roles that it does not have are ignored.
fn merged(template: &Attributes, over: &Attributes) -> Attributes {
    let mut body = template.clone();
    body.remove("registration_time");
    let mut own = over.clone();
    let roles_over = own.remove("roles");
    if let Some(values) = own.remove("custom_attrs_values") {
        own.entry("user_inputs_values").or_insert(values);
    }
    merge(&mut body, &own);
    let Some(Value::Array(roles)) = body.get_mut("roles") else { return body };
    for change in roles_over.as_ref().and_then(Value::as_array).into_iter().flatten() {
        if let Some(Value::Object(role)) = roles.iter_mut().find(|r| r.get("name") == change.get("name")) {
            merge(role, &object(Some(change)));
        }
    }
    body
}
