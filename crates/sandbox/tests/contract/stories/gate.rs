//! OneGate: who is let in, and what it shows.

use super::lifecycle::running;
use crate::heard::{Heard, Want};
use crate::stage::{Made, Stage, Told, nodes, said, sure};
use onefed_opennebula::{ServiceState, VmId};
use serde_json::{Value, json};
use std::sync::Arc;

/// A VM as it would speak itself.
pub(super) struct Guest {
    stage: Arc<Stage>,
    id: String,
    token: String,
}

impl Guest {
    pub(super) async fn of(stage: &Arc<Stage>, vm: &VmId) -> Result<Self, String> {
        let token = stage.token(vm).await?;
        Ok(Self { stage: stage.clone(), id: vm.id.to_string(), token })
    }

    pub(super) async fn ask(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> Result<Heard, String> {
        let headers =
            [("x-onegate-token", self.token.as_str()), ("x-onegate-vmid", &self.id), ("content-type", kind)];
        let heard = self.stage.target.at_gate(&headers, method, path, body).await?;
        sure(heard.kind == "application/json;charset=utf-8", || {
            format!("OneGate calls everything JSON: {}", heard.short())
        })?;
        Ok(heard)
    }

    pub(super) async fn expect(&self, method: &str, path: &str, body: &str, want: Want) -> Told {
        let heard = self.ask(method, path, "text/plain", body).await?;
        heard.check(&want).map_err(|why| format!("{method} {path} {body:?}: {why}"))
    }

    pub(super) async fn read(&self, path: &str) -> Result<Value, String> {
        let heard = self.ask("GET", path, "text/plain", "").await?;
        sure(heard.status == 200, || format!("GET {path}: {}", heard.short()))?;
        serde_json::from_str(&heard.body).map_err(|why| format!("GET {path}: {why}"))
    }
}

pub(super) async fn tokens(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &json!({"cardinality": 1})).await?;
    let vm = nodes(&service, "r")[0].clone();
    let guest = Guest::of(&stage, &vm).await?;
    let other = (vm.id + 1).to_string();
    let no = Want::Exactly(401, "Not authorized");
    for headers in [
        vec![],
        vec![("x-onegate-vmid", guest.id.as_str())],
        vec![("x-onegate-token", guest.token.as_str())],
        vec![("x-onegate-token", "AAAAAAAAAAAAAAAAAAAAAA=="), ("x-onegate-vmid", guest.id.as_str())],
        vec![("x-onegate-token", guest.token.as_str()), ("x-onegate-vmid", other.as_str())],
    ] {
        let heard = stage.target.at_gate(&headers, "GET", "/vm", "").await?;
        heard.check(&no).map_err(|why| format!("with {} headers: {why}", headers.len()))?;
    }
    guest.expect("GET", "/vm", "", Want::Holds(200, "\"VM\"")).await?;
    guest
        .expect("GET", "/nothing", "", Want::Exactly(400, "OneGate server doesn't support this feature"))
        .await?;
    guest
        .expect("DELETE", "/vm", "", Want::Exactly(400, "OneGate server doesn't support this feature"))
        .await?;
    // It outlives its VM.
    stage.flow.delete_service(&service.id).await.map_err(said)?;
    stage.gone(&service.id).await?;
    guest.expect("GET", "/vm", "", Want::Holds(200, "\"STATE\":\"6\"")).await
}

pub(super) async fn reads(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &json!({"cardinality": 2})).await;
    // Two VMs: the second one may come later than the first.
    let service = service?;
    let vms = nodes(&service, "r");
    let [one, two] = vms.as_slice() else { return Err(format!("{vms:?}")) };
    let stranger = running(&stage, &json!({})).await?;
    let guest = Guest::of(&stage, one).await?;

    let root = guest.read("/").await?;
    let ends = |key: &str, end: &str| root[key].as_str().is_some_and(|url| url.ends_with(end));
    sure(ends("vm_info", "/vm") && ends("service_info", "/service"), || format!("{root}"))?;
    let vm = &guest.read("/vm").await?["VM"];
    sure(
        vm["ID"] == json!(one.id.to_string()) && vm["STATE"].is_string() && vm["LCM_STATE"].is_string(),
        || format!("{vm}"),
    )?;
    sure(vm["USER_TEMPLATE"]["ROLE_NAME"] == "r" && vm["USER_TEMPLATE"]["READY"] == "YES", || {
        format!("{vm}")
    })?;
    sure(vm["TEMPLATE"]["NIC"].is_array() && vm["TEMPLATE"]["CONTEXT"].is_null(), || format!("{vm}"))?;
    let sibling = guest.read(&format!("/vms/{}", two.id)).await?;
    sure(sibling["VM"]["ID"] == json!(two.id.to_string()), || format!("{sibling}"))?;
    let other = nodes(&stranger, "r")[0].id;
    let heard = guest.ask("GET", &format!("/vms/{other}"), "text/plain", "").await?;
    let text = format!("Service {} does not contain VM {other}.", service.id.id);
    sure((heard.status, &heard.body) == (400, &text), || heard.short())?;

    let brief = &guest.read("/service").await?["SERVICE"];
    sure(brief["id"] == json!(service.id.id.to_string()) && brief["state"] == 2, || format!("{brief}"))?;
    let node = &brief["roles"][0]["nodes"][0];
    sure(node["deploy_id"].is_u64() && node["vm_info"]["VM"]["TEMPLATE"].is_null(), || format!("{node}"))?;
    let whole = &guest.read("/service?extended=true").await?["SERVICE"];
    let nodes = whole["roles"][0]["nodes"].as_array().ok_or_else(|| format!("{whole}"))?;
    for node in nodes {
        let context = &node["vm_info"]["VM"]["TEMPLATE"]["CONTEXT"];
        sure(context["TOKEN"] == "YES", || format!("no CONTEXT in {node}"))?;
    }
    // A sibling may write.
    guest.expect("PUT", &format!("/vms/{}", two.id), "FROM=sibling", Want::Exactly(200, "")).await?;
    let seen = stage.rpc.vm(two).await.map_err(said)?.user_template;
    sure(seen.get("FROM").is_some_and(|v| v == "sibling"), || format!("{seen:?}"))
}

pub(super) async fn alone(stage: Arc<Stage>) -> Told {
    let template = stage.vm_template().await?;
    let vm = stage.rpc.template_instantiate(&template, &stage.name("alone"), true, "").await.map_err(said)?;
    stage.note(Made::Vm(vm.clone()));
    let guest = Guest::of(&stage, &vm).await?;
    guest.expect("GET", "/vm", "", Want::Holds(200, "\"VM\"")).await?;
    guest.expect("GET", "/service", "", Want::Exactly(400, "Empty or invalid SERVICE_ID")).await
}

pub(super) async fn scales(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &json!({"max_vms": 3, "min_vms": 1})).await?;
    let guest = Guest::of(&stage, &nodes(&service, "r")[0]).await?;
    guest
        .expect(
            "PUT",
            "/service/role/zz",
            r#"{"cardinality": 2}"#,
            Want::Holds(400, "Error performing action on service"),
        )
        .await?;
    guest.expect("PUT", "/service/role/r", r#"{"cardinality": 2}"#, Want::Exactly(200, "")).await?;
    let two = stage.until(&service.id, "two VMs", |it| nodes(it, "r").len() == 2).await?;
    for vm in nodes(&two, "r") {
        stage.publish(&vm, &[("READY", "YES")]).await?;
    }
    stage.reach(&service.id, ServiceState::Running).await.map(drop)
}
