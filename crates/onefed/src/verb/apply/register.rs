//! Makes SuperNodes known to the SuperLink: each VM makes its key itself and shows the public half, and only keys that
//! were registered may come online.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_appliance::attribute;
use onefed_link::Error as LinkError;
use onefed_link::connect::AdminClient;
use onefed_opennebula::xmlrpc::Vm;
use onefed_trust::NodePublicKey;

use super::hub::Coordinator;
use super::wait::{Awaited, Member};
use crate::failure::Failure;
use crate::state::HubAddress;

/// The role whose VMs run SuperNodes.
pub(super) const SUPERNODE: &str = "supernode";
/// After a refusal, or without an answer, a key is asked for again so much later.
const PAUSE: Duration = Duration::from_secs(5);
/// A hub whose zone is down may answer all the same; it is not waited for.
const ATTEMPT: Duration = Duration::from_secs(2);

/// Registers keys, each once.
#[derive(Default)]
pub(super) struct Registrar {
    /// The hub, and its client.
    admin: Option<(HubAddress, AdminClient)>,
    /// The last key of each VM that was dealt with.
    seen: BTreeMap<u32, String>,
    /// What was last said of each VM whose key was refused. It is asked for again: a SuperLink that has just started
    /// refuses what it takes a little later.
    refused: BTreeMap<u32, (String, Instant)>,
    /// When the hub did not answer.
    silent: Option<Instant>,
}

impl Registrar {
    /// Registers the key that a SuperNode's VM shows, if it is a new one. What OneGate says of a VM can be overwritten
    /// by the others of its site: they are one to the operator. While the hub is not there yet, this is for later.
    pub(super) async fn if_asked(&mut self, awaited: &Awaited<'_>, member: &Member) -> Result<(), Failure> {
        let vm = &member.vm;
        let Some(shown) = vm.user_template.get(attribute::NODE_KEY).filter(|_| member.role == SUPERNODE)
        else {
            return Ok(());
        };
        let refused = self.refused.get(&vm.id.id);
        let pauses = [refused.map(|(_, when)| *when), self.silent];
        if self.seen.get(&vm.id.id) == Some(shown)
            || pauses.into_iter().flatten().any(|when| when.elapsed() < PAUSE)
        {
            return Ok(());
        }
        let news = awaited.work.hub.news();
        let Some(hub) = news.hub.filter(|_| news.coordinator != Coordinator::Coming) else { return Ok(()) };
        let (zone, output) = (awaited.id.zone.as_str(), awaited.work.output);
        let line = STANDARD.decode(shown).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let key: NodePublicKey = match line.unwrap_or_default().parse() {
            Ok(key) => key,
            Err(why) => {
                output.say(format!("  {zone}: warning: VM {} shows a key that is none: {why}", vm.id));
                self.seen.insert(vm.id.id, shown.clone());
                return Ok(());
            }
        };
        let admin = self.admin(awaited, &hub)?;
        if news.coordinator == Coordinator::Missing {
            let answers =
                tokio::time::timeout(ATTEMPT, admin.status()).await.is_ok_and(|status| status.is_ok());
            if !answers {
                self.silent = Some(Instant::now());
                return Ok(());
            }
        }
        self.register(awaited, vm, admin, &key, shown).await
    }

    async fn register(
        &mut self,
        awaited: &Awaited<'_>,
        vm: &Vm,
        admin: AdminClient,
        key: &NodePublicKey,
        shown: &str,
    ) -> Result<(), Failure> {
        let (zone, output) = (awaited.id.zone.as_str(), awaited.work.output);
        let detail = format!("VM {} with {}", vm.id.id, key.fingerprint());
        let registering = async {
            match admin.register_node(key).await {
                Ok(node) => Ok((Ok(()), format!("is node {}", node.node_id))),
                // One VM's key must not end the others' deployment; this VM itself will not get ready, and is named then.
                Err(why @ (LinkError::Refused { .. } | LinkError::Answer { .. })) => {
                    Ok((Err(Some(why.to_string())), format!("is refused: {why}")))
                }
                // It was there a moment ago, or will be.
                Err(why @ (LinkError::Unreachable { .. } | LinkError::Timeout { .. })) => {
                    Ok((Err(None), format!("has no answer: {why}")))
                }
                Err(why) => Err(why.into()),
            }
        };
        match awaited.work.steps.step(zone, "registration", &detail, registering).await? {
            Ok(()) => {
                output.say(format!("  {zone}: registered the SuperNode of VM {}", vm.id.id));
                self.seen.insert(vm.id.id, shown.to_owned());
            }
            Err(None) => self.silent = Some(Instant::now()),
            Err(Some(why)) => {
                let line = format!("  {zone}: warning: VM {} cannot be registered: {why}", vm.id);
                let before = self.refused.insert(vm.id.id, (line.clone(), Instant::now()));
                if before.is_none_or(|(said, _)| said != line) {
                    output.say(line);
                }
            }
        }
        Ok(())
    }

    fn admin(&mut self, awaited: &Awaited<'_>, hub: &HubAddress) -> Result<AdminClient, Failure> {
        if let Some((_, client)) = self.admin.as_ref().filter(|(at, _)| at == hub) {
            return Ok(client.clone());
        }
        let authority = &awaited.work.authority;
        let identity = awaited.work.steps.state.operator(authority)?;
        let client = AdminClient::new(&hub.host, hub.admin_port, authority.cert_pem(), &identity)?;
        self.admin = Some((hub.clone(), client.clone()));
        Ok(client)
    }
}
