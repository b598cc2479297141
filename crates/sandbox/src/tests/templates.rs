//! VM templates by XML-RPC.

use super::*;
use onefed_opennebula::xml::Element;

const ALL: [Param; 3] = [Param::Int(-2), Param::Int(-1), Param::Int(-1)];

#[tokio::test]
async fn names_are_unique_and_bodies_come_back_whole() {
    let bed = up(&["madrid"]).await;
    let allocate = async |body: &str| bed.call(0, "one.template.allocate", &[text(body)]).await;
    let lock = "NAME=\"lock\"\nHOLDER=\"a \\\"b\\\"\"\nNIC=[NETWORK_ID=\"0\"]\nNIC=[NETWORK_ID=\"1\"]";
    assert_eq!(allocate(lock).await.unwrap(), "1");
    let taken = (8192, "[one.template.allocate] NAME is already taken by TEMPLATE 1.".to_owned());
    assert_eq!(allocate("<TEMPLATE><NAME>lock</NAME></TEMPLATE>").await.unwrap_err(), taken);
    let empty = (8192, "[one.template.allocate] Invalid NAME, it cannot be empty".to_owned());
    assert_eq!(allocate("CPU=1").await.unwrap_err(), empty);
    assert_eq!(allocate("NAME=\"\"").await.unwrap_err(), empty);
    let (code, why) = allocate("NAME").await.unwrap_err();
    assert!(code == 8192 && why.starts_with("[one.template.allocate] Parse error: syntax error"), "{why}");
    let long = format!("NAME=\"{}\"", "x".repeat(129));
    assert!(allocate(&long).await.unwrap_err().1.contains("max length is 128 chars"));

    let pool = bed.call(0, "one.templatepool.info", &ALL).await.unwrap();
    let pool = Element::parse(pool.as_bytes()).unwrap();
    let one = pool.all("VMTEMPLATE").nth(1).unwrap();
    assert_eq!(
        ["ID", "UID", "GID", "UNAME", "GNAME", "NAME"].map(|k| one.text_of(k).unwrap()),
        ["1", "0", "0", "oneadmin", "oneadmin", "lock"]
    );
    assert!(one.number_of::<u64>("REGTIME").unwrap() > 0);
    let permissions = one.child("PERMISSIONS").unwrap();
    assert_eq!((permissions.children.len(), permissions.text_of("GROUP_U")), (9, Some("0")));
    let body = one.child("TEMPLATE").unwrap();
    assert_eq!((body.text_of("HOLDER"), body.all("NIC").count()), (Some("a \"b\""), 2));

    let change = |append| [Param::Int(1), text("HOLDER=\"c\"\nX=1"), Param::Int(append)];
    bed.call(0, "one.template.update", &change(1)).await.unwrap();
    let info = async || {
        bed.call(0, "one.template.info", &[Param::Int(1), Param::Bool(false), Param::Bool(false)]).await
    };
    let whole = info().await.unwrap();
    assert!(whole.contains("<HOLDER><![CDATA[c]]>") && whole.contains("<NETWORK_ID>"), "{whole}");
    bed.call(0, "one.template.update", &change(0)).await.unwrap();
    let whole = info().await.unwrap();
    assert!(
        whole.contains("<X><![CDATA[1]]>") && !whole.contains("<NIC>") && whole.contains("lock"),
        "{whole}"
    );
    let bits = [1, 1, 0, 1, 0, 0, 1, 0, 0].map(Param::Int);
    let chmod: Vec<_> = std::iter::once(Param::Int(1)).chain(bits).chain([Param::Bool(false)]).collect();
    bed.call(0, "one.template.chmod", &chmod).await.unwrap();
    assert!(info().await.unwrap().contains("<GROUP_U>1</GROUP_U>"));

    bed.call(0, "one.template.delete", &[Param::Int(1), Param::Bool(false)]).await.unwrap();
    let gone = (1024, "[one.template.info] Error getting virtual machine template [1].".to_owned());
    assert_eq!(info().await.unwrap_err(), gone);
    assert_eq!(allocate(lock).await.unwrap(), "2", "numbers are not used again");
    bed.down().await;
}

#[tokio::test]
async fn of_many_who_allocate_a_name_at_once_one_wins() {
    let bed = up(&["madrid"]).await;
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (url, method) = (bed.zones[0].xmlrpc.clone(), "one.template.allocate".to_owned());
        all.spawn(calling(url, bed.session(), method, vec![text("NAME=\"lock\"")]));
    }
    let won = all.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
    bed.down().await;
}

#[tokio::test]
async fn a_vm_is_made_from_a_template_and_a_role_may_name_it() {
    let bed = up(&["madrid"]).await;
    let body = "NAME=\"mine\"\nCPU=2\nCONTEXT=[TOKEN=\"YES\",A=\"1\"]\nX=\"template\"";
    let id: i32 = bed.call(0, "one.template.allocate", &[text(body)]).await.unwrap().parse().unwrap();
    let make =
        |hold: bool| [Param::Int(id), text(""), Param::Bool(hold), text("X=\"over\""), Param::Bool(false)];
    let vm = bed.call(0, "one.template.instantiate", &make(true)).await.unwrap();
    let vm = VmId::new(zone("madrid"), vm.parse().unwrap());
    let seen = bed.rpc(0).vm(&vm).await.unwrap();
    assert_eq!((seen.state, seen.name.as_str()), (onefed_opennebula::VmState::Hold, "mine-0"));
    assert_eq!((seen.user_template["X"].as_str(), seen.context["A"].as_str()), ("over", "1"));
    bed.rpc(0).vm_action(&vm, xmlrpc::VmAction::Release).await.unwrap();
    until("RUNNING", async || (bed.rpc(0).vm(&vm).await.unwrap().lcm_state.number() == 3).then_some(()))
        .await;

    let mut node = role("r", 1);
    node["template_id"] = json!(id);
    let service = bed.start(0, &json!({"name": "t", "roles": [node]}), &json!({})).await;
    let service = bed.reach(&service, ServiceState::Running).await;
    let of_role = bed.rpc(0).vm(&nodes(&service, "r")[0]).await.unwrap();
    assert_eq!((of_role.user_template["X"].as_str(), of_role.context["A"].as_str()), ("template", "1"));
    bed.down().await;
}
