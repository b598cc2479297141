//! OneGate misbehaving, as its client sees it.

use super::*;
use crate::{Fault, Misbehaviour, Service, misbehave};
use onefed_opennebula::LcmState;
use onefed_opennebula::onegate;

/// One request as it is on the wire.
async fn ask(bed: &Bed, gate: &str, vm: &VmId, path: &str) -> Result<(u16, String), reqwest::Error> {
    let token = std::fs::read_to_string(bed.vm_dir(vm).join("context/token.txt")).unwrap();
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_millis(500)).build().unwrap();
    let request = http.get(format!("{gate}{path}")).header("x-onegate-token", token.trim());
    let response = request.header("x-onegate-vmid", vm.id).send().await?;
    Ok((response.status().as_u16(), response.text().await?))
}

#[tokio::test]
async fn every_fault_looks_as_in_reality_and_ends() {
    let bed = up(&["madrid", "paris"]).await;
    let template = json!({"name": "t", "roles": [role("r", 2)]});
    let id = bed.start(1, &template, &json!({})).await;
    let vms = nodes(&bed.reach(&id, ServiceState::Running).await, "r");
    let elsewhere = bed.start(0, &template, &json!({})).await;
    let elsewhere = nodes(&bed.reach(&elsewhere, ServiceState::Running).await, "r").remove(0);
    let dir = bed.dir.path().join("sandbox");
    let gate = &bed.zones[1].onegate;
    let vm = &vms[1];
    for (answer, path, status, text) in [
        (Misbehaviour::Unauthorized, "/vm", 401, "Not authorized"),
        (Misbehaviour::Forbidden, "/vm", 403, "Action (show) on resource (vm) not supported"),
        (Misbehaviour::NotFound, "/vm", 404, "[one.vm.info] Error getting virtual machine [1]."),
        (Misbehaviour::NotFound, "/service", 404, "Service 1 not found"),
        (Misbehaviour::Broken, "/vm", 500, "Internal server error"),
        (Misbehaviour::Unavailable, "/vm", 503, "503 Service Temporarily Unavailable"),
        (Misbehaviour::Garbage, "/vm", 200, "<!DOCTYPE html>"),
    ] {
        misbehave(&dir, &[Fault::new(answer).of(vm)]).unwrap();
        let (got, body) = ask(&bed, gate, vm, path).await.unwrap();
        assert!(got == status && body.contains(text), "{answer:?}: {got} {body}");
        assert_eq!(ask(&bed, gate, &vms[0], "/vm").await.unwrap().0, 200, "its sibling is spared");
        assert_eq!(ask(&bed, &bed.zones[0].onegate, &elsewhere, "/vm").await.unwrap().0, 200);
    }
    misbehave(&dir, &[Fault::new(Misbehaviour::Hang)]).unwrap();
    for (gate, vm) in [(gate, &vms[0]), (&bed.zones[0].onegate, &elsewhere)] {
        assert!(ask(&bed, gate, vm, "/vm").await.unwrap_err().is_timeout(), "all zones");
    }
    misbehave(&dir, &[Fault::new(Misbehaviour::Close)]).unwrap();
    let error = ask(&bed, gate, vm, "/vm").await.unwrap_err();
    assert!(!error.is_timeout() && error.is_request(), "{error:?}");

    // The client gets over what does not last.
    let mut twice = Fault::new(Misbehaviour::Broken);
    twice.times = Some(1);
    misbehave(&dir, &[twice]).unwrap();
    let client: onegate::Client = bed.gate(vm).await;
    assert_eq!(client.vm().await.unwrap().id, 1);
    // Only what is written, by hand this time.
    std::fs::write(dir.join("onegate-faults"), "answer=403 method=PUT vm=1\n").unwrap();
    assert!(matches!(client.put(&[("A", "x")]).await, Err(Error::Unauthorized { .. })));
    client.vm().await.unwrap();
    std::fs::write(dir.join("onegate-faults"), "answer=perhaps\n").unwrap();
    assert!(ask(&bed, gate, vm, "/vm").await.unwrap().1.contains("a fault needs an answer="));
    std::fs::remove_file(dir.join("onegate-faults")).unwrap();
    misbehave(&dir, &[]).unwrap();
    assert_eq!(ask(&bed, gate, vm, "/vm").await.unwrap().0, 200);
    misbehave(&dir, &[Fault::new(Misbehaviour::Hang)]).unwrap();
    bed.down().await;
    assert!(!dir.join("faults").exists());
}

#[tokio::test]
async fn oneflow_and_xmlrpc_fail_in_their_own_words() {
    let bed = up(&["madrid"]).await;
    let dir = bed.dir.path().join("sandbox");
    let (flow, rpc) = (bed.flow(0), bed.rpc(0).with_deadline(Duration::from_millis(400)).unwrap());
    let set = |answer, service| misbehave(&dir, &[Fault::new(answer).by(service)]).unwrap();

    set(Misbehaviour::Unauthorized, Service::XmlRpc);
    assert!(matches!(rpc.system_version().await, Err(Error::Unauthenticated { .. })));
    flow.services().await.unwrap();
    set(Misbehaviour::Unauthorized, Service::OneFlow);
    assert!(matches!(flow.services().await, Err(Error::Unauthenticated { .. })));
    rpc.system_version().await.unwrap();
    for answer in
        [Misbehaviour::Broken, Misbehaviour::Unavailable, Misbehaviour::Garbage, Misbehaviour::Truncated]
    {
        set(answer, Service::All);
        let (flow, rpc) = (flow.services().await.unwrap_err(), rpc.system_version().await.unwrap_err());
        assert!(
            !matches!(flow, Error::NotFound { .. }) && !matches!(rpc, Error::NotFound { .. }),
            "{flow} {rpc}"
        );
    }
    set(Misbehaviour::Hang, Service::XmlRpc);
    let started = Instant::now();
    rpc.system_version().await.unwrap_err();
    assert!(started.elapsed() >= Duration::from_millis(400));
    let mut slow = Fault::new(Misbehaviour::Slow).by(Service::XmlRpc);
    (slow.delay, slow.method) = (Some(Duration::from_millis(200)), Some("one.system.version".to_owned()));
    misbehave(&dir, &[slow]).unwrap();
    let started = Instant::now();
    rpc.system_version().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));

    // Lost: the caller knows nothing, and it is done.
    let mut lost = Fault::new(Misbehaviour::Lost).by(Service::All);
    lost.times = Some(2);
    misbehave(&dir, &[lost]).unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let session = Param::Text(bed.session());
    let body = wire::request("one.template.allocate", [&session, &text("NAME=lost")]);
    assert!(http.post(&bed.zones[0].xmlrpc).body(body).send().await.is_err());
    flow.create_service_template(&json!({"name": "lost", "roles": []})).await.unwrap_err();
    misbehave(&dir, &[]).unwrap();
    assert_eq!(rpc.templates().await.unwrap()[1].name, "lost");
    assert_eq!(flow.service_templates().await.unwrap()[0].name, "lost");
    bed.down().await;
}

#[tokio::test]
async fn a_role_that_does_not_boot_fails_the_service_at_the_poll_and_recovers() {
    let bed = up_in(&["madrid"], "[all]\ndelays = { ready_poll_seconds = 0.3 }").await;
    let dir = bed.dir.path().join("sandbox");
    std::fs::write(dir.join("faults"), "answer=boot-failure role=b times=1").unwrap();
    let body = json!({"name": "t", "roles": [role("a", 1), role("b", 1)]});
    let id = bed.start(0, &body, &json!({})).await;
    let service = bed.reach(&id, ServiceState::FailedDeploying).await;
    let vm = bed.rpc(0).vm(&nodes(&service, "b")[0]).await.unwrap();
    assert_eq!(vm.lcm_state, LcmState::BootFailure);
    assert!(vm.user_template["ERROR"].contains("DEPLOY: ERROR"), "{:?}", vm.user_template);
    assert!(bed.rpc(0).vm(&nodes(&service, "a")[0]).await.unwrap().lcm_state == LcmState::Running);
    bed.flow(0).recover(&id).await.unwrap();
    bed.reach(&id, ServiceState::Running).await;
    bed.down().await;
}
