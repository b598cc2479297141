//! The three clients against a server that answers as captured.

mod flow;
mod pools;
mod tls;

use crate::{xmlrpc::Permissions, xmlrpc::VmAction, *};
use serde_json::json;
use std::{net::IpAddr, sync::Arc, sync::Mutex, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Url;

/// Answers each connection with the next of `answers` (status, body), the last one for ever; keeps what was asked.
async fn server(answers: Vec<(u16, String)>) -> (Url, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    tokio::spawn(async move {
        for n in 0.. {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            let mut request = Vec::new();
            let mut chunk = [0; 4096];
            while !whole(&request) {
                match stream.read(&mut chunk).await.unwrap() {
                    0 => break,
                    n => request.extend_from_slice(&chunk[..n]),
                }
            }
            seen.lock().unwrap().push(String::from_utf8(request).unwrap());
            let (status, body) = &answers[n.min(answers.len() - 1)];
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: text/html;charset=utf-8\r\nContent-Length: {}",
                body.len()
            );
            stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n{body}").as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

fn whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|l| l.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    body.len() >= length
}

fn paris() -> ZoneName {
    "paris".parse().unwrap()
}

fn login() -> Credentials {
    Credentials::parse("oneadmin:opensesame").unwrap()
}

fn rpc(values: &str) -> (u16, String) {
    let start = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n<params>\r\n<param><value><array><data>\r\n";
    (200, format!("{start}{values}\r\n</data></array></value></param>\r\n</params>\r\n</methodResponse>\r\n"))
}

fn success(text: &str) -> (u16, String) {
    let text = xml::escape(text);
    rpc(&format!(
        "<value><boolean>1</boolean></value>\r\n<value><string>{text}</string></value>\r\n<value><i4>0</i4></value>"
    ))
}

fn refusal(text: &str, code: i32) -> (u16, String) {
    rpc(&format!(
        "<value><boolean>0</boolean></value>\r\n<value><string>{text}</string></value>\r\n<value><i4>{code}</i4></value>\r\n\
         <value><i4>99</i4></value>\r\n<value><i8>-1</i8></value>"
    ))
}

async fn oned(answers: Vec<(u16, String)>) -> (xmlrpc::Client, Arc<Mutex<Vec<String>>>) {
    let (url, asked) = server(answers).await;
    (xmlrpc::Client::new(paris(), url, login()).unwrap(), asked)
}

#[tokio::test]
async fn xmlrpc_reads_the_captured_shapes() {
    let answers = [
        "7.4.0",
        include_str!("fixtures/vm.xml"),
        include_str!("fixtures/zones.xml"),
        include_str!("fixtures/templates.xml"),
        include_str!("fixtures/networks.xml"),
        "6.10.2",
    ];
    let (client, asked) = oned(answers.iter().map(|a| success(a)).collect()).await;
    assert_eq!(client.check_version().await.unwrap().minor, 4);

    let vm = client.vm(&VmId::new(paris(), 12)).await.unwrap();
    assert_eq!(
        (vm.id.to_string().as_str(), vm.state, vm.lcm_state),
        ("paris/12", VmState::Active, LcmState::Running)
    );
    assert_eq!((vm.service_id, vm.role_name.as_deref()), (Some(29), Some("supernode")));
    assert_eq!((vm.context["FL_NAME"].as_str(), vm.user_template["READY"].as_str()), ("it's <a>", "YES"));
    assert!(!vm.user_template.contains_key("SCHED"));
    assert_eq!(vm.nics[0].ip, Some("10.10.0.45".parse::<IpAddr>().unwrap()));
    assert_eq!(vm.nics[1].network_id, Some(VnetId::new(paris(), 3)));

    let zones = client.zone_pool().await.unwrap();
    assert_eq!((zones[0].enabled, zones[0].oneflow.as_deref()), (true, None));
    assert_eq!((zones[1].enabled, zones[1].oneflow.as_deref()), (false, Some("http://127.0.0.1:12474")));
    let templates = client.templates().await.unwrap();
    assert_eq!((templates[0].name.as_str(), templates[0].context["TOKEN"].as_str()), ("onefed", "YES"));
    assert_eq!(templates[0].user_inputs["FL_MODE"], "O|list|Mode|a,b|a");
    let networks = client.networks().await.unwrap();
    assert_eq!((networks[0].ranges[0].size, networks[0].ranges[1].first), (100, None));
    assert_eq!(networks[0].attributes["NETWORK_MASK"], "255.255.255.0");

    assert!(matches!(client.check_version().await, Err(Error::TooOld { .. })));
    let asked = asked.lock().unwrap();
    assert!(asked[0].starts_with("POST /RPC2 ") && asked[0].contains("<string>oneadmin:opensesame</string>"));
    assert!(asked[1].contains("<int>12</int>") && asked[1].contains("<boolean>0</boolean>"));
}

#[tokio::test]
async fn xmlrpc_writes_in_the_right_order() {
    let (client, asked) = oned(vec![success("12")]).await;
    let id = VmId::new(paris(), 12);
    client.vm_update(&id, &[("A", "x\"y")], true).await.unwrap();
    client.vm_action(&id, VmAction::TerminateHard).await.unwrap();
    client.vm_update_context(&id, &[("A", "x\"y"), ("B", "z")], true).await.unwrap();
    client.vm_updateconf(&id, "OS=[BOOT=\"disk0\"]", false).await.unwrap();
    let elsewhere = VmId::new("lisbon".parse().unwrap(), 12);
    assert!(matches!(client.vm_updateconf(&elsewhere, "", true).await, Err(Error::WrongZone { .. })));
    assert!(matches!(client.vm(&elsewhere).await, Err(Error::WrongZone { .. })));
    let asked = asked.lock().unwrap();
    assert!(
        asked[0].contains(
            "<int>12</int></value></param><param><value><string>A=&quot;x\\&quot;y&quot;\n</string>"
        )
    );
    assert!(asked[1].contains("<string>terminate-hard</string></value></param><param><value><int>12</int>"));
    assert!(asked[2].contains("<methodName>one.vm.updateconf</methodName>"));
    assert!(asked[2].contains(
        "<int>12</int></value></param><param><value><string>CONTEXT=[A=&quot;x\\&quot;y&quot;,\nB=&quot;z&quot;]\n</string>\
         </value></param><param><value><int>1</int>"
    ));
    assert!(
        asked[3].contains(
            "<string>OS=[BOOT=&quot;disk0&quot;]</string></value></param><param><value><int>0</int>"
        )
    );
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn vm_templates_are_made_changed_and_deleted() {
    let info = include_str!("fixtures/template.xml");
    let made = rpc("<value><boolean>1</boolean></value><value><i4>5</i4></value><value><i4>0</i4></value>");
    let taken = "[one.template.allocate] NAME is already taken by TEMPLATE 5.";
    let locked = "[one.template.delete] User [2] : Not authorized to perform ADMIN TEMPLATE [5]. Locked";
    let answers = vec![
        made.clone(),
        refusal(taken, 8192),
        success(info),
        made.clone(),
        made.clone(),
        made,
        refusal(locked, 32768),
        refusal("[one.template.allocate] Error in TEMPLATE: \"NAME\" is empty.", 8192),
        success("5"),
    ];
    let (client, asked) = oned(answers).await;
    let id = client.template_allocate("NAME=\"lock\"\n").await.unwrap();
    assert_eq!(id.to_string(), "paris/5");
    let error = client.template_allocate("NAME=\"lock\"\n").await.unwrap_err();
    assert!(matches!(error, Error::NameTaken { by: Some(5), .. }) && error.is_name_taken(), "{error:?}");

    let template = client.template_info(&id).await.unwrap();
    assert_eq!((template.owner.uid, template.owner.uname.as_str(), template.owner.gid), (2, "alice", 1));
    assert_eq!((template.registered, template.permissions), (1763760000, Permissions::from_octal(0o640)));
    let label = template.attributes.vector("ONEFED").unwrap();
    assert_eq!((label["FEDERATION"].as_str(), label["KIND"].as_str()), ("hospitals", "site"));
    let disks: Vec<_> = template.attributes.vectors("DISK").map(|d| d["IMAGE"].as_str()).collect();
    assert_eq!((disks, template.attributes.text("MEMORY")), (vec!["ubuntu", "data"], Some("1024")));
    assert_eq!(template.context["TOKEN"], "YES");

    client.template_update(&id, "A=\"1\"", true).await.unwrap();
    client.template_chmod(&id, Permissions::from_octal(0o640)).await.unwrap();
    client.template_delete(&id, true).await.unwrap();
    assert!(client.template_delete(&id, false).await.unwrap_err().is_locked());
    let empty = client.template_allocate("NAME=\"\"").await.unwrap_err();
    assert!(matches!(empty, Error::Refused { code: 8192, .. }), "{empty:?}");
    let odd = client.template_allocate("NAME=\"x\"").await.unwrap_err();
    assert!(matches!(odd, Error::Garbage { .. }), "a text where the number has to be: {odd:?}");
    let elsewhere = VmTemplateId::new("lisbon".parse().unwrap(), 5);
    assert!(matches!(client.template_info(&elsewhere).await, Err(Error::WrongZone { .. })));

    let asked = asked.lock().unwrap();
    let ints = |numbers: &[i32]| {
        let one = |n: &i32| format!("<param><value><int>{n}</int></value></param>");
        numbers.iter().map(one).collect::<String>() + "</params>"
    };
    assert!(asked[2].contains("one.template.info") && asked[2].contains("<boolean>0</boolean>"));
    assert!(asked[3].contains("<int>5</int></value></param><param><value><string>A=&quot;1&quot;</string>"));
    assert!(asked[4].contains(&ints(&[5, 1, 1, 0, 1, 0, 0, 0, 0, 0])), "{}", asked[4]);
    assert!(asked[5].contains("<int>5</int></value></param><param><value><boolean>1</boolean>"));
    assert_eq!(asked.len(), 9);
}

#[tokio::test]
async fn xmlrpc_errors_are_told_apart() {
    let fault = "<methodResponse><fault><value><struct><member><name>faultCode</name><value><i4>-506</i4></value></member>\
        </struct></value></fault></methodResponse>";
    let answers = vec![
        refusal("[one.vm.info] User couldn't be authenticated, aborting call.", 256),
        refusal("[one.vm.info] Not authorized", 512),
        refusal("[one.vm.info] Error getting virtual machine [99].", 1024),
        refusal("[one.vm.action] Action \"dance\" is not supported", 2048),
        (200, fault.into()),
        (200, "<html>hello</html>".into()),
        (404, "no".into()),
        (503, "busy".into()),
        refusal(
            "[one.vm.action] Error performing action \"resume\": This action is not available for state RUNNING",
            2048,
        ),
        refusal(
            "[one.vm.action] Error performing action \"terminate\": Could not terminate VM 99, wrong state BOOT.",
            2048,
        ),
        refusal("[one.vm.updateconf] configuration cannot be updated in state HOTPLUG", 8192),
        refusal("[one.vm.updateconf] Unable to update ETH0_IP, update NIC to update network context", 8192),
    ];
    let count = answers.len();
    let (client, asked) = oned(answers).await;
    let id = VmId::new(paris(), 99);
    let mut errors = Vec::new();
    for _ in 0..count {
        errors.push(client.vm(&id).await.unwrap_err());
    }
    assert!(matches!(errors[0], Error::Unauthenticated { .. }));
    assert!(matches!(errors[1], Error::Unauthorized { .. }));
    assert!(errors[2].is_not_found());
    assert!(matches!(errors[3], Error::Refused { code: 2048, .. }));
    assert!(matches!(errors[4], Error::Fault { code: -506, .. }));
    assert!(matches!(errors[5], Error::Garbage { .. }) && matches!(errors[6], Error::Garbage { .. }));
    assert!(errors[7].is_transient() && !errors[2].is_transient());
    assert!(errors[8..11].iter().all(|e| matches!(e, Error::Conflict { .. })), "{errors:?}");
    assert!(matches!(errors[11], Error::Refused { code: 8192, .. }));
    for error in &errors {
        let text = error.to_string();
        assert!(
            text.contains("zone paris") && text.contains("one.vm.info(99)") && !text.contains("opensesame"),
            "{text}"
        );
    }
    assert_eq!(asked.lock().unwrap().len(), count, "an answer is never asked for twice");
}

#[tokio::test]
async fn silence_and_absence_have_names() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/RPC2", silent.local_addr().unwrap()).parse().unwrap();
    let client = xmlrpc::Client::new(paris(), url, login()).unwrap();
    let client = client.with_deadline(Duration::from_millis(200)).unwrap();
    assert!(matches!(client.system_version().await, Err(Error::Timeout { .. })));

    let gone = silent.local_addr().unwrap();
    drop(silent);
    let client = xmlrpc::Client::new(paris(), format!("http://{gone}").parse().unwrap(), login()).unwrap();
    let error = client.system_version().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains("refused"), "{error}");
    for bad in ["ftp://x/", "http://user:pw@127.0.0.1/", "user:pw@127.0.0.1"] {
        let error = xmlrpc::Client::new(paris(), bad.parse().unwrap(), login()).unwrap_err();
        assert!(!error.to_string().contains("pw"), "{error}");
    }
    xmlrpc::Client::new(paris(), "https://127.0.0.1/RPC2".parse().unwrap(), login()).unwrap();
}

async fn oneflow(answers: Vec<(u16, String)>) -> (oneflow::Client, Arc<Mutex<Vec<String>>>) {
    let (url, asked) = server(answers).await;
    (oneflow::Client::new(paris(), url, login()).unwrap(), asked)
}

#[tokio::test]
async fn oneflow_reads_and_writes() {
    let service = include_str!("fixtures/service.json").to_owned();
    let template = json!({"DOCUMENT": {"ID": "28", "NAME": "t", "TYPE": "101", "TEMPLATE": {"BODY": {"name": "t", "roles": []}}}});
    let pool = json!({"DOCUMENT_POOL": {"DOCUMENT": [template["DOCUMENT"].clone()]}});
    let (client, asked) = oneflow(vec![
        (200, json!({"DOCUMENT_POOL": {}}).to_string()),
        (200, pool.to_string()),
        (201, template.to_string()),
        (201, service.clone()),
        (200, service),
        (204, String::new()),
    ])
    .await;
    assert_eq!(client.services().await.unwrap(), []);
    assert_eq!(client.service_templates().await.unwrap()[0].id.to_string(), "paris/28");
    let made = client.create_service_template(&json!({"name": "t", "roles": []})).await.unwrap();
    let id = client.instantiate(&made.id, &json!({"name": "run-1"})).await.unwrap();
    let service = client.service(&id).await.unwrap();
    assert_eq!(
        (service.state, service.name.as_str(), service.log.len()),
        (ServiceState::Deploying, "run-1", 2)
    );
    assert_eq!(service.roles[0].nodes, [Some(VmId::new(paris(), 1))]);
    assert_eq!((service.roles[1].nodes.as_slice(), service.roles[1].cardinality), ([None].as_slice(), 2));
    assert_eq!(service.body["onefed"]["plan"], "abc");
    client.scale(&id, "supernode", 3).await.unwrap();
    client.delete_service(&id).await.unwrap();
    client.recover_delete(&id).await.unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("authorization: Basic b25lYWRtaW46b3BlbnNlc2FtZQ=="));
    assert!(asked[3].starts_with("POST /service_template/28/action "));
    assert!(asked[5].starts_with("POST /service/29/scale ") && asked[5].contains("\"force\":false"));
    assert!(asked[6].starts_with("DELETE /service/29 "));
    assert!(asked[7].contains(r#"{"action":{"params":{"delete":true},"perform":"recover"}}"#));
}

#[tokio::test]
async fn oneflow_errors_are_told_apart() {
    let internal = r#"{"message":"Internal server error","reason":"unexpected token"}"#;
    let answers = [
        (401, "Invalid credentials"),
        (401, "[one.document.info] User [2] : Not authorized to perform USE DOCUMENT [28]."),
        (404, "[one.document.info] Error getting document [99]."),
        (500, "Service cannot be undeployed in state: DEPLOYING"),
        (400, "KEY: 'deployment' must be one of none, straight;"),
        (500, internal),
        (200, "<html>"),
    ];
    let (client, _) = oneflow(answers.iter().map(|(s, t)| (*s, (*t).to_owned())).collect()).await;
    let id = ServiceId::new(paris(), 99);
    let mut errors = Vec::new();
    for _ in &answers {
        errors.push(client.service(&id).await.unwrap_err());
    }
    assert!(matches!(errors[0], Error::Unauthenticated { .. }));
    assert!(matches!(errors[1], Error::Unauthorized { .. }));
    assert!(errors[2].is_not_found());
    assert!(matches!(errors[3], Error::Conflict { .. }));
    assert!(matches!(&errors[4], Error::Schema { message, .. } if message.contains("must be one of")));
    assert!(errors[5].to_string().contains("Internal server error: unexpected token"), "{}", errors[5]);
    assert!(matches!(errors[6], Error::Garbage { .. }));
    assert!(errors.iter().all(|e| e.to_string().contains("GET /service/99")));
}

#[tokio::test]
async fn onegate_repeats_faults_and_stops_at_a_refusal() {
    let vm = r#"{"VM":{"NAME":"n","ID":"1","STATE":"3","LCM_STATE":"3","USER_TEMPLATE":{},"TEMPLATE":{"NIC":[]}}}"#;
    let answers = vec![
        (500, "Internal server error".to_owned()),
        (200, vm.to_owned()),
        (200, String::new()),
        (200, String::new()),
        (500, "attribute not found".to_owned()),
        (401, "Not authorized".to_owned()),
        (403, "Attribute (SERVICE_ID) cannot be modified".to_owned()),
    ];
    let (url, asked) = server(answers).await;
    let client = onegate::Client::new(url.clone(), Secret::new("abc=\n"), 1).unwrap();
    assert_eq!(client.vm().await.unwrap().id, 1);
    client.put(&[("A", "x"), ("READY", "YES")]).await.unwrap();
    client.delete("A").await.unwrap();
    // Gone already is as good, and not asked for again and again.
    client.delete("A").await.unwrap();
    assert!(matches!(client.vm().await, Err(Error::Unauthenticated { .. })));
    assert!(matches!(client.put(&[("SERVICE_ID", "9")]).await, Err(Error::Unauthorized { .. })));
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 7);
    assert!(asked[1].contains("x-onegate-token: abc=\r\n") && asked[1].contains("x-onegate-vmid: 1\r\n"));
    assert!(asked[2].starts_with("PUT /vm ") && asked[2].ends_with("\r\n\r\nA=x\nREADY=YES"));
    assert!(asked[3].starts_with("PUT /vm?type=2 ") && asked[3].ends_with("\r\n\r\nA"));
    for bad in ["", "two words", "é"] {
        assert!(onegate::Client::new(url.clone(), Secret::new(bad), 1).is_err());
    }
}
