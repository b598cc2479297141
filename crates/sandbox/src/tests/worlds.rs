//! What a world changes about zones.

use super::*;

#[tokio::test]
async fn versions_names_and_endpoints_are_the_worlds() {
    let world = r#"
        [zone.paris]
        version = "6.10.0"
        endpoint = "http://localhost:2633/RPC2"
        oneflow_endpoint = ""
        network = [{ name = "lan", size = 3 }, { name = "wan" }]
        template = [{ name = "stock", image = "Debian 12", inputs = { FL_X = "O|text|x" } }]
        host = [{ name = "small", cpu = 1, memory = 4096 }, { name = "off", state = "off" }]
    "#;
    let bed = up_in(&["madrid", "paris"], world).await;
    assert_eq!(bed.rpc(0).system_version().await.unwrap().text, "7.4.0");
    assert_eq!(bed.rpc(1).system_version().await.unwrap().text, "6.10.0");
    let zones = bed.rpc(0).zone_pool().await.unwrap();
    assert_eq!((zones[1].id, zones[1].endpoint.as_deref()), (100, Some("http://localhost:2633/RPC2")));
    assert_eq!((zones[1].oneflow.as_deref(), zones[0].oneflow.is_some()), (None, true));
    let networks = bed.rpc(1).networks().await.unwrap();
    assert_eq!(networks.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["lan", "wan"]);
    let template = &bed.rpc(1).templates().await.unwrap()[0];
    assert_eq!((template.name.as_str(), template.user_inputs["FL_X"].as_str()), ("stock", "O|text|x"));

    // An image without onefed boots onefed all the same; the second VM finds no room.
    let make = async |over: &str| {
        let params = [Param::Int(0), text(""), Param::Bool(false), text(over), Param::Bool(false)];
        let id = bed.call(1, "one.template.instantiate", &params).await.unwrap();
        VmId::new(zone("paris"), id.parse().unwrap())
    };
    let first = make("NIC=[NETWORK=\"lan\"]\nNIC=[NETWORK=\"wan\"]").await;
    bed.gate(&first).await;
    let vm = until("RUNNING", async || {
        Some(bed.rpc(1).vm(&first).await.unwrap()).filter(|vm| vm.lcm_state.number() == 3)
    })
    .await;
    let ips: Vec<_> = vm.nics.iter().map(|n| n.ip.unwrap().to_string()).collect();
    assert_eq!(ips, [format!("127.{}.2.10", bed.net), format!("127.{}.2.13", bed.net)]);
    let image = bed.call(1, "one.image.info", &[Param::Int(2), Param::Bool(false)]).await.unwrap();
    assert!(image.contains("<STATE>2</STATE>") && image.contains("<VMS><ID>0</ID></VMS>"), "{image}");
    let second = make("").await;
    let message = until("SCHED_MESSAGE", async || {
        bed.rpc(1).vm(&second).await.unwrap().user_template.get("SCHED_MESSAGE").cloned()
    })
    .await;
    assert!(message.contains("Cannot dispatch VM to any Host"), "{message}");
    bed.rpc(1).vm_action(&first, xmlrpc::VmAction::TerminateHard).await.unwrap();
    until("room", async || (bed.rpc(1).vm(&second).await.unwrap().lcm_state.number() == 3).then_some(()))
        .await;
    let all = [Param::Int(-2), Param::Int(-1), Param::Int(-1), Param::Int(-1)];
    let short = bed.call(1, "one.vmpool.info", &all).await.unwrap();
    assert!(
        short.contains("<ID>1</ID>") && !short.contains("<ID>0</ID>") && !short.contains("<CONTEXT>"),
        "{short}"
    );
    let whole = bed.call(1, "one.vmpool.infoset", &[text("0,1"), Param::Bool(true)]).await.unwrap();
    let (newer, older) = (whole.find("<VM><ID>1</ID>").unwrap(), whole.find("<VM><ID>0</ID>").unwrap());
    assert!(newer < older && whole.contains("<CONTEXT>"), "{whole}");
    bed.down().await;
}

#[tokio::test]
async fn a_disabled_zone_reads_and_does_not_write() {
    let bed = up_in(&["madrid", "paris"], "[zone.paris]\nenabled = false").await;
    assert!(!bed.rpc(0).zone_pool().await.unwrap()[1].enabled);
    let refused = (8192, "[one.template.allocate] Cannot process request, zone disabled".to_owned());
    let allocate = async || bed.call(1, "one.template.allocate", &[text("NAME=x")]).await;
    assert_eq!(allocate().await.unwrap_err(), refused);
    assert_eq!(bed.rpc(1).templates().await.unwrap().len(), 1);
    let error = bed.flow(1).create_service_template(&json!({"name": "t", "roles": []})).await.unwrap_err();
    assert!(
        error.to_string().contains("[one.document.allocate] Cannot process request, zone disabled"),
        "{error}"
    );
    let enable = [Param::Int(100), Param::Bool(true)];
    assert_eq!(
        bed.call(0, "one.zone.enable", &enable).await.unwrap_err().0,
        2048,
        "at its own endpoint only"
    );
    bed.call(1, "one.zone.enable", &enable).await.unwrap();
    allocate().await.unwrap();
    assert!(bed.rpc(0).zone_pool().await.unwrap()[1].enabled);
    bed.down().await;
}

#[tokio::test]
async fn a_slow_zone_shows_its_states() {
    let world = "[all]\ndelays = { boot_seconds = 0.6, shutdown_seconds = 0.4, oneflow_seconds = 0.2 }";
    let bed = up_in(&["madrid"], world).await;
    let started = Instant::now();
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    assert!(started.elapsed() >= Duration::from_millis(400), "two calls");
    let vm = VmId::new(zone("madrid"), 0);
    let mut seen = Vec::new();
    until("RUNNING", async || {
        let lcm = bed.rpc(0).vm(&vm).await.ok()?.lcm_state;
        if seen.last() != Some(&lcm.number()) {
            seen.push(lcm.number());
        }
        (lcm.number() == 3).then_some(())
    })
    .await;
    assert!(seen.ends_with(&[1, 2, 3]), "PROLOG, BOOT, RUNNING: {seen:?}");
    bed.reach(&id, ServiceState::Running).await;
    let ended = Instant::now();
    bed.flow(0).delete_service(&id).await.unwrap();
    bed.gone(&id).await;
    assert!(ended.elapsed() >= Duration::from_millis(400));
    // Ended while it boots.
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    bed.flow(0).recover_delete(&id).await.unwrap();
    bed.gone(&id).await;
    bed.down().await;
}

#[tokio::test]
async fn a_world_with_a_stranger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let world = crate::World::parse("[zone.rome]").unwrap();
    let bad = SandboxConfig { world, ..config(dir.path(), next_net(), &["madrid"]) };
    let error = run(bad, oneshot::channel().0, std::future::pending()).await.unwrap_err();
    assert_eq!(error.to_string(), "sandbox: the world has a zone rome, the sandbox has madrid");
}
