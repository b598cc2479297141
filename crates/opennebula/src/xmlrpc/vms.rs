//! Virtual machines.

use super::{Client, Owner, common, int, wire::Param};
use crate::xml::Element;
use crate::{Error, LcmState, VmId, VmState, VnetId, ZoneName, template};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What to do with a VM; `terminate` on a VM that is already done succeeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmAction {
    /// Orderly end.
    Terminate,
    /// End at once.
    TerminateHard,
    /// Switch off in an orderly way, keep the disks.
    Poweroff,
    /// Switch off at once, keep the disks. Also overrides a [`Poweroff`](Self::Poweroff) that takes too long.
    PoweroffHard,
    /// Start again what is powered off, stopped or suspended.
    Resume,
    /// Keep from being scheduled.
    Hold,
    /// Let a held VM go.
    Release,
    /// Ask the guest to restart. OpenNebula shows no other state meanwhile.
    Reboot,
    /// Reset the guest.
    RebootHard,
}

impl VmAction {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminate => "terminate",
            Self::TerminateHard => "terminate-hard",
            Self::Poweroff => "poweroff",
            Self::PoweroffHard => "poweroff-hard",
            Self::Resume => "resume",
            Self::Hold => "hold",
            Self::Release => "release",
            Self::Reboot => "reboot",
            Self::RebootHard => "reboot-hard",
        }
    }
}

/// A network interface of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nic {
    /// IPv4 address, unless the network has none.
    pub ip: Option<IpAddr>,
    /// MAC address.
    pub mac: String,
    /// Network name.
    pub network: String,
    /// Network id.
    pub network_id: Option<VnetId>,
}

/// A VM with everything that onefed asks of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Its id.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// STATE.
    pub state: VmState,
    /// LCM_STATE, meaningful while ACTIVE.
    pub lcm_state: LcmState,
    /// USER_TEMPLATE without its nested attributes: what the VM published and what OneFlow put there.
    pub user_template: BTreeMap<String, String>,
    /// TEMPLATE/CONTEXT.
    pub context: BTreeMap<String, String>,
    /// Interfaces in order.
    pub nics: Vec<Nic>,
    /// The OneFlow service, in the same zone. Written by OneFlow, but a user may overwrite it.
    pub service_id: Option<u32>,
    /// The role in the service.
    pub role_name: Option<String>,
}

/// A VM in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmSummary {
    /// Its id.
    pub id: VmId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// STATE.
    pub state: VmState,
    /// LCM_STATE, meaningful while ACTIVE.
    pub lcm_state: LcmState,
}

/// What every VM has.
const VM: (&str, &str) = ("VM", "ID, NAME or STATE");

impl Client {
    /// One VM (`one.vm.info`), without decryption of encrypted attributes.
    ///
    /// # Errors
    /// As any call; [`Error::NotFound`] for a number that never was (a VM that is done is still found).
    pub async fn vm(&self, id: &VmId) -> Result<Vm, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Bool(false)];
        self.object("one.vm.info", &number.to_string(), &params, VM, vm).await
    }

    /// Several VMs in one call (`one.vmpool.infoset`), by number. Those that never were, and those that the user may
    /// not see, are not in the answer; VMs that are done are.
    ///
    /// # Errors
    /// As any call.
    pub async fn vms(&self, ids: &[VmId]) -> Result<Vec<Vm>, Error> {
        let mut numbers = Vec::new();
        for id in ids {
            numbers.push(self.own(&id.zone, id.id, id)?.to_string());
        }
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let params = [Param::Text(numbers.join(",")), Param::Bool(true)];
        let mut vms = self.pool("one.vmpool.infoset", &params, VM, vm).await?;
        vms.sort_by_key(|vm| vm.id.id);
        Ok(vms)
    }

    /// All VMs that the user may see and that are not done (`one.vmpool.info`), by number. oned abridges them here.
    ///
    /// # Errors
    /// As any call.
    pub async fn vm_pool(&self) -> Result<Vec<VmSummary>, Error> {
        // -2: all that the user may see; the last -1: any state but DONE.
        let params = [-2, -1, -1, -1].map(Param::Int);
        let mut vms = self.pool("one.vmpool.info", &params, VM, summary).await?;
        vms.sort_by_key(|vm| vm.id.id);
        Ok(vms)
    }

    /// Writes attributes into the VM's USER_TEMPLATE (`one.vm.update`). With `append` the other attributes stay, without
    /// it these replace all of them.
    ///
    /// # Errors
    /// [`Error::BadInput`] for names or values that cannot be sent, or as any call.
    pub async fn vm_update(&self, id: &VmId, attributes: &[(&str, &str)], append: bool) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let text = template::attributes(attributes)?;
        let params = [int(number), Param::Text(text), Param::Int(i32::from(append))];
        self.write("one.vm.update", &number.to_string(), &params).await
    }

    /// Does something to a VM (`one.vm.action`). Returns when oned has accepted it: the states on the way and the end
    /// show in [`vm`](Self::vm).
    ///
    /// # Errors
    /// [`Error::Conflict`] in a state that does not allow it, or as any call.
    pub async fn vm_action(&self, id: &VmId, action: VmAction) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [Param::Text(action.as_str().into()), int(number)];
        self.write("one.vm.action", &format!("{}, {number}", action.as_str()), &params).await
    }

    /// Changes the configuration of a VM (`one.vm.updateconf`). `template` is template text, as of
    /// [`template::vector`]; oned reads OS, FEATURES, INPUT, GRAPHICS, VIDEO, RAW, CPU_MODEL, BACKUP_CONFIG and CONTEXT
    /// of it and ignores everything else.
    ///
    /// With `append` what is given is laid over what is there. Without it, it replaces it, and those of these attributes
    /// that are not given are removed, except CONTEXT, which stays when none is given. See
    /// [`vm_update_context`](Self::vm_update_context) for what becomes of a CONTEXT.
    ///
    /// # Errors
    /// [`Error::Conflict`] in a state that does not allow it, such as BOOT or HOTPLUG; [`Error::Refused`] with code 8192
    /// for text that oned cannot read and for changed `ETHn_*`; or as any call.
    pub async fn vm_updateconf(&self, id: &VmId, template: &str, append: bool) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Text(template.to_owned()), Param::Int(i32::from(append))];
        self.write("one.vm.updateconf", &number.to_string(), &params).await
    }

    /// Changes the CONTEXT of a VM by [`vm_updateconf`](Self::vm_updateconf). A running VM (through LCM state HOTPLUG)
    /// gets the new context at once, any other one at its next start.
    ///
    /// Without `append`, variables that are not given are gone. oned keeps DISK_ID and TARGET and, with NETWORK=YES,
    /// makes `ETHn_*` again. ONEGATE_ENDPOINT and VMID it makes again only when TOKEN=YES is new: a replacement for the
    /// context of a VM that had TOKEN=YES has to hold them too, as the template that OpenNebula's own `onevm updateconf`
    /// puts into its editor does.
    ///
    /// # Errors
    /// As [`vm_updateconf`](Self::vm_updateconf); [`Error::BadInput`] for names or values that cannot be sent.
    pub async fn vm_update_context(
        &self,
        id: &VmId,
        variables: &[(&str, &str)],
        append: bool,
    ) -> Result<(), Error> {
        let text = template::vector("CONTEXT", variables)?;
        self.vm_updateconf(id, &text, append).await
    }
}

fn vm(zone: &ZoneName, xml: &Element) -> Option<Vm> {
    let template = xml.child("TEMPLATE");
    let user_template = xml.child("USER_TEMPLATE").map(Element::attributes).unwrap_or_default();
    let nic = |n: &Element| Nic {
        ip: n.number_of("IP").or_else(|| n.number_of("IP6")),
        mac: n.text_of("MAC").unwrap_or_default().to_owned(),
        network: n.text_of("NETWORK").unwrap_or_default().to_owned(),
        network_id: n.number_of("NETWORK_ID").map(|id| VnetId::new(zone.clone(), id)),
    };
    Some(Vm {
        id: VmId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        state: VmState::from(xml.number_of::<i32>("STATE")?),
        lcm_state: LcmState::from(xml.number_of::<i32>("LCM_STATE").unwrap_or(0)),
        context: template.and_then(|t| t.child("CONTEXT")).map(Element::attributes).unwrap_or_default(),
        nics: template.into_iter().flat_map(|t| t.all("NIC")).map(nic).collect(),
        service_id: user_template.get("SERVICE_ID").and_then(|s| s.trim().parse().ok()),
        role_name: user_template.get("ROLE_NAME").cloned(),
        user_template,
    })
}

fn summary(zone: &ZoneName, xml: &Element) -> Option<VmSummary> {
    Some(VmSummary {
        id: VmId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        owner: common::owner(xml),
        state: VmState::from(xml.number_of::<i32>("STATE")?),
        lcm_state: LcmState::from(xml.number_of::<i32>("LCM_STATE").unwrap_or(0)),
    })
}
