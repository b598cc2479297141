//! Service templates.

use crate::heard::Want;
use crate::stage::{Made, Stage, Told, said, sure};
use onefed_opennebula::Error;
use onefed_opennebula::oneflow::DeleteAlso;
use onefed_opennebula::xmlrpc::Permissions;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) async fn life(stage: Arc<Stage>) -> Told {
    let body = json!({"description": "kept", "onefed": {"federation": "f", "list": [1, true]}, "roles": [
        {"name": "r", "type": "vm", "template_id": "0", "cardinality": "2", "unknown": {"a": "b"}}]});
    let id = stage.service_template(body).await?;
    let made = stage.flow.service_template(&id).await.map_err(said)?;
    let role = &made.body["roles"][0];
    sure(role["template_id"] == 0 && role["cardinality"] == 2, || format!("numbers as texts became {role}"))?;
    sure(role["unknown"]["a"] == "b" && made.body["onefed"]["list"] == json!([1, true]), || {
        format!("unknown keys became {}", made.body)
    })?;
    sure(made.body["registration_time"].is_u64(), || format!("no registration_time in {}", made.body))?;
    let pool = stage.flow.service_templates().await.map_err(said)?;
    sure(pool.contains(&made), || "the pool says another thing than the template".to_owned())?;
    // Names need not be unique.
    let twin =
        stage.flow.create_service_template(&json!({"name": made.name, "roles": []})).await.map_err(said)?;
    stage.note(Made::ServiceTemplate(twin.id.clone()));
    sure(twin.id.id > id.id, || format!("{} after {id}", twin.id))?;
    // Services and their templates are counted together, and are told apart.
    stage.expect("GET", &format!("/service/{}", id.id), &Value::Null, Want::Holds(404, "")).await?;

    let replaced = stage
        .flow
        .update_service_template(&id, &json!({"name": "other", "roles": []}))
        .await
        .map_err(said)?;
    sure(replaced.name == made.name && replaced.body["name"] == "other", || format!("{replaced:?}"))?;
    sure(replaced.body.get("onefed").is_none(), || format!("replaced, and yet {}", replaced.body))?;
    sure(replaced.body["registration_time"] == made.body["registration_time"], || {
        format!("{}", replaced.body)
    })?;
    let path = format!("/service_template/{}", id.id);
    let early = json!({"name": "x", "roles": [], "registration_time": 1});
    stage.expect("PUT", &path, &early, Want::Holds(500, "Immutable value")).await?;
    let bad = json!({"name": "x", "roles": [], "deployment": "x"});
    stage
        .expect("PUT", &path, &bad, Want::Holds(400, "KEY: 'deployment' must be one of none, straight;"))
        .await?;

    stage.flow.merge_service_template(&id, &json!({"onefed": {"digest": "1"}})).await.map_err(said)?;
    let merged = stage.flow.service_template(&id).await.map_err(said)?.body;
    sure(merged["onefed"]["digest"] == "1" && merged["name"] == "other", || format!("merged {merged}"))?;
    let bad = stage.flow.merge_service_template(&id, &json!({"deployment": "x"})).await;
    sure(matches!(bad, Err(Error::Schema { .. })), || format!("a merge against the schema: {bad:?}"))?;
    stage.flow.delete_service_template(&id).await.map_err(said)?;
    let again = stage.flow.delete_service_template(&id).await;
    sure(again.as_ref().is_err_and(Error::is_not_found), || format!("{again:?}"))
}

pub(super) async fn actions(stage: Arc<Stage>) -> Told {
    let id = stage.service_template(json!({"roles": []})).await?;
    let name = stage.name("renamed");
    stage.flow.rename_service_template(&id, &name).await.map_err(said)?;
    stage.flow.chmod_service_template(&id, Permissions::from_octal(0o640)).await.map_err(said)?;
    let copy = stage.flow.clone_service_template(&id, &stage.name("copy")).await.map_err(said)?;
    stage.note(Made::ServiceTemplate(copy.id.clone()));
    let first = stage.flow.service_template(&id).await.map_err(said)?;
    sure(copy.body["roles"] == first.body["roles"], || format!("{} of {}", copy.body, first.body))?;

    let path = format!("/service_template/{}/action", id.id);
    let unknown = json!({"action": {"perform": "dance"}});
    stage.expect("POST", &path, &unknown, Want::Exactly(200, "")).await?;
    stage.expect("POST", &path, &Value::Null, Want::Holds(500, "Internal server error")).await?;
    let other = json!({"action": {"perform": "chmod", "params": {"octet": "600"}}});
    stage.expect("POST", &path, &other, Want::Exactly(204, "")).await
}

pub(super) async fn accepted(stage: Arc<Stage>) -> Told {
    for (what, mut body) in [
        ("no roles", json!({"roles": []})),
        (
            "a VM template that there is not",
            json!({"roles": [{"name": "r", "type": "vm", "template_id": 99_999_999}]}),
        ),
        (
            "a fraction of a VM",
            json!({"roles": [{"name": "r", "type": "vm", "template_id": 0, "cardinality": 1.5}]}),
        ),
        ("a name of two lines", json!({"roles": [{"name": "a\nb c", "type": "vm", "template_id": 0}]})),
        (
            "parents that there are not",
            json!({"roles": [{"name": "r", "type": "vm", "template_id": 0, "parents": ["x"]}]}),
        ),
        (
            "policies with limits",
            json!({"roles": [{"name": "r", "type": "vm", "template_id": 0, "cardinality": 1, "min_vms": 1, "max_vms": 2,
                "elasticity_policies": [{"type": "CHANGE", "adjust": 1, "expression": "A > 1"}]}]}),
        ),
        ("the names of before 7.0", json!({"roles": [{"name": "r", "vm_template": 0, "cardinality": 1}]})),
    ] {
        body["name"] = json!(stage.name("accepted"));
        let made = stage.flow.create_service_template(&body).await.map_err(|why| format!("{what}: {why}"))?;
        stage.note(Made::ServiceTemplate(made.id.clone()));
        if what.starts_with("a fraction") {
            sure(made.body["roles"][0]["cardinality"] == 1, || format!("{what}: {}", made.body))?;
        }
        if what.starts_with("the names of") {
            sure(made.body["roles"][0]["template_id"] == 0, || format!("{what}: {}", made.body))?;
        }
    }
    Ok(())
}

pub(super) async fn deleted_with(stage: Arc<Stage>) -> Told {
    for (also, stays) in [(DeleteAlso::Nothing, true), (DeleteAlso::VmTemplates, false)] {
        let vm = stage.vm_template().await?;
        let role = json!({"name": "r", "type": "vm", "template_id": vm.id, "cardinality": 0});
        let id = stage.service_template(json!({"roles": [role]})).await?;
        stage.flow.delete_service_template_with(&id, also).await.map_err(said)?;
        let left = stage.rpc.template_info(&vm).await;
        match (&left, stays) {
            (Ok(_), true) => {}
            (Err(why), false) if why.is_not_found() => {}
            _ => return Err(format!("{also:?}: {left:?}")),
        }
    }
    Ok(())
}
