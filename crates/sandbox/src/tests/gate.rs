//! OneGate from inside a VM.

use super::*;

struct Vm {
    http: reqwest::Client,
    url: String,
    token: String,
    id: u32,
}

impl Vm {
    async fn of(bed: &Bed, id: &VmId) -> Self {
        bed.gate(id).await;
        let token = std::fs::read_to_string(bed.vm_dir(id).join("context/token.txt")).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, url: bed.zones[0].onegate.clone(), token: token.trim().to_owned(), id: id.id }
    }

    async fn ask(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
        let method = method.parse().unwrap();
        let request = self.http.request(method, format!("{}{path}", self.url)).header("content-type", kind);
        let request = request.header("x-onegate-token", &self.token).header("x-onegate-vmid", self.id);
        let response = request.body(body.to_owned()).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "application/json;charset=utf-8");
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn put(&self, body: &str) -> (u16, String) {
        self.ask("PUT", "/vm", "text/plain", body).await
    }
}

#[tokio::test]
async fn publications_are_stored_mangled_or_refused_as_in_the_original() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 2)]}), &json!({})).await;
    let service = bed.reach(&id, ServiceState::Running).await;
    let ids = nodes(&service, "r");
    let vm = Vm::of(&bed, &ids[0]).await;
    let gate = bed.gate(&ids[0]).await;

    for body in ["A=x y=z&?$'#;é", "B=\"quoted\"", "C=[X=1]", "D=1\nE=2", "F=1\\nG=2", "back=a\\b", "EMPTY="]
    {
        assert_eq!(vm.put(body).await, (200, String::new()), "{body}");
    }
    vm.ask("PUT", "/vm", "application/x-www-form-urlencoded", "data=H%3Dfrom+form").await;
    vm.ask("PUT", "/vm", "application/x-www-form-urlencoded", "I=raw").await;
    let big = "x".repeat(1 << 20);
    assert_eq!(vm.put(&format!("BIG={big}")).await.0, 200);
    let seen = gate.vm().await.unwrap().user_template;
    for (key, value) in [
        ("A", "x y=z&?$'#;é"),
        ("B", "quoted"),
        ("D", "1"),
        ("E", "2"),
        ("F", "1"),
        ("G", "2"),
        ("H", "from form"),
        ("I", "raw"),
        ("BACK", "ab"),
        ("EMPTY", "\""),
        ("BIG", &big),
    ] {
        assert_eq!(seen[key], value, "{key}");
    }
    for body in ["A=x,y", "A=a[1]", "A=say \"hi\"", "A=1\nbare", "A-B=1", "A B=1"] {
        assert_eq!(vm.put(body).await, (500, "Internal server error".into()), "{body}");
    }
    for body in ["SERVICE_ID=9", "role_name=x", "SCHED_REQUIREMENTS=\"x\""] {
        let (status, text) = vm.put(body).await;
        assert!(status == 403 && text.ends_with("cannot be modified"), "{body}: {text}");
    }
    gate.delete("A").await.unwrap();
    assert!(!gate.vm().await.unwrap().user_template.contains_key("A"));

    // Any VM of a service may write into another's attributes.
    let path = format!("/vms/{}", ids[1].id);
    assert_eq!(vm.ask("PUT", &path, "text/plain", "HELLO=sibling").await.0, 200);
    assert!(vm.ask("GET", &path, "", "").await.1.contains("sibling"));
    bed.down().await;
}

#[tokio::test]
async fn strangers_are_turned_away() {
    let bed = up(&["madrid"]).await;
    let body = json!({"name": "t", "roles": [role("r", 1)]});
    let id = bed.start(0, &body, &json!({})).await;
    let other = bed.start(0, &body, &json!({})).await;
    let first = nodes(&bed.reach(&id, ServiceState::Running).await, "r").remove(0);
    let second = nodes(&bed.reach(&other, ServiceState::Running).await, "r").remove(0);
    let mut vm = Vm::of(&bed, &first).await;
    let wrong = format!("Service {} does not contain VM {}.", id.id, second.id);
    assert_eq!(vm.ask("GET", &format!("/vms/{}", second.id), "", "").await, (400, wrong));
    let unknown = "OneGate server doesn't support this feature";
    assert_eq!(vm.ask("GET", "/nothing", "", "").await, (400, unknown.into()));
    assert_eq!(vm.ask("DELETE", "/vm", "", "").await, (400, unknown.into()));
    let (_, root) = vm.ask("GET", "/", "", "").await;
    assert_eq!(serde_json::from_str::<Value>(&root).unwrap()["vm_info"], format!("{}/vm", vm.url));
    let short: Value = serde_json::from_str(&vm.ask("GET", "/service", "", "").await.1).unwrap();
    assert!(short["SERVICE"]["roles"][0]["nodes"][0]["vm_info"]["VM"].get("TEMPLATE").is_none());

    // Still valid when the VM is done.
    bed.flow(0).delete_service(&id).await.unwrap();
    bed.gone(&id).await;
    assert_eq!(vm.ask("GET", "/vm", "", "").await.0, 200);
    assert_eq!(vm.ask("GET", "/service", "", "").await, (404, format!("Service {} not found", id.id)));
    vm.id = second.id;
    assert_eq!(vm.ask("GET", "/vm", "", "").await, (401, "Not authorized".into()));
    bed.down().await;
}
