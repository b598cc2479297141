//! CSR up, leaf down: signs what a VM of the federation asks for, after checking that it is from that VM and names
//! only that VM's addresses.

use std::collections::BTreeMap;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_appliance::attribute;
use onefed_context::{Host, San, parse_san_list};
use onefed_federation::Part;
use onefed_opennebula::xmlrpc::Vm;
use onefed_trust::SanName;

use super::wait::{Awaited, Member, is_ready};
use crate::failure::{Exit, Failure};

/// The roles whose VMs serve TLS, and so may have a certificate.
pub(super) const SERVING: [&str; 2] = [SUPERLINK, "gateway"];
/// The role whose VM has the hub.
pub(super) const SUPERLINK: &str = "superlink";

/// Signs requests, each once.
#[derive(Default)]
pub(super) struct Signer {
    /// The last request of each VM that was dealt with.
    seen: BTreeMap<u32, String>,
}

impl Signer {
    /// Signs the request of a VM, if it has a new one. A request that its VM's enrolment key does not vouch for is
    /// somebody else's doing: it is named, not signed, and the VM's own is waited for.
    pub(super) async fn if_asked(&mut self, awaited: &Awaited<'_>, member: &Member) -> Result<(), Failure> {
        let vm = &member.vm;
        let of = |name: &str| vm.user_template.get(name);
        let (Some(request), Some(proof), Some(boot)) =
            (of(attribute::REQUEST), of(attribute::PROOF), of(attribute::GENERATION))
        else {
            return Ok(());
        };
        // A VM that is ready has what it asked for.
        let asks = SERVING.contains(&member.role.as_str()) && !is_ready(vm);
        if !asks || self.seen.get(&vm.id.id) == Some(request) {
            return Ok(());
        }
        let (zone, output) = (awaited.id.zone.as_str(), awaited.work.output);
        let csr =
            STANDARD.decode(request).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
        let Some(key) = &awaited.key else {
            output.say(format!(
                "  {zone}: warning: VM {} shows a signing request, but its service has no enrolment key. Not signed.",
                vm.id
            ));
            self.seen.insert(vm.id.id, request.clone());
            return Ok(());
        };
        let vouched = boot.parse().is_ok_and(|boot| key.verify(proof, vm.id.id, boot, &csr).is_ok());
        if !vouched {
            output.say(format!(
                "  {zone}: warning: VM {} shows a signing request without its proof; somebody in this zone may be tampering with OneGate. Not signed.",
                vm.id
            ));
            self.seen.insert(vm.id.id, request.clone());
            return Ok(());
        }
        let allowed = allowed_names(awaited, vm);
        let root = awaited.work.authority.root()?;
        let leaf = root.sign_server(&csr, &allowed, SystemTime::now()).map_err(|why| {
            let text = format!("VM {} asks for a certificate that it must not have: {why}", vm.id);
            Failure::new(Exit::Permission, "csr-refused", text)
                .hint("a site must not use the hub's address; otherwise look at the VM's network interfaces")
        })?;
        let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
        let detail = format!("VM {} for {}", vm.id.id, names.join(", "));
        let leaf = STANDARD.encode(&leaf);
        let handing = async {
            let xmlrpc = &awaited.room.clients.xmlrpc;
            xmlrpc.vm_update(&vm.id, &[(attribute::CERTIFICATE, &leaf)], true).await?;
            Ok(((), String::new()))
        };
        awaited.work.steps.step(zone, "certificate", &detail, handing).await?;
        output.say(format!("  {zone}: signed the certificate of VM {}", vm.id.id));
        self.seen.insert(vm.id.id, request.clone());
        Ok(())
    }
}

/// What a VM may be called: the addresses that OpenNebula gave it; for the hub also what the plan says, and for nobody
/// else what the hub is called.
fn allowed_names(awaited: &Awaited<'_>, vm: &Vm) -> Vec<SanName> {
    let mut names: Vec<SanName> = vm.nics.iter().filter_map(|nic| nic.ip).map(SanName::Ip).collect();
    // The context has the IPv6 addresses too. It is written by OpenNebula, and no VM can change it.
    let interface = |key: &str| key.starts_with("ETH") && (key.ends_with("_IP") || key.ends_with("_IP6"));
    let addresses =
        vm.context.iter().filter(|(key, _)| interface(key)).filter_map(|(_, value)| value.parse().ok());
    names.extend(addresses.map(SanName::Ip));
    let plan = &awaited.work.federation;
    let own = [&plan.coordinator.variables, &plan.variables];
    let extra = own.iter().find_map(|variables| variables.get("FL_CERT_EXTRA_SAN"));
    let extra = extra.and_then(|text| parse_san_list(text).ok()).unwrap_or_default();
    let mut of_hub: Vec<SanName> = extra
        .into_iter()
        .map(|san| match san {
            San::Ip(ip) => SanName::Ip(ip),
            San::Dns(name) => SanName::Dns(name),
        })
        .collect();
    match &plan.coordinator.address {
        Some(Host::Ip(ip)) => of_hub.push(SanName::Ip(*ip)),
        Some(Host::Name(name)) => of_hub.push(SanName::Dns(name.clone())),
        None => {}
    }
    of_hub.extend(awaited.work.hub.news().hub.map(|hub| SanName::of_host(&hub.host)));
    match awaited.part {
        Part::Coordinator => names.extend(of_hub),
        Part::Site(_) => names.retain(|name| !of_hub.contains(name)),
    }
    names.sort();
    names.dedup();
    names
}
