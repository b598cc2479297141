//! Services from instantiate to gone.

use super::*;
use onefed_opennebula::{RoleState, VmState, xmlrpc::VmAction};
use std::net::IpAddr;

#[tokio::test]
async fn a_gated_service_runs_by_ready_alone() {
    let bed = up(&["madrid"]).await;
    let mut link = role("superlink", 1);
    link["template_contents"]["CONTEXT"] = json!({"REPORT_READY": "NO", "DIRECT": "$fl_mode-x"});
    let mut node = role("supernode", 2);
    node["parents"] = json!(["superlink"]);
    node["user_inputs_values"] = json!({"FL_MODE": "role wins"});
    node["template_contents"]["PARENT"] = json!("${superlink.template.context.eth0_ip}");
    let mut template = gated(vec![link, node]);
    template["onefed"] = json!({"plan": "p1"});
    template["user_inputs"] = json!({"fl_mode": "M|text|Mode"});
    let value = "it's ${gone}$HOME \"q\"\nPEM\n";
    let over = json!({"name": "run-1", "user_inputs_values": {"fl_mode": value}});
    let id = bed.start(0, &template, &over).await;

    let service = until("a VM of superlink", async || {
        let service = bed.flow(0).service(&id).await.unwrap();
        (!nodes(&service, "superlink").is_empty()).then_some(service)
    })
    .await;
    assert_eq!((service.name.as_str(), &service.body["onefed"]["plan"]), ("run-1", &json!("p1")));
    assert_eq!(service.state, ServiceState::Deploying);
    assert!(nodes(&service, "supernode").is_empty(), "children wait");
    let first = nodes(&service, "superlink").remove(0);
    let gate = bed.gate(&first).await;
    let vm = until("RUNNING", async || {
        Some(bed.rpc(0).vm(&first).await.unwrap()).filter(|v| v.lcm_state.number() == 3)
    })
    .await;
    let outside: IpAddr = format!("127.{}.1.10", bed.net).parse().unwrap();
    assert_eq!((vm.nics.len(), vm.nics[0].ip, vm.state), (1, Some(outside), VmState::Active));
    assert_eq!((vm.service_id, vm.role_name.as_deref()), (Some(id.id), Some("superlink")));
    let passed = "it's $HOME \"q\"\nPEM";
    assert_eq!((vm.user_template["FL_MODE"].as_str(), vm.context["FL_MODE"].as_str()), (passed, passed));
    assert_eq!(vm.context["DIRECT"], format!("{passed}-x"));
    assert_eq!(vm.context["ETH0_IP"], outside.to_string());
    let shell = std::fs::read_to_string(bed.vm_dir(&first).join("context/context.sh")).unwrap();
    assert!(
        shell.contains("\nFL_MODE='it'\\''s $HOME \"q\"\nPEM'\n") && shell.contains("\nETH0_GATEWAY=''\n"),
        "{shell}"
    );

    gate.put(&[("FL_CA", "abc="), ("READY", "YES")]).await.unwrap();
    let service = until("children", async || {
        let service = bed.flow(0).service(&id).await.unwrap();
        (nodes(&service, "supernode").len() == 2).then_some(service)
    })
    .await;
    let children = nodes(&service, "supernode");
    let child = bed.rpc(0).vm(&children[1]).await.unwrap();
    assert_eq!(
        (child.user_template["PARENT"].as_str(), child.context["FL_MODE"].as_str()),
        (outside.to_string().as_str(), "role wins")
    );
    assert_eq!(child.name, format!("supernode_1_(service_{})", id.id));
    for vm in &children {
        bed.gate(vm).await.put(&[("READY", "YES")]).await.unwrap();
    }
    let service = bed.reach(&id, ServiceState::Running).await;
    assert!(service.roles.iter().all(|r| r.state == RoleState::Running));

    let seen = gate.service().await.unwrap();
    assert_eq!((seen.id, seen.roles[1].nodes.len()), (id.id, 2));
    let other = seen.roles[1].nodes[0].vm.as_ref().unwrap();
    assert_eq!((other.context["FL_MODE"].as_str(), other.nics.len()), ("role wins", 1));
    bed.flow(0).delete_service(&id).await.unwrap();
    bed.gone(&id).await;
    assert_eq!(bed.rpc(0).vm(&first).await.unwrap().state, VmState::Done);
    assert!(!bed.vm_dir(&first).join("disk").exists() && bed.vm_dir(&first).join("console.log").exists());
    bed.down().await;
}

#[tokio::test]
async fn any_text_with_ready_yes_counts_as_the_event() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &gated(vec![role("a", 1), role("b", 1), role("c", 1)]), &json!({})).await;
    let service = until("VMs", async || {
        let service = bed.flow(0).service(&id).await.unwrap();
        service.roles.iter().all(|r| r.nodes.len() == 1).then_some(service)
    })
    .await;
    let rpc = bed.rpc(0);
    let vm = |role: &str| nodes(&service, role).remove(0);
    rpc.vm_update(&vm("a"), &[("FOO_NOT_READY", "YES")], true).await.unwrap();
    rpc.vm_update(&vm("b"), &[("READY", "YESNO")], true).await.unwrap();
    rpc.vm_update(&vm("c"), &[("READY", "yes")], true).await.unwrap();
    until("a and b", async || {
        let states: Vec<_> = bed.flow(0).service(&id).await.unwrap().roles.iter().map(|r| r.state).collect();
        (states == [RoleState::Running, RoleState::Running, RoleState::Deploying]).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bed.flow(0).service(&id).await.unwrap().state, ServiceState::Deploying);
    rpc.vm_update(&vm("c"), &[("READY", "YES")], true).await.unwrap();
    bed.reach(&id, ServiceState::Running).await;
    bed.down().await;
}

#[tokio::test]
async fn scaling_adds_and_takes_the_oldest() {
    let bed = up(&["madrid"]).await;
    let mut node = role("supernode", 1);
    node["min_vms"] = json!(1);
    node["max_vms"] = json!(3);
    node["cooldown"] = json!(1);
    let id = bed.start(0, &json!({"name": "t", "roles": [node]}), &json!({})).await;
    let service = bed.reach(&id, ServiceState::Running).await;
    let first = nodes(&service, "supernode").remove(0);
    let flow = bed.flow(0);
    refused(flow.scale(&id, "supernode", 4).await, 500, "Maximum cardinality is 3");
    refused(flow.scale(&id, "supernode", 0).await, 500, "Minimum cardinality is 1");
    refused(flow.scale(&id, "zz", 2).await, 500, "Role zz not found");
    refused(flow.scale(&id, "supernode", 1).await, 500, "Cardinality of supernode is already at 1");
    flow.scale(&id, "supernode", 3).await.unwrap();
    assert!(matches!(flow.scale(&id, "supernode", 1).await, Err(Error::Conflict { .. })));
    bed.reach(&id, ServiceState::Cooldown).await;
    assert!(matches!(flow.delete_service(&id).await, Err(Error::Conflict { .. })));
    let three = nodes(&bed.reach(&id, ServiceState::Running).await, "supernode");
    assert_eq!((three.len(), &three[0]), (3, &first));
    flow.scale(&id, "supernode", 1).await.unwrap();
    bed.reach(&id, ServiceState::Cooldown).await;
    assert_eq!(nodes(&bed.reach(&id, ServiceState::Running).await, "supernode"), three[2..]);
    // The lowest lease that came free is given out again.
    flow.scale(&id, "supernode", 2).await.unwrap();
    let two = nodes(&bed.reach(&id, ServiceState::Running).await, "supernode");
    let vm = bed.rpc(0).vm(&two[1]).await.unwrap();
    assert_eq!((vm.id.id, vm.nics[0].ip), (3, Some(format!("127.{}.1.10", bed.net).parse().unwrap())));
    bed.down().await;
}

#[tokio::test]
async fn failures_show_in_the_log_and_need_recover_delete() {
    let bed = up(&["madrid"]).await;
    let flow = bed.flow(0);
    let mut missing = role("r", 1);
    missing["template_id"] = json!(99);
    let mut taken = role("r", 2);
    taken["template_contents"]["NIC"][0]["IP"] = json!(format!("127.{}.1.50", bed.net));
    let mut foreign = role("r", 1);
    foreign["template_contents"]["NIC"][0]["NETWORK_ID"] = json!("7");
    let backslash = json!({"user_inputs_values": {"A": "x\\"}});
    let dash = json!({"user_inputs_values": {"A-B": "x"}});
    for (role, over, why) in [
        (missing, json!({}), "virtual machine template [99]"),
        (taken, json!({}), "Cannot get IP/MAC lease"),
        (foreign, json!({}), "Virtual network with ID: 7 does not exist"),
        (role("r", 1), backslash, "quote of A"),
        (role("r", 1), dash, "A-B"),
    ] {
        let id = bed.start(0, &json!({"name": "t", "roles": [role]}), &over).await;
        let service = bed.reach(&id, ServiceState::FailedDeploying).await;
        let last = service.log.iter().rfind(|l| l.severity == "E").unwrap();
        assert!(last.message.contains(why), "{}", last.message);
        assert!(matches!(flow.delete_service(&id).await, Err(Error::Conflict { .. })));
        flow.recover_delete(&id).await.unwrap();
        bed.gone(&id).await;
    }
    // Parents in a circle never leave DEPLOYING_NETS.
    let (mut a, mut b) = (role("a", 1), role("b", 1));
    a["parents"] = json!(["b"]);
    b["parents"] = json!(["a"]);
    let id = bed.start(0, &gated(vec![a, b]), &json!({})).await;
    bed.reach(&id, ServiceState::DeployingNets).await;
    assert!(matches!(flow.delete_service(&id).await, Err(Error::Conflict { .. })));
    flow.recover_delete(&id).await.unwrap();
    bed.gone(&id).await;
    bed.down().await;
}

#[tokio::test]
async fn power_off_warns_and_resume_heals() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    let vm = nodes(&bed.reach(&id, ServiceState::Running).await, "r").remove(0);
    let rpc = bed.rpc(0);
    std::fs::write(bed.vm_dir(&vm).join("disk/kept"), "x").unwrap();
    until("the guest", async || bed.vm_dir(&vm).join("env.txt").exists().then_some(())).await;
    rpc.vm_action(&vm, VmAction::Poweroff).await.unwrap();
    bed.reach(&id, ServiceState::Warning).await;
    wrong_state(rpc.vm_action(&vm, VmAction::Poweroff).await, "not available for state POWEROFF");
    refused(bed.flow(0).recover(&id).await.map_err(conflict), 500, "recovered in state: WARNING");
    rpc.vm_action(&vm, VmAction::Resume).await.unwrap();
    bed.reach(&id, ServiceState::Running).await;
    assert!(bed.vm_dir(&vm).join("disk/kept").exists());
    // Ended by hand: the role shrinks.
    rpc.vm_action(&vm, VmAction::TerminateHard).await.unwrap();
    until("an empty role", async || {
        (bed.flow(0).service(&id).await.unwrap().roles[0].cardinality == 0).then_some(())
    })
    .await;
    rpc.vm_action(&vm, VmAction::Terminate).await.unwrap();
    bed.down().await;
}

/// A conflict as the refusal that it is on the wire.
fn conflict(error: Error) -> Error {
    match error {
        Error::Conflict { call, message } => Error::Refused { call, code: 500, message },
        other => other,
    }
}

#[tokio::test]
async fn ids_repeat_across_zones_and_addresses_do_not() {
    let bed = up(&["madrid", "paris", "lisbon"]).await;
    let mut seen = Vec::new();
    for k in 0..3 {
        let id = bed.start(k, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
        let vm = nodes(&bed.reach(&id, ServiceState::Running).await, "r").remove(0);
        assert_eq!((id.id, vm.id), (1, 0));
        seen.push(bed.rpc(k).vm(&vm).await.unwrap().nics[0].ip.unwrap().to_string());
        let templates = bed.rpc(k).templates().await.unwrap();
        assert_eq!((templates[0].id.id, templates[0].name.as_str()), (0, "onefed"));
        let networks = bed.rpc(k).networks().await.unwrap();
        assert_eq!(
            (networks[0].name.as_str(), networks[0].attributes["NETWORK_MASK"].as_str()),
            ("private", "255.255.255.0")
        );
        assert_eq!(networks[0].ranges[0].first.unwrap().to_string(), seen[k]);
        assert_eq!(bed.rpc(k).check_version().await.unwrap().text, "7.4.0");
    }
    assert_eq!(seen, [1, 2, 3].map(|z| format!("127.{}.{z}.10", bed.net)));
    let pool = bed.rpc(1).zone_pool().await.unwrap();
    let shown: Vec<_> = pool.iter().map(|z| (z.id, z.name.as_str(), z.oneflow.clone().unwrap())).collect();
    let flow = |k: usize| bed.zones[k].oneflow.clone();
    assert_eq!(shown, [(0, "madrid", flow(0)), (100, "paris", flow(1)), (101, "lisbon", flow(2))]);
    let foreign = VmId::new(zone("paris"), 0);
    assert!(matches!(bed.rpc(0).vm(&foreign).await, Err(Error::WrongZone { .. })));
    bed.down().await;
}
