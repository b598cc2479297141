//! The bodies of OneFlow documents, as OneFlow from 7.0 on takes them.

use std::collections::BTreeMap;

use onefed_context::{Endpoint, GatewayPlacement, Role, Secret};
use serde_json::{Map, Value, json};

use super::digest;
use super::inputs::{self, Input, Seat};
use crate::model::{Federation, Part};

/// The ids, in one zone, of what a plan calls by name, or of VM templates that onefed has made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneIds {
    /// The VM template of the SuperLink.
    pub superlink_template: u32,
    /// The VM template of gateways.
    pub gateway_template: u32,
    /// The VM template of SuperNodes.
    pub supernode_template: u32,
    /// The network.
    pub network: u32,
}

/// What an instantiation needs and no plan can say.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The CA certificate: base64 of PEM. Not used without TLS.
    pub ca_pem_base64: String,
    /// Its fingerprint, `sha256:` and 64 hexadecimal digits. Not used without TLS.
    pub ca_fingerprint: String,
    /// What sites dial, once it is known; the plan's own `address` goes before it.
    pub hub: Option<Endpoint>,
    /// One-time keys, by the name of the object that gets one. Not used without TLS.
    pub enrol_keys: BTreeMap<String, Secret>,
}

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The federation has no such site.
    #[error("the federation has no site `{0}`")]
    UnknownSite(String),
    /// The plan does not say where the hub is, and nobody has found out yet.
    #[error(
        "`{0}` cannot be made: the address of the hub is not known yet; deploy the coordinator first, or write `address` in [coordinator]"
    )]
    HubUnknown(String),
    /// TLS is on, but there is no CA certificate to hand out.
    #[error("`{0}` cannot be made: TLS is on, but there is no CA certificate to hand out")]
    NoCa(String),
    /// A VM template cannot be made, for this reason.
    #[error("`{name}` cannot be made: {why}")]
    NoTemplate {
        /// Its name.
        name: String,
        /// What is missing.
        why: String,
    },
}

/// The body of a part's service template, with a label of onefed in the extra key `onefed`, which OneFlow keeps.
///
/// # Errors
/// [`ObjectError::UnknownSite`].
pub fn service_template(
    federation: &Federation,
    part: Part<'_>,
    ids: &ZoneIds,
) -> Result<Value, ObjectError> {
    let seat = seat(federation, part)?;
    let mut body = template(federation, part, &seat, Some(ids));
    let site = seat.site().map(|site| site.name.as_str());
    let label = json!({
        "federation": federation.name,
        "kind": match (site, seat.local()) {
            (Some(_), _) => "site",
            (None, Some(_)) => "single",
            (None, None) => "coordinator",
        },
        "site": site,
        "digest": digest::of(federation, part),
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(body) = body.as_object_mut() {
        body.insert("onefed".to_owned(), label);
    }
    Ok(body)
}

/// The merge template with which a part's service is instantiated: a value for every declared input at its level.
///
/// A one-time key goes into the CONTEXT of the role that enrols, and is no input: inputs are shown in forms and kept
/// in the attributes of every VM.
///
/// # Errors
/// [`ObjectError`].
pub fn merge_template(
    federation: &Federation,
    part: Part<'_>,
    inputs: &Inputs,
) -> Result<Value, ObjectError> {
    let seat = seat(federation, part)?;
    let name = federation.object_name(part);
    if federation.tls && inputs.ca_pem_base64.is_empty() {
        return Err(ObjectError::NoCa(name));
    }
    let values = |list: Vec<Input>| -> Result<Value, ObjectError> {
        let pairs = list.into_iter().map(|input| {
            let text = match input.value {
                inputs::Value::Known(text) => text,
                inputs::Value::Ca => inputs.ca_pem_base64.clone(),
                inputs::Value::Hub => {
                    inputs.hub.as_ref().ok_or_else(|| ObjectError::HubUnknown(name.clone()))?.to_string()
                }
            };
            Ok((input.row.name.to_owned(), Value::String(text)))
        });
        Ok(Value::Object(pairs.collect::<Result<Map<_, _>, _>>()?))
    };
    let service = values(seat.service())?;
    let mut roles = Vec::new();
    for role in seat.role_inputs() {
        let mut context = Map::new();
        if federation.tls {
            if !inputs.ca_fingerprint.is_empty() {
                context.insert("FL_CA_FINGERPRINT".to_owned(), inputs.ca_fingerprint.clone().into());
            }
            if let Some(key) = inputs.enrol_keys.get(&name).filter(|_| role.role != Role::SuperNode) {
                context.insert("FL_ENROL_KEY".to_owned(), key.expose().into());
            }
        }
        roles.push(json!({
            "name": role.role.as_str(),
            "user_inputs_values": values(role.inputs)?,
            "template_contents": { "CONTEXT": context },
        }));
    }
    Ok(json!({ "name": name, "user_inputs_values": service, "roles": roles }))
}

fn seat<'a>(federation: &'a Federation, part: Part<'_>) -> Result<Seat<'a>, ObjectError> {
    Seat::new(federation, part).ok_or_else(|| match part {
        Part::Site(name) => ObjectError::UnknownSite(name.to_string()),
        Part::Coordinator => ObjectError::UnknownSite("coordinator".to_owned()),
    })
}

/// The body without its label; without ids for the digest.
pub(super) fn template(
    federation: &Federation,
    part: Part<'_>,
    seat: &Seat<'_>,
    ids: Option<&ZoneIds>,
) -> Value {
    let roles: Vec<_> = seat.role_inputs().iter().map(|inputs| role(federation, seat, inputs, ids)).collect();
    let (what, deployment) = match seat.site() {
        None => ("coordinator".to_owned(), "straight"),
        // Nothing in a site waits for anything else in it: every VM keeps trying to reach the next one.
        Some(site) => (format!("training site {}", site.name), "none"),
    };
    json!({
        "name": federation.object_name(part),
        "description": format!("Flower federation {}: {what}", federation.name),
        "deployment": deployment,
        "ready_status_gate": true,
        "shutdown_action": "shutdown",
        "user_inputs": declared(seat, &seat.service()),
        "roles": roles,
    })
}

fn role(federation: &Federation, seat: &Seat<'_>, own: &inputs::RoleInputs, ids: Option<&ZoneIds>) -> Value {
    let mut context = json!({
        "TOKEN": "YES",
        "NETWORK": "YES",
        // A VM template may say YES; the guest agent would then report READY over the appliance's head.
        "REPORT_READY": "NO",
        "FL_ROLE": own.role,
        "FL_FEDERATION": federation.name,
    });
    if let Some(context) = context.as_object_mut() {
        context.extend(seat.site().map(|site| ("FL_SITE".to_owned(), site.name.as_str().into())));
        if own.role == Role::SuperNode {
            let gateway = seat.site().map_or(GatewayPlacement::Embedded, |site| site.gateway);
            context.insert("FL_GATEWAY".to_owned(), gateway.as_str().into());
        }
    }
    let mut contents = json!({ "CONTEXT": context });
    let mut role = json!({
        "name": own.role,
        "type": "vm",
        "cardinality": own.count.min,
        "min_vms": own.count.min,
        "max_vms": own.count.max,
        "shutdown_action": "shutdown",
        "user_inputs": declared(seat, &own.inputs),
    });
    if let (Some(_), Role::SuperNode, Some(role)) = (seat.local(), own.role, role.as_object_mut()) {
        // They have nobody to talk to before; OneFlow makes them once the SuperLink is ready.
        role.insert("parents".to_owned(), json!([Role::SuperLink]));
    }
    if let (Some(ids), Some(role), Some(contents)) = (ids, role.as_object_mut(), contents.as_object_mut()) {
        let template = match own.role {
            Role::SuperLink => ids.superlink_template,
            Role::Gateway => ids.gateway_template,
            Role::SuperNode => ids.supernode_template,
        };
        role.insert("template_id".to_owned(), template.into());
        // By id: OpenNebula looks a network's name up among the user's own networks only.
        contents.insert("NIC".to_owned(), json!([{ "NETWORK_ID": ids.network.to_string() }]));
    }
    if let Some(role) = role.as_object_mut() {
        role.insert("template_contents".to_owned(), contents);
    }
    role
}

/// The five-field strings. A default is the plan's own value, so that a form shows what the plan says.
fn declared(seat: &Seat<'_>, inputs: &[Input]) -> Value {
    let pairs = inputs.iter().filter_map(|input| {
        let default = match &input.value {
            inputs::Value::Known(text) => text.as_str(),
            inputs::Value::Hub | inputs::Value::Ca => "",
        };
        let text = input.row.user_input_as(seat.flag(input.row), default)?;
        Some((input.row.name.to_owned(), Value::String(text)))
    });
    Value::Object(pairs.collect())
}
