//! What OneFlow and XML-RPC refuse, word for word.

use super::*;

pub(super) async fn raw(bed: &Bed, method: &str, path: &str, body: &str) -> (u16, String) {
    let login = bed.login();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http.request(method.parse().unwrap(), format!("{}{path}", bed.zones[0].oneflow));
    let request =
        request.basic_auth(login.user, Some(login.password.expose().to_owned())).body(body.to_owned());
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "text/html;charset=utf-8");
    (status, response.text().await.unwrap())
}

#[tokio::test]
async fn oneflow_refuses_as_the_original() {
    let bed = up(&["madrid"]).await;
    let flow = bed.flow(0);
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let bare = http.get(format!("{}/service", bed.zones[0].oneflow)).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert_eq!(bare.text().await.unwrap(), "A username and password must be provided");
    let at = &bed.zones[0];
    let stranger = Credentials::parse("oneadmin:wrong").unwrap();
    let stranger = oneflow::Client::new(at.zone.clone(), at.oneflow.parse().unwrap(), stranger).unwrap();
    assert!(matches!(stranger.services().await, Err(Error::Unauthenticated { .. })));

    assert_eq!(raw(&bed, "GET", "/service", "").await, (200, r#"{"DOCUMENT_POOL":{}}"#.into()));
    let text = "KEY: 'deployment' must be one of none, straight;";
    refused(
        flow.create_service_template(&json!({"name": "t", "roles": [], "deployment": "x"})).await,
        400,
        text,
    );
    let body = json!({"name": "t", "description": "kept", "x": [1], "roles": [role("r", 0)], "user_inputs": {"A": "M|text|a"}});
    let template = flow.create_service_template(&body).await.unwrap();
    assert_eq!(template.body["x"], json!([1]));
    refused(flow.instantiate(&template.id, &json!({})).await, 400, "no values have been found");
    refused(
        flow.instantiate(&template.id, &json!({"user_inputs_values": {"B": "1"}})).await,
        400,
        "Verify that every User Input",
    );
    refused(
        flow.instantiate(&template.id, &json!({"user_inputs_values": {"A": "]]>"}})).await,
        500,
        "Internal server error",
    );

    // A new name is the body's only; everything else is replaced; the time is not.
    let mut changed = json!({"name": "new", "roles": []});
    let updated = flow.update_service_template(&template.id, &changed).await.unwrap();
    assert_eq!(
        (updated.name.as_str(), &updated.body["name"], updated.body.get("x")),
        ("t", &json!("new"), None)
    );
    assert_eq!(updated.body["registration_time"], template.body["registration_time"]);
    changed["registration_time"] = json!(1);
    refused(flow.update_service_template(&template.id, &changed).await, 500, "Immutable value");

    let action = format!("/service_template/{}/action", template.id.id);
    assert_eq!(raw(&bed, "POST", &action, r#"{"action":{"perform":"dance"}}"#).await, (200, String::new()));
    assert_eq!(raw(&bed, "POST", &action, "").await.0, 500);
    let missing = (404, "[one.document.info] Error getting document [99].".to_owned());
    assert_eq!(raw(&bed, "GET", "/service_template/99", "").await, missing);
    // One counter, two kinds.
    let id = flow.instantiate(&template.id, &json!({})).await.unwrap();
    assert_eq!((template.id.id, id.id), (0, 1));
    assert_eq!(raw(&bed, "GET", "/service/0", "").await.0, 404);

    bed.reach(&id, ServiceState::Running).await;
    let (status, text) = raw(&bed, "POST", "/service/1/scale", r#"{"role_name":"r","cardinality":3}"#).await;
    assert_eq!((status, text.as_str()), (500, "Role r not found"));
    let (status, text) = raw(&bed, "POST", "/service/1/action", r#"{"action":{"perform":"foo"}}"#).await;
    assert_eq!((status, text.as_str()), (500, "Action foo not supported"));
    assert!(matches!(flow.recover(&id).await, Err(Error::Conflict { .. })));
    flow.delete_service_template(&template.id).await.unwrap();
    assert!(flow.service_template(&template.id).await.is_err_and(|e| e.is_not_found()));
    bed.down().await;
}

#[tokio::test]
async fn deploying_cannot_be_deleted_but_recovered_away() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &gated(vec![role("r", 1)]), &json!({})).await;
    bed.reach(&id, ServiceState::Deploying).await;
    let error = bed.flow(0).delete_service(&id).await.unwrap_err();
    assert!(error.to_string().contains("Service cannot be undeployed in state: DEPLOYING"), "{error}");
    bed.flow(0).recover(&id).await.unwrap();
    bed.flow(0).recover_delete(&id).await.unwrap();
    bed.gone(&id).await;
    bed.down().await;
}

#[tokio::test]
async fn xmlrpc_refuses_as_the_original() {
    let bed = up(&["madrid"]).await;
    let rpc = bed.rpc(0);
    let nobody = VmId::new(zone("madrid"), 99);
    let error = rpc.vm(&nobody).await.unwrap_err();
    assert!(error.to_string().contains("[one.vm.info] Error getting virtual machine [99]."), "{error}");
    let at = &bed.zones[0];
    let stranger = Credentials::parse("oneadmin:wrong").unwrap();
    let stranger = xmlrpc::Client::new(at.zone.clone(), at.xmlrpc.parse().unwrap(), stranger).unwrap();
    assert!(matches!(stranger.system_version().await, Err(Error::Unauthenticated { .. })));

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = async |url: &str, body: String| http.post(url).body(body).send().await.unwrap();
    assert_eq!(ask(&at.xmlrpc.replace("RPC2", "other"), String::new()).await.status(), 404);
    let session = format!("oneadmin:{}", bed.login().password.expose());
    let call = |method: &str, second: &str| {
        format!(
            "<methodCall><methodName>{method}</methodName><params><param><value><string>{session}</string></value></param>\
             {second}</params></methodCall>"
        )
    };
    let unknown = ask(&at.xmlrpc, call("one.nothing", "")).await;
    assert_eq!(
        (unknown.status().as_u16(), unknown.headers()["connection"].to_str().unwrap()),
        (200, "close")
    );
    assert!(unknown.text().await.unwrap().contains("<fault>"));
    let wrong = call("one.vm.info", "<param><value><string>x</string></value></param>");
    assert!(ask(&at.xmlrpc, wrong).await.text().await.unwrap().contains("<i4>-501</i4>"));
    assert!(ask(&at.xmlrpc, "<html>".into()).await.text().await.unwrap().contains("<fault>"));
    let absent = call(
        "one.vm.info",
        "<param><value><i4>7</i4></value></param><param><value><boolean>0</boolean></value></param>",
    );
    let absent = ask(&at.xmlrpc, absent).await.text().await.unwrap();
    assert!(absent.contains("<i4>1024</i4>") && absent.contains("<i8>-1</i8>"), "{absent}");
    bed.down().await;
}

#[tokio::test]
async fn a_taken_address_and_a_taken_directory_have_names() {
    let bed = up(&["madrid"]).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let same_net = config(elsewhere.path(), bed.net, &["x"]);
    let error = run(same_net, oneshot::channel().0, std::future::pending()).await.unwrap_err();
    let text = error.to_string();
    assert!(
        matches!(error, SandboxError::Address { port: 2633, .. })
            && text.contains("zone x")
            && text.contains("--net"),
        "{text}"
    );
    let same_dir = config(bed.dir.path(), next_net(), &["x"]);
    let error = run(same_dir, oneshot::channel().0, std::future::pending()).await.unwrap_err();
    assert!(matches!(error, SandboxError::Locked(_)), "{error}");
    for (net, zones) in [(0, vec!["x"]), (9, vec![]), (9, vec!["x", "x"]), (9, vec!["../x"])] {
        let bad = config(elsewhere.path(), net, &zones);
        let error = run(bad, oneshot::channel().0, std::future::pending()).await.unwrap_err();
        assert!(matches!(error, SandboxError::Config(_)), "{error}");
    }
    bed.down().await;
}
