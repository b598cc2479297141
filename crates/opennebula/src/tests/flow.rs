//! OneFlow beside templates that are stored and services that are made: changes, roles, what goes with a template.

use super::{oneflow, paris};
use crate::oneflow::{DeleteAlso, RoleAction};
use crate::xmlrpc::{Permissions, VmAction};
use crate::*;
use serde_json::json;

fn template(name: &str, group: &str) -> String {
    let permissions = json!({"OWNER_U": "1", "OWNER_M": "1", "OWNER_A": "0", "GROUP_U": group, "GROUP_M": "0",
        "GROUP_A": "0", "OTHER_U": "0", "OTHER_M": "0", "OTHER_A": "0"});
    json!({"DOCUMENT": {"ID": "28", "UID": "2", "GID": "1", "UNAME": "alice", "GNAME": "users", "NAME": name,
        "TYPE": "101", "PERMISSIONS": permissions, "TEMPLATE": {"BODY": {"name": "t", "roles": []}}}})
    .to_string()
}

#[tokio::test]
async fn templates_change() {
    let (client, asked) = oneflow(vec![
        (204, String::new()),
        (200, template("old", "0").replace(r#""name":"t""#, r#""name":"t","description":"x""#)),
        (204, String::new()),
        (200, template("new", "0")),
        (204, String::new()),
        (200, template("new", "1")),
        (201, template("copy", "0")),
        (204, String::new()),
    ])
    .await;
    let id = ServiceTemplateId::new(paris(), 28);
    client.merge_service_template(&id, &json!({"description": "x"})).await.unwrap();
    client.rename_service_template(&id, "new").await.unwrap();
    client.chmod_service_template(&id, Permissions::from_octal(0o640)).await.unwrap();
    let copy = client.clone_service_template(&id, "copy").await.unwrap();
    assert_eq!((copy.name.as_str(), copy.owner.uname.as_str()), ("copy", "alice"));
    client.delete_service_template_with(&id, DeleteAlso::VmTemplates).await.unwrap();
    let asked = asked.lock().unwrap();
    let holds = |n: usize, parts: &[&str]| parts.iter().all(|part| asked[n].contains(part));
    assert!(holds(
        0,
        &[
            "POST /service_template/28/action",
            r#""template_json":"{\"description\":\"x\"}""#,
            r#""append":true"#
        ]
    ));
    assert!(holds(2, &[r#""perform":"rename""#, r#""name":"new""#]));
    assert!(holds(4, &[r#""perform":"chmod""#, r#""octet":"640""#]));
    assert!(holds(6, &[r#""perform":"clone""#, r#""recursive":"none""#]));
    assert!(holds(7, &["DELETE /service_template/28", r#"{"delete_type":"templates"}"#]));
}

/// OneFlow forgets to look at what oned said to a rename and a chmod, and says nothing to actions that it does not know.
#[tokio::test]
async fn a_yes_that_changed_nothing_is_an_error() {
    let (client, _) = oneflow(vec![
        (204, String::new()),
        (200, template("old", "0")),
        (204, String::new()),
        (200, template("old", "0")),
        (204, String::new()),
        (200, template("old", "0")),
        (200, String::new()),
    ])
    .await;
    let id = ServiceTemplateId::new(paris(), 28);
    let errors = [
        client.rename_service_template(&id, "new").await.unwrap_err(),
        client.chmod_service_template(&id, Permissions::from_octal(0o640)).await.unwrap_err(),
        client.merge_service_template(&id, &json!({"description": "x"})).await.unwrap_err(),
        client.merge_service_template(&id, &json!({})).await.unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        assert!(error.to_string().contains("said yes and changed nothing"), "{error}");
    }
}

#[tokio::test]
async fn services_change() {
    let role = json!({"name": "r", "type": "vm", "template_id": 0});
    let answers = [
        (204, ""),
        (204, ""),
        (204, ""),
        (204, ""),
        (204, ""),
        (400, "KEY: 'name' must match regexp /^\\w+$/;"),
        (500, "Cannot modify roles in state: SCALING"),
        (204, ""),
        (204, ""),
        (500, "[one.document.update] Cannot process request, zone disabled"),
    ];
    let (client, asked) = oneflow(answers.iter().map(|(s, t)| (*s, (*t).to_owned())).collect()).await;
    let id = ServiceId::new(paris(), 29);
    client.merge_service(&id, &json!({"onefed": {"a": 1}})).await.unwrap();
    client.rename_service(&id, "new").await.unwrap();
    client.chmod_service(&id, Permissions::from_octal(0o604)).await.unwrap();
    client.release_service(&id).await.unwrap();
    client.change_role(&id, RoleAction::Add(&role)).await.unwrap();
    let bad = client.change_role(&id, RoleAction::Add(&json!({"name": "a-b"}))).await.unwrap_err();
    assert!(matches!(bad, Error::Schema { .. }), "{bad:?}");
    assert!(client.change_role(&id, RoleAction::Remove("r")).await.unwrap_err().is_conflict());
    client.role_vms(&id, "r", VmAction::Poweroff).await.unwrap();
    client.purge_done().await.unwrap();
    assert!(client.recover(&id).await.unwrap_err().is_transient());
    let asked = asked.lock().unwrap();
    let holds = |n: usize, parts: &[&str]| parts.iter().all(|part| asked[n].contains(part));
    assert!(holds(0, &["PUT /service/29 ", r#""append":true"#, r#""template":"{\"onefed\":{\"a\":1}}""#]));
    assert!(holds(1, &["POST /service/29/action ", r#""perform":"rename""#]));
    assert!(holds(2, &[r#""octet":"604""#]) && holds(3, &[r#""perform":"release""#]));
    assert!(holds(4, &["POST /service/29/role_action ", r#""perform":"add_role""#, r#""template_id":0"#]));
    assert!(holds(6, &[r#""perform":"remove_role""#, r#""role":"r""#]));
    assert!(holds(7, &["POST /service/29/role/r/action ", r#""perform":"poweroff""#, r#""number":"""#]));
    assert!(holds(8, &["POST /service_pool/purge_done "]));
    assert_eq!(asked.len(), 10);
}

#[tokio::test]
async fn what_may_have_happened_all_the_same() {
    let (client, _) =
        oneflow(vec![(504, "timeout".into()), (500, "no".into()), (201, "<html>".into())]).await;
    let body = json!({});
    let mut errors = Vec::new();
    for _ in 0..3 {
        errors.push(client.create_service_template(&body).await.unwrap_err());
    }
    let undecided: Vec<bool> = errors.iter().map(Error::is_undecided).collect();
    assert_eq!(undecided, [true, false, true], "{errors:?}");
}
