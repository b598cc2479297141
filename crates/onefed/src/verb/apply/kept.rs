//! What a service that is there says of itself: the state directory may have forgotten it, or never known it.

use onefed_opennebula::oneflow::Service;
use onefed_trust::EnrolKey;
use serde_json::Value;

use crate::zones::ZoneClients;

/// What OneFlow was told when the service was made.
pub(super) struct Told {
    /// Where its VMs reach the hub.
    pub(super) hub: Option<String>,
    /// The fingerprint of the CA that they trust.
    pub(super) ca: Option<String>,
    /// The key by which they vouch for their signing requests.
    pub(super) key: Option<EnrolKey>,
}

/// Reads it from OneFlow's own document.
pub(super) fn told(service: &Service) -> Told {
    let roles = || service.body.get("roles").and_then(Value::as_array).into_iter().flatten();
    let inputs = |of: &Value, name: &str| text(of.get("user_inputs_values")?.get(name)?);
    let context =
        |name: &str| roles().find_map(|role| text(role.get("template_contents")?.get("CONTEXT")?.get(name)?));
    let input =
        |name: &str| inputs(&service.body, name).or_else(|| roles().find_map(|role| inputs(role, name)));
    Told {
        hub: input("FL_SUPERLINK_ADDRESS"),
        ca: context("FL_CA_FINGERPRINT"),
        key: context("FL_ENROL_KEY").map(|key| EnrolKey::from_text(&key)),
    }
}

/// The key as a VM of the service has it, where OneFlow's document does not say it.
pub(super) async fn key_of_a_vm(
    zone: &ZoneClients,
    service: &Service,
) -> Result<Option<EnrolKey>, onefed_opennebula::Error> {
    for id in service.roles.iter().flat_map(|role| role.nodes.iter().flatten()) {
        if let Some(key) = zone.xmlrpc.vm(id).await?.context.get("FL_ENROL_KEY") {
            return Ok(Some(EnrolKey::from_text(key)));
        }
    }
    Ok(None)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}
