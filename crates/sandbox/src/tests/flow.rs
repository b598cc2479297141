//! OneFlow beyond deploying and scaling: changes of documents, hold, roles that join and leave, what is done by hand.

use super::refusals::raw;
use super::*;
use onefed_opennebula::{RoleState, VmState, xmlrpc::VmAction};

async fn act(bed: &Bed, path: &str, perform: &str, params: Value) -> (u16, String) {
    let body = json!({"action": {"perform": perform, "params": params}});
    raw(bed, "POST", path, &body.to_string()).await
}

async fn document(bed: &Bed, path: &str) -> Value {
    serde_json::from_str::<Value>(&raw(bed, "GET", path, "").await.1).unwrap()["DOCUMENT"].take()
}

const DONE: (u16, String) = (204, String::new());

#[tokio::test]
async fn documents_change_owners_names_and_copies() {
    let world = "[[user]]\nname = \"alice\"\npassword = \"a\"\n[all]\ntemplate = [{ name = \"onefed\", permissions = \"604\" }]\n\
                 network = [{ name = \"private\", permissions = \"604\" }]\nimage = [{ name = \"onefed\", permissions = \"604\" }]";
    let bed = up_in(&["madrid"], world).await;
    let flow = bed.flow(0);
    let template =
        flow.create_service_template(&json!({"name": "t", "roles": [role("r", 1)]})).await.unwrap();
    let path = "/service_template/0/action";
    assert_eq!(act(&bed, path, "rename", json!({"name": "other"})).await, DONE);
    assert_eq!(act(&bed, path, "chmod", json!({"octet": "604"})).await, DONE);
    let update = json!({"append": true, "template_json": "{\"description\": \"d\"}"});
    assert_eq!(act(&bed, path, "update", update).await, DONE);
    let shown = document(&bed, "/service_template/0").await;
    assert_eq!((&shown["NAME"], &shown["TEMPLATE"]["BODY"]["name"]), (&json!("other"), &json!("t")));
    assert_eq!(
        (&shown["TEMPLATE"]["BODY"]["description"], &shown["PERMISSIONS"]["OTHER_U"]),
        (&json!("d"), &json!("1"))
    );
    let (status, text) = act(&bed, path, "clone", json!({"name": "copy", "recursive": "templates"})).await;
    let copy: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &copy["DOCUMENT"]["TEMPLATE"]["BODY"]["roles"][0]["template_id"]), (201, &json!(1)));
    assert_eq!(bed.rpc(0).templates().await.unwrap()[1].name, "onefed-copy");
    let delete = raw(&bed, "DELETE", "/service_template/1", r#"{"delete_type":"templates"}"#).await;
    assert_eq!((delete, bed.rpc(0).templates().await.unwrap().len()), (DONE, 1));
    let long = json!({"name": "x".repeat(129), "roles": []}).to_string();
    assert_eq!(raw(&bed, "POST", "/service_template", &long).await.0, 500);
    assert_eq!(raw(&bed, "POST", "/service_template", "{").await.0, 400);
    assert_eq!(raw(&bed, "POST", "/service_pool/purge_done", "").await, DONE);

    // alice may use the template, and what she makes of it is hers.
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let alice = async |method: &str, path: &str, body: &str| {
        let request = http.request(method.parse().unwrap(), format!("{}{path}", bed.zones[0].oneflow));
        let answer = request.basic_auth("alice", Some("a")).body(body.to_owned()).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(alice("GET", "/service_template/0", "").await.0, 200);
    let refused = "[one.document.delete] User [2] : Not authorized to perform MANAGE DOCUMENT [0].";
    assert_eq!(alice("DELETE", "/service_template/0", "").await, (401, refused.to_owned()));
    let mine = flow.instantiate(&template.id, &json!({})).await.unwrap();
    let refused =
        format!("[one.document.info] User [2] : Not authorized to perform USE DOCUMENT [{}].", mine.id);
    assert_eq!(alice("GET", &format!("/service/{}", mine.id), "").await, (401, refused));
    let (status, text) = alice("POST", path, r#"{"action":{"perform":"instantiate"}}"#).await;
    let service: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &service["DOCUMENT"]["UNAME"]), (201, &json!("alice")));
    let id = ServiceId::new(zone("madrid"), service["DOCUMENT"]["ID"].as_str().unwrap().parse().unwrap());
    let service = bed.reach(&id, ServiceState::Running).await;
    let vm = document(&bed, &format!("/service/{}", id.id)).await;
    assert_eq!(vm["TEMPLATE"]["BODY"]["roles"][0]["nodes"][0]["vm_info"]["VM"]["UNAME"], json!("alice"));
    let own = format!("/service/{}/action", id.id);
    assert_eq!(act(&bed, &own, "rename", json!({"name": "hers"})).await, DONE);
    assert_eq!(act(&bed, &own, "chown", json!({"owner_id": "0", "group_id": "0"})).await, DONE);
    assert_eq!(bed.flow(0).service(&id).await.unwrap().name, "hers");
    assert_eq!(alice("GET", "/service", "").await.1, r#"{"DOCUMENT_POOL":{}}"#);
    let why = act(&bed, &own, "chmod", json!({})).await;
    assert_eq!(why, (500, "Action chmod: You have to specify an OCTET".to_owned()));

    // Actions on VMs: nothing without options, as in Ruby; the second VM a period later.
    assert_eq!(raw(&bed, "POST", &own, r#"{"action":{"perform":"poweroff"}}"#).await.0, 500);
    assert_eq!(
        act(&bed, &format!("/service/{}/role/zz/action", id.id), "poweroff", json!({})).await,
        (500, "Role 'zz' not found".to_owned())
    );
    assert_eq!(
        act(&bed, &format!("/service/{}/role/r/action", id.id), "poweroff-hard", json!({})).await,
        DONE
    );
    let vm = nodes(&service, "r").remove(0);
    until("POWEROFF", async || (bed.rpc(0).vm(&vm).await.unwrap().state == VmState::Poweroff).then_some(()))
        .await;
    bed.reach(&id, ServiceState::Warning).await;
    bed.down().await;
}

#[tokio::test]
async fn services_are_updated_within_limits() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    bed.reach(&id, ServiceState::Running).await;
    let path = format!("/service/{}", id.id);
    let append = |template: Value| json!({"append": true, "template": template.to_string()}).to_string();
    assert_eq!(raw(&bed, "PUT", &path, &append(json!({"onefed": {"plan": "p2"}}))).await, DONE);
    let immutable = raw(&bed, "PUT", &path, &append(json!({"name": "x"}))).await;
    assert_eq!(immutable, (500, "Immutable value: `service/name` can not be changed".to_owned()));
    assert_eq!(
        raw(&bed, "PUT", &path, r#"{"append":true}"#).await,
        (400, "Missing template to append".to_owned())
    );
    // A whole template: what was shown, with changes.
    let mut body = document(&bed, &path).await["TEMPLATE"]["BODY"].take();
    assert_eq!(body["onefed"]["plan"], json!("p2"));
    body["automatic_deletion"] = json!(true);
    body["roles"][0]["max_vms"] = json!(2);
    assert_eq!(raw(&bed, "PUT", &path, &body.to_string()).await, DONE);
    let mut other = body.clone();
    other["roles"][0]["cardinality"] = json!(2);
    let immutable = raw(&bed, "PUT", &path, &other.to_string()).await;
    assert_eq!(immutable, (500, "Immutable value: `role/cardinality` can not be changed".to_owned()));
    other["roles"] = json!([]);
    let immutable = raw(&bed, "PUT", &path, &other.to_string()).await;
    assert_eq!(immutable, (500, "Immutable value: `service/roles size` can not be changed".to_owned()));
    refused(bed.flow(0).scale(&id, "r", 3).await, 500, "Maximum cardinality is 2");

    // Ended by hand: first one of two, then the last, and with it the service.
    bed.flow(0).scale(&id, "r", 2).await.unwrap();
    let service = bed.reach(&id, ServiceState::Running).await;
    let two = nodes(&service, "r");
    bed.rpc(0).vm_action(&two[0], VmAction::TerminateHard).await.unwrap();
    until("one", async || {
        let service = bed.flow(0).service(&id).await.unwrap();
        (service.roles[0].cardinality == 1 && nodes(&service, "r") == two[1..]).then_some(())
    })
    .await;
    bed.rpc(0).vm_action(&two[1], VmAction::TerminateHard).await.unwrap();
    bed.gone(&id).await;
    bed.down().await;
}

#[tokio::test]
async fn a_scale_without_force_blinds_the_watchdog() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    let vm = nodes(&bed.reach(&id, ServiceState::Running).await, "r").remove(0);
    let scale = format!("/service/{}/scale", id.id);
    let (status, text) = raw(&bed, "POST", &scale, r#"{"role_name":"r","cardinality":3}"#).await;
    assert!(
        status == 500 && text.contains("unexpected token at") && text.contains("Internal server error"),
        "{text}"
    );
    bed.rpc(0).vm_action(&vm, VmAction::PoweroffHard).await.unwrap();
    until("POWEROFF", async || (bed.rpc(0).vm(&vm).await.unwrap().state == VmState::Poweroff).then_some(()))
        .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bed.flow(0).service(&id).await.unwrap().state, ServiceState::Running);
    refused(bed.flow(0).scale(&id, "r", 1).await, 500, "already at 1");
    bed.down().await;
}

#[tokio::test]
async fn a_service_on_hold_waits_for_its_release() {
    let bed = up(&["madrid"]).await;
    let mut child = role("b", 1);
    child["parents"] = json!(["a"]);
    let template =
        json!({"name": "t", "deployment": "straight", "on_hold": true, "roles": [role("a", 1), child]});
    let id = bed.start(0, &template, &json!({})).await;
    let held = bed.reach(&id, ServiceState::Hold).await;
    assert!(held.roles.iter().all(|r| r.state == RoleState::from(11)));
    let vm = nodes(&held, "b").remove(0);
    assert_eq!(bed.rpc(0).vm(&vm).await.unwrap().state, VmState::Hold);
    let path = format!("/service/{}/action", id.id);
    assert!(bed.flow(0).recover(&id).await.is_err());
    assert_eq!(act(&bed, &path, "release", json!({})).await, DONE);
    bed.reach(&id, ServiceState::Running).await;
    let why = act(&bed, &path, "release", json!({})).await;
    assert_eq!(why, (500, "Service has no roles in HOLD".to_owned()));
    bed.flow(0).delete_service(&id).await.unwrap();
    bed.gone(&id).await;

    // One role on hold keeps the service DEPLOYING, and those that wait for it on hold.
    let (mut first, mut second) = (role("a", 1), role("b", 1));
    first["on_hold"] = json!(true);
    second["parents"] = json!(["a"]);
    let roles = json!([first, second, role("c", 1)]);
    let id = bed.start(0, &json!({"name": "t", "deployment": "straight", "roles": roles}), &json!({})).await;
    let states = async || -> Vec<i32> {
        let service = bed.flow(0).service(&id).await.unwrap();
        service.roles.iter().map(|r| r.state.number()).collect()
    };
    until("two on hold, one running", async || (states().await == [11, 11, 2]).then_some(())).await;
    assert_eq!(bed.flow(0).service(&id).await.unwrap().state, ServiceState::Deploying);
    assert_eq!(act(&bed, &format!("/service/{}/action", id.id), "release", json!({})).await, DONE);
    bed.reach(&id, ServiceState::Running).await;
    bed.down().await;
}

#[tokio::test]
async fn roles_join_and_leave_a_running_service() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &json!({"name": "t", "roles": [role("a", 1)]}), &json!({})).await;
    bed.reach(&id, ServiceState::Running).await;
    let path = format!("/service/{}/role_action", id.id);
    assert_eq!(act(&bed, &path, "add_role", json!({"role": {"name": "b"}})).await.0, 400);
    let exists = act(&bed, &path, "add_role", json!({"role": role("a", 1)})).await;
    assert_eq!(exists, (500, "Role a already exists".to_owned()));
    assert_eq!(act(&bed, &path, "add_role", json!({"role": role("b", 2)})).await, DONE);
    let service = bed.reach(&id, ServiceState::Running).await;
    assert_eq!((service.roles.len(), nodes(&service, "b").len()), (2, 2));
    assert_eq!(
        act(&bed, &path, "remove_role", json!({"role": "zz"})).await,
        (500, "Role zz does not exist".to_owned())
    );
    assert_eq!(act(&bed, &path, "remove_role", json!({"role": "a"})).await, DONE);
    let service = until("a is gone", async || {
        let service = bed.flow(0).service(&id).await.unwrap();
        (service.state == ServiceState::Running && service.roles.len() == 1).then_some(service)
    })
    .await;
    assert_eq!(service.roles[0].name, "b");
    assert_eq!(act(&bed, &path, "dance", json!({})).await, (500, "Action dance not supported".to_owned()));
    bed.down().await;
}

#[tokio::test]
async fn a_scaling_that_fails_can_be_recovered() {
    let world = "[all]\nnetwork = [{ name = \"private\", size = 2 }]\ndelays = { ready_poll_seconds = 0.2 }";
    let bed = up_in(&["madrid"], world).await;
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    bed.reach(&id, ServiceState::Running).await;
    let other = bed.start(0, &json!({"name": "u", "roles": [role("r", 1)]}), &json!({})).await;
    bed.reach(&other, ServiceState::Running).await;
    bed.flow(0).scale(&id, "r", 2).await.unwrap();
    let service = bed.reach(&id, ServiceState::FailedScaling).await;
    assert!(service.log.iter().any(|l| l.message.contains("Cannot get IP/MAC lease")), "{:?}", service.log);
    bed.flow(0).delete_service(&other).await.unwrap();
    bed.gone(&other).await;
    bed.flow(0).recover(&id).await.unwrap();
    let service = bed.reach(&id, ServiceState::Running).await;
    assert_eq!(nodes(&service, "r").len(), 2);
    bed.down().await;
}

#[tokio::test]
async fn networks_of_a_template_need_values() {
    let bed = up(&["madrid"]).await;
    let with = |text: &str| json!({"name": "t", "networks": {"Priv": text}, "roles": [role("r", 0)]});
    let flow = bed.flow(0);
    let plain = flow.create_service_template(&with("M|network|it")).await.unwrap();
    refused(flow.instantiate(&plain.id, &json!({})).await, 400, "Wrong networks format");
    let wrong = json!({"networks_values": [{"Other": {"id": "0"}}]});
    refused(flow.instantiate(&plain.id, &wrong).await, 400, "Every network key must have its value");
    let default = flow.create_service_template(&with("M|network|it||id:0")).await.unwrap();
    let id = flow.instantiate(&default.id, &json!({})).await.unwrap();
    let body = flow.service(&id).await.unwrap().body;
    assert_eq!(body["networks_values"], json!([{"Priv": {"id": "0"}}]));
    bed.down().await;
}
