//! Makes SuperNodes known to the SuperLink: each VM makes its key itself and shows the public half, and only keys that
//! were registered may come online.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onefed_appliance::attribute;
use onefed_link::connect::AdminClient;
use onefed_trust::NodePublicKey;

use super::wait::{Awaited, Member};
use crate::failure::{Exit, Failure};

/// The role whose VMs run SuperNodes.
const SUPERNODE: &str = "supernode";
/// After a refusal a key is asked for again so much later.
const PAUSE: Duration = Duration::from_secs(5);

/// Registers keys, each once.
#[derive(Default)]
pub(super) struct Registrar {
    admin: Option<AdminClient>,
    /// The last key of each VM that was dealt with.
    seen: BTreeMap<u32, String>,
    /// What was last said of each VM whose key was refused. It is asked for again: a SuperLink that has just started
    /// refuses what it takes a little later.
    refused: BTreeMap<u32, (String, Instant)>,
}

impl Registrar {
    /// Registers the key that a SuperNode's VM shows, if it is a new one. What OneGate says of a VM can be overwritten
    /// by the others of its site: they are one to the operator.
    pub(super) async fn if_asked(&mut self, awaited: &Awaited<'_>, member: &Member) -> Result<(), Failure> {
        let vm = &member.vm;
        let Some(shown) = vm.user_template.get(attribute::NODE_KEY).filter(|_| member.role == SUPERNODE)
        else {
            return Ok(());
        };
        if self.seen.get(&vm.id.id) == Some(shown) {
            return Ok(());
        }
        let refused = self.refused.get(&vm.id.id);
        if refused.is_some_and(|(_, when)| when.elapsed() < PAUSE) {
            return Ok(());
        }
        let first = refused.is_none();
        let (zone, state, output) = (awaited.id.zone.as_str(), &awaited.work.state, awaited.work.output);
        let line = STANDARD.decode(shown).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let key: NodePublicKey = match line.unwrap_or_default().parse() {
            Ok(key) => key,
            Err(why) => {
                output.say(format!("  {zone}: warning: VM {} shows a key that is none: {why}", vm.id));
                self.seen.insert(vm.id.id, shown.clone());
                return Ok(());
            }
        };
        let detail = format!("VM {} with {}", vm.id.id, key.fingerprint());
        if first {
            state.journal("begin", zone, "registration", &detail)?;
        }
        let node = match self.admin(awaited)?.register_node(&key).await {
            Ok(node) => node,
            // One VM's key must not end the others' deployment; this VM itself will not get ready, and is named then.
            Err(why @ (onefed_link::Error::Refused { .. } | onefed_link::Error::Answer { .. })) => {
                let line = format!("  {zone}: warning: VM {} cannot be registered: {why}", vm.id);
                let before = self.refused.insert(vm.id.id, (line.clone(), Instant::now()));
                if before.is_none_or(|(said, _)| said != line) {
                    state.journal("failed", zone, "registration", &format!("{detail}: {why}"))?;
                    output.say(line);
                }
                return Ok(());
            }
            Err(why) => return Err(why.into()),
        };
        state.journal("done", zone, "registration", &format!("{detail} is node {}", node.node_id))?;
        output.say(format!("  {zone}: registered the SuperNode of VM {}", vm.id.id));
        self.seen.insert(vm.id.id, shown.clone());
        Ok(())
    }

    fn admin(&mut self, awaited: &Awaited<'_>) -> Result<&AdminClient, Failure> {
        if self.admin.is_none() {
            let no_hub = || Failure::new(Exit::Failed, "no-hub", "the hub's address is not known yet");
            let hub = awaited.hub.ok_or_else(no_hub)?;
            let work = awaited.work;
            let identity = work.state.operator(&work.root)?;
            let client = AdminClient::new(&hub.host, hub.admin_port, work.root.cert_pem(), &identity)?;
            self.admin = Some(client);
        }
        self.admin.as_ref().ok_or_else(|| Failure::new(Exit::Failed, "no-hub", "no client of the hub"))
    }
}
