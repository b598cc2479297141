//! OneGate misbehaving, as its client sees it.

use super::*;
use crate::{Fault, Misbehaviour, misbehave};
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
    assert_eq!(ask(&bed, gate, vm, "/vm").await.unwrap().0, 200);
    misbehave(&dir, &[Fault::new(Misbehaviour::Hang)]).unwrap();
    bed.down().await;
    assert!(!dir.join("onegate-faults").exists());
}
