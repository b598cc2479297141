//! The states of a service. No VM has to run: OneFlow looks at what a VM published, not at its state.

use crate::heard::Want;
use crate::stage::{Stage, Told, nodes, said, sure};
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::xmlrpc::{Permissions, VmAction};
use onefed_opennebula::{Error, RoleState, ServiceId, ServiceState, VmState};
use serde_json::{Value, json};
use std::sync::Arc;

/// A gated service with one role of one VM, whose VM there is.
pub(super) async fn waiting(stage: &Stage, more: &Value) -> Result<Service, String> {
    let vm = stage.vm_template().await?.id;
    let mut role = json!({"name": "r", "type": "vm", "template_id": vm, "cardinality": 1, "cooldown": 1});
    for (key, value) in more.as_object().into_iter().flatten() {
        role[key] = value.clone();
    }
    let body = json!({"deployment": "straight", "ready_status_gate": true, "roles": [role]});
    let id = stage.service_template(body).await?;
    let service = stage.service(&id, &json!({})).await?;
    stage.until(&service, "a VM", |service| !nodes(service, "r").is_empty()).await
}

/// The same, running.
pub(super) async fn running(stage: &Stage, more: &Value) -> Result<Service, String> {
    let service = waiting(stage, more).await?;
    for vm in nodes(&service, "r") {
        stage.publish(&vm, &[("READY", "YES")]).await?;
    }
    stage.reach(&service.id, ServiceState::Running).await
}

async fn conflict(result: Result<(), Error>, part: &str) -> Told {
    match result {
        Err(Error::Conflict { message, .. }) if message.contains(part) => Ok(()),
        other => Err(format!("wanted {part}, heard {other:?}")),
    }
}

async fn deleted(stage: &Stage, id: &ServiceId) -> Told {
    stage.flow.delete_service(id).await.map_err(said)?;
    stage.gone(id).await
}

pub(super) async fn gated(stage: Arc<Stage>) -> Told {
    let service = waiting(&stage, &json!({})).await?;
    let (id, vm) = (service.id.clone(), nodes(&service, "r")[0].clone());
    sure(service.state == ServiceState::Deploying, || format!("{} before READY", service.state))?;
    conflict(stage.flow.delete_service(&id).await, "Service cannot be undeployed in state: DEPLOYING")
        .await?;
    conflict(stage.flow.scale(&id, "r", 2).await, "Service cannot be scaled in state: DEPLOYING").await?;
    // Only the whole word, in capitals.
    stage.publish(&vm, &[("READY", "yes")]).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let still = stage.flow.service(&id).await.map_err(said)?.state;
    sure(still == ServiceState::Deploying, || format!("{still} after READY=yes"))?;
    stage.publish(&vm, &[("READY", "YES")]).await?;
    let service = stage.reach(&id, ServiceState::Running).await?;
    sure(service.roles[0].state == RoleState::Running, || format!("the role is {}", service.roles[0].state))?;
    // It is not looked at again.
    stage.publish(&vm, &[("READY", "NO")]).await?;
    conflict(stage.flow.recover(&id).await, "Service cannot be recovered in state: RUNNING").await?;
    let path = format!("/service/{}/action", id.id);
    let unknown = json!({"action": {"perform": "dance"}});
    stage.expect("POST", &path, &unknown, Want::Holds(500, "Action dance not supported")).await?;
    deleted(&stage, &id).await?;
    let again = stage.flow.delete_service(&id).await;
    sure(again.as_ref().is_err_and(Error::is_not_found), || format!("{again:?}"))?;
    let end = stage.rpc.vm(&vm).await.map_err(said)?.state;
    sure(end == VmState::Done, || format!("the VM is {end}"))?;

    // While it deploys, the way out is another one.
    let service = waiting(&stage, &json!({})).await?;
    stage.flow.recover_delete(&service.id).await.map_err(said)?;
    stage.gone(&service.id).await
}

pub(super) async fn substring(stage: Arc<Stage>) -> Told {
    for attributes in [("FOO_NOT_READY", "YES"), ("READY", "YESNO")] {
        let service = waiting(&stage, &json!({})).await?;
        stage.publish(&nodes(&service, "r")[0], &[attributes]).await?;
        let counted = stage.reach(&service.id, ServiceState::Running).await;
        counted.map_err(|why| format!("{attributes:?} did not count: {why}"))?;
    }
    Ok(())
}

pub(super) async fn no_guest(stage: Arc<Stage>) -> Told {
    // READY in the template is enough, whatever the VM does.
    let service = waiting(&stage, &json!({"template_contents": {"READY": "YES"}})).await?;
    stage.reach(&service.id, ServiceState::Running).await?;
    deleted(&stage, &service.id).await
}

pub(super) async fn no_template(stage: Arc<Stage>) -> Told {
    let role = json!({"name": "r", "type": "vm", "template_id": crate::stage::MISSING, "cardinality": 1});
    let id = stage.service_template(json!({"roles": [role]})).await?;
    // It is made, and only then fails.
    let service = stage.service(&id, &json!({})).await?;
    let failed = stage.reach(&service, ServiceState::FailedDeploying).await?;
    sure(failed.state.is_failed(), || format!("{}", failed.state))?;
    let reason = failed.log.iter().any(|line| line.severity == "E");
    sure(reason, || format!("no reason in {:?}", failed.log))?;
    conflict(
        stage.flow.delete_service(&service).await,
        "Service cannot be undeployed in state: FAILED_DEPLOYING",
    )
    .await?;
    stage.flow.recover_delete(&service).await.map_err(said)?;
    stage.gone(&service).await
}

pub(super) async fn parents(stage: Arc<Stage>) -> Told {
    let vm = stage.vm_template().await?.id;
    let role = |name: &str, parents: Value| json!({"name": name, "type": "vm", "template_id": vm, "cardinality": 1, "parents": parents});
    let roles = json!([role("child", json!(["first"])), role("first", json!([]))]);
    let body = json!({"deployment": "straight", "ready_status_gate": true, "roles": roles});
    let id = stage.service_template(body).await?;
    let service = stage.service(&id, &json!({})).await?;
    let first = stage.until(&service, "the parent's VM", |it| !nodes(it, "first").is_empty()).await?;
    sure(nodes(&first, "child").is_empty(), || "the child is there before its parent is ready".to_owned())?;
    stage.publish(&nodes(&first, "first")[0], &[("READY", "YES")]).await?;
    let both = stage.until(&service, "the child's VM", |it| !nodes(it, "child").is_empty()).await?;
    stage.publish(&nodes(&both, "child")[0], &[("READY", "YES")]).await?;
    stage.reach(&service, ServiceState::Running).await?;
    deleted(&stage, &service).await
}

pub(super) async fn no_parent(stage: Arc<Stage>) -> Told {
    let vm = stage.vm_template().await?.id;
    let role = json!({"name": "r", "type": "vm", "template_id": vm, "cardinality": 1, "parents": ["nobody"]});
    let id = stage.service_template(json!({"deployment": "straight", "roles": [role]})).await?;
    let service = stage.service(&id, &json!({})).await?;
    stage.reach(&service, ServiceState::DeployingNets).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let stuck = stage.flow.service(&service).await.map_err(said)?.state;
    sure(stuck == ServiceState::DeployingNets, || format!("{stuck}, where OneFlow waits for ever"))?;
    stage.flow.recover_delete(&service).await.map_err(said)?;
    stage.gone(&service).await
}

pub(super) async fn changed(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &json!({})).await?;
    let id = &service.id;
    let name = stage.name("renamed");
    stage.flow.rename_service(id, &name).await.map_err(said)?;
    stage.flow.chmod_service(id, Permissions::from_octal(0o640)).await.map_err(said)?;
    stage
        .flow
        .merge_service(id, &json!({"onefed": {"digest": "1"}, "description": "new"}))
        .await
        .map_err(said)?;
    let seen = stage.flow.service(id).await.map_err(said)?;
    sure((&seen.name, seen.permissions) == (&name, Permissions::from_octal(0o640)), || format!("{seen:?}"))?;
    sure(seen.body["onefed"]["digest"] == "1" && seen.body["description"] == "new", || {
        format!("{}", seen.body)
    })?;
    sure(nodes(&seen, "r") == nodes(&service, "r"), || "a merge lost the VMs".to_owned())?;
    let path = format!("/service/{}", id.id);
    for fixed in [
        json!({"deployment": "none"}),
        json!({"user_inputs": {"A": "M|text|a"}}),
        json!({"ready_status_gate": false}),
    ] {
        let body = json!({"append": true, "template": fixed.to_string()});
        stage.expect("PUT", &path, &body, Want::Holds(500, "")).await?;
    }
    let unchanged = stage.flow.service(id).await.map_err(said)?;
    sure(unchanged.body["deployment"] == "straight", || format!("{}", unchanged.body))
}

pub(super) async fn warning(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &json!({})).await?;
    let vm = nodes(&service, "r")[0].clone();
    let on = async || Ok((stage.rpc.vm(&vm).await.map_err(said)?.lcm_state.number() == 3).then_some(()));
    stage.wait("a VM that runs", on).await?;
    stage.rpc.vm_action(&vm, VmAction::PoweroffHard).await.map_err(said)?;
    stage.reach(&service.id, ServiceState::Warning).await?;
    stage.rpc.vm_action(&vm, VmAction::Resume).await.map_err(said)?;
    stage.reach(&service.id, ServiceState::Running).await?;
    deleted(&stage, &service.id).await
}
