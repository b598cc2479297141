//! User inputs of a service.

use crate::heard::Want;
use crate::stage::{Stage, Told, nodes, said, sure};
use onefed_opennebula::Error;
use serde_json::{Value, json};
use std::sync::Arc;

const NONE: &str = "but no values have been found";
const SOME: &str = "Verify that every User Input have its corresponding value defined";

pub(super) async fn required(stage: Arc<Stage>) -> Told {
    let vm = stage.vm_template().await?.id;
    let role = json!({"name": "r", "type": "vm", "template_id": vm, "cardinality": 0});
    let inputs = json!({"A": "M|text|a", "B": "O|text|b| |default"});
    let id = stage.service_template(json!({"user_inputs": inputs, "roles": [role]})).await?;
    for (over, part) in [
        (json!({}), NONE),
        (json!({"user_inputs_values": {}}), ""),
        (json!({"user_inputs_values": {"A": "1"}}), SOME),
        (json!({"user_inputs_values": {"A": "1", "C": "1"}}), SOME),
    ] {
        match stage.flow.instantiate(&id, &over).await {
            Err(Error::Schema { message, .. }) if message.contains(part) => {}
            other => return Err(format!("with {over}: {other:?}")),
        }
    }
    // Values of the template itself do not help.
    let over = json!({"user_inputs_values": {"A": "1", "B": "2"}});
    let template = json!({"name": "x", "user_inputs": inputs, "user_inputs_values": {"A": "1", "B": "2"}, "roles": [role]});
    stage.flow.update_service_template(&id, &template).await.map_err(said)?;
    let bare = stage.flow.instantiate(&id, &json!({})).await;
    sure(matches!(bare, Err(Error::Schema { .. })), || format!("values in the template: {bare:?}"))?;
    // What is not declared passes, and so does the old name.
    let service = stage.service(&id, &over).await?;
    stage.flow.service(&service).await.map_err(said)?;
    let more = json!({"custom_attrs_values": {"A": "1", "B": "2", "C": "3"}, "roles": [{"name": "unknown"}]});
    stage.service(&id, &more).await?;

    let mut own = role.clone();
    own["user_inputs"] = json!({"R": "M|text|r"});
    let id = stage.service_template(json!({"roles": [own]})).await?;
    for over in
        [json!({}), json!({"roles": []}), json!({"roles": [{"name": "r", "user_inputs_values": {"X": "1"}}]})]
    {
        let refused = stage.flow.instantiate(&id, &over).await;
        sure(matches!(refused, Err(Error::Schema { .. })), || {
            format!("a role's input with {over}: {refused:?}")
        })?;
    }
    let path = format!("/service_template/{}/action", id.id);
    let odd = json!({"action": {"perform": "instantiate", "params": {"merge_template": {
        "roles": [{"name": "r", "user_inputs_values": {"R": "a]]>b"}}]}}}});
    stage.expect("POST", &path, &odd, Want::Holds(500, "")).await
}

pub(super) async fn delivered(stage: Arc<Stage>) -> Told {
    let vm = stage.vm_template().await?.id;
    let role = json!({"name": "r", "type": "vm", "template_id": vm, "cardinality": 1,
        "user_inputs": {"BOTH": "M|text|x", "OWN": "M|text|x"}, "template_contents": {"FIXED": "f", "CONTEXT": {"PLAIN": "p"}}});
    let id = stage
        .service_template(json!({"user_inputs": {"BOTH": "M|text|x", "ALL": "M|text64|x"}, "roles": [role]}))
        .await?;
    let pem = "-----BEGIN X-----\nAA+/==\n-----END X-----";
    let values = json!({"ALL": pem, "BOTH": "of the service"});
    let own = json!({"BOTH": "of the role", "OWN": "it's $HOME $(id) \"q\" [1,2] é"});
    let over = json!({"user_inputs_values": values, "roles": [{"name": "r", "user_inputs_values": own}]});
    let service = stage.service(&id, &over).await?;
    let service = stage.until(&service, "a VM", |service| !nodes(service, "r").is_empty()).await?;
    let vm = stage.rpc.vm(&nodes(&service, "r")[0]).await.map_err(said)?;
    for (name, value) in [
        ("ALL", Value::from(pem)),
        ("BOTH", own["BOTH"].clone()),
        ("OWN", own["OWN"].clone()),
        ("FIXED", json!("f")),
        ("SERVICE_ID", json!(service.id.id.to_string())),
        ("ROLE_NAME", json!("r")),
    ] {
        let kept = vm.user_template.get(name);
        sure(kept.map(String::as_str) == value.as_str(), || format!("{name}: {value} became {kept:?}"))?;
    }
    for (name, value) in [("ALL", pem), ("BOTH", "of the role"), ("PLAIN", "p"), ("TOKEN", "YES")] {
        let kept = vm.context.get(name);
        sure(kept.is_some_and(|kept| kept == value), || {
            format!("CONTEXT/{name}: {value:?} became {kept:?}")
        })?;
    }
    sure(vm.name == format!("r_0_(service_{})", service.id.id), || format!("the VM is called {}", vm.name))
}
