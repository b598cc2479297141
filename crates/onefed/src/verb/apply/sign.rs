//! CSR up, leaf down: signs what a VM of the federation asks for, after checking that it is from that VM and names
//! only that VM's addresses.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_appliance::attribute;
use onefed_context::{Host, San, parse_san_list};
use onefed_opennebula::xmlrpc::Vm;
use onefed_trust::SanName;

use super::wait::Gate;
use crate::failure::{Exit, Failure};

/// Signs the request of a VM, if it has a new one.
pub(super) async fn if_asked(gate: &Gate<'_>, vm: &Vm, signed: &mut BTreeMap<u32, String>) -> Result<(), Failure> {
    let of = |name: &str| vm.user_template.get(name);
    let (Some(request), Some(proof), Some(boot)) =
        (of(attribute::REQUEST), of(attribute::PROOF), of(attribute::GENERATION))
    else {
        return Ok(());
    };
    if signed.get(&vm.id.id) == Some(request) {
        return Ok(());
    }
    let refused = |why: String| {
        let text = format!("VM {} asks for a certificate that it must not have: {why}", vm.id);
        Failure::new(Exit::Permission, "csr-refused", text)
            .hint("somebody in this zone may be tampering with OneGate; look at the VMs of the service")
    };
    let csr = STANDARD.decode(request).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let csr = csr.ok_or_else(|| refused("not base64 of a text".to_owned()))?;
    let generation = boot.parse().map_err(|_| refused(format!("boot generation `{boot}`")))?;
    gate.key.verify(proof, vm.id.id, generation, &csr).map_err(|why| refused(why.to_string()))?;
    let allowed = allowed_names(gate, vm);
    let leaf = gate.work.root.sign_server(&csr, &allowed, SystemTime::now()).map_err(|why| refused(why.to_string()))?;
    let zone = gate.id.zone.as_str();
    let detail = format!("VM {} for {}", vm.id.id, allowed.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    gate.work.state.journal("begin", zone, "certificate", &detail)?;
    gate.zone.xmlrpc.vm_update(&vm.id, &[(attribute::CERTIFICATE, &STANDARD.encode(&leaf))], true).await?;
    gate.work.state.journal("done", zone, "certificate", &detail)?;
    gate.work.output.say(format!("  {zone}: signed the certificate of VM {}", vm.id.id));
    signed.insert(vm.id.id, request.clone());
    Ok(())
}

/// What a VM may be called: the addresses that OpenNebula gave it, and for the hub what the plan says.
fn allowed_names(gate: &Gate<'_>, vm: &Vm) -> Vec<SanName> {
    let mut names: Vec<SanName> = vm.nics.iter().filter_map(|nic| nic.ip).map(SanName::Ip).collect();
    let coordinator = onefed_federation::Part::Coordinator;
    if gate.name == gate.work.federation.object_name(coordinator) {
        match &gate.work.federation.coordinator.address {
            Some(Host::Ip(ip)) => names.push(SanName::Ip(*ip)),
            Some(Host::Name(name)) => names.push(SanName::Dns(name.clone())),
            None => {}
        }
        let plan = &gate.work.federation;
        let extra = plan.coordinator.variables.get("FL_CERT_EXTRA_SAN").or_else(|| plan.variables.get("FL_CERT_EXTRA_SAN"));
        let extra = extra.and_then(|text| parse_san_list(text).ok()).unwrap_or_default();
        names.extend(extra.into_iter().map(|san| match san {
            San::Ip(ip) => SanName::Ip(ip),
            San::Dns(name) => SanName::Dns(name),
        }));
    }
    names.sort();
    names.dedup();
    names
}
