//! The number of VMs of a role.

use super::lifecycle::running;
use crate::heard::Want;
use crate::stage::{Stage, Told, nodes, said, sure};
use onefed_opennebula::ServiceState;
use serde_json::json;
use std::sync::Arc;

const LIMITS: fn() -> serde_json::Value = || json!({"min_vms": 1, "max_vms": 3});

pub(super) async fn up_and_down(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &LIMITS()).await?;
    let (id, first) = (service.id.clone(), nodes(&service, "r"));
    let path = format!("/service/{}/scale", id.id);
    let scale = |role: &str, n: u32| json!({"role_name": role, "cardinality": n, "force": false});
    let limit = format!("Can't scale service {}: Maximum cardinality is 3", id.id);
    let heard = stage.ask("POST", &path, &scale("r", 4)).await?;
    sure(heard.status == 500 && heard.body.contains(&limit), || heard.short())?;
    let heard = stage.ask("POST", &path, &scale("r", 0)).await?;
    sure(heard.status == 500 && heard.body.contains("Minimum cardinality is 1"), || heard.short())?;
    stage.expect("POST", &path, &scale("zz", 2), Want::Holds(500, "Role zz not found")).await?;
    stage.expect("POST", &path, &scale("r", 1), Want::Holds(500, "is already at 1")).await?;

    stage.flow.scale(&id, "r", 3).await.map_err(said)?;
    let scaling = stage.until(&id, "three VMs", |it| nodes(it, "r").len() == 3).await?;
    sure(scaling.state == ServiceState::Scaling, || format!("{} while it scales", scaling.state))?;
    stage
        .expect("POST", &path, &scale("r", 2), Want::Holds(500, "Service cannot be scaled in state: SCALING"))
        .await?;
    let delete = stage.flow.delete_service(&id).await;
    sure(delete.as_ref().is_err_and(onefed_opennebula::Error::is_conflict), || format!("{delete:?}"))?;
    for vm in nodes(&scaling, "r").iter().filter(|vm| !first.contains(vm)) {
        stage.publish(vm, &[("READY", "YES")]).await?;
    }
    stage.reach(&id, ServiceState::Running).await?;

    // The oldest go first.
    stage.flow.scale(&id, "r", 1).await.map_err(said)?;
    let one = stage
        .until(&id, "one VM", |it| it.state == ServiceState::Running && nodes(it, "r").len() == 1)
        .await?;
    let youngest = nodes(&scaling, "r").into_iter().max();
    sure(nodes(&one, "r").first() == youngest.as_ref(), || {
        format!("{:?} of {:?}", nodes(&one, "r"), nodes(&scaling, "r"))
    })
}

pub(super) async fn without_force(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &LIMITS()).await?;
    let path = format!("/service/{}/scale", service.id.id);
    let body = json!({"role_name": "r", "cardinality": 3});
    stage.expect("POST", &path, &body, Want::Holds(500, "unexpected token at ")).await?;
    let seen = stage.flow.service(&service.id).await.map_err(said)?;
    sure(nodes(&seen, "r").len() == 1, || "it scaled all the same".to_owned())
}

pub(super) async fn cooldown(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &json!({"min_vms": 1, "max_vms": 3, "cooldown": 300})).await?;
    stage.flow.scale(&service.id, "r", 2).await.map_err(said)?;
    let two = stage.until(&service.id, "two VMs", |it| nodes(it, "r").len() == 2).await?;
    for vm in nodes(&two, "r") {
        stage.publish(&vm, &[("READY", "YES")]).await?;
    }
    stage.reach(&service.id, ServiceState::Cooldown).await?;
    let scale = stage.flow.scale(&service.id, "r", 1).await;
    let delete = stage.flow.delete_service(&service.id).await;
    for refused in [scale, delete] {
        sure(refused.as_ref().is_err_and(onefed_opennebula::Error::is_conflict), || format!("{refused:?}"))?;
    }
    // Recovering ends it.
    stage.flow.recover(&service.id).await.map_err(said)?;
    stage.reach(&service.id, ServiceState::Running).await.map(drop)
}
