//! A VM as the zone knows it, and how XML-RPC and OneGate show it.

use crate::access::{Caller, Owned};
use crate::addresses::Plan;
use crate::attributes::{Attributes, cdata, text, xml};
use crate::context::Variables;
use crate::supervisor::Command;
use crate::zone::now;
use onefed_opennebula::{LcmState, VmState};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;

/// A network interface.
#[derive(Clone, Debug)]
pub(crate) struct Nic {
    /// Last octet of its lease.
    pub(crate) octet: u8,
    /// Number and name of its network.
    pub(crate) network: u32,
    pub(crate) name: String,
}

#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) owned: Owned,
    pub(crate) state: VmState,
    pub(crate) lcm: LcmState,
    /// Seconds since 1970.
    pub(crate) started: u64,
    pub(crate) user_template: Attributes,
    /// CPU, MEMORY and other attributes that are not the user's.
    pub(crate) capacity: Attributes,
    pub(crate) context: Variables,
    pub(crate) nics: Vec<Nic>,
    /// Last octet of the inside address: the first interface's lease.
    pub(crate) octet: u8,
    /// OneGate's token, without newline.
    pub(crate) token: String,
    /// An update contained READY=YES: OneFlow saw the event.
    pub(crate) ready_event: bool,
    pub(crate) commands: UnboundedSender<Command>,
    /// How often its state has changed: each time is an event for OneFlow.
    pub(crate) transitions: u64,
    /// Its owner may use the zone's hosts.
    pub(crate) may_use_hosts: bool,
    /// Where it was placed.
    pub(crate) host: Option<u32>,
    /// Images of its disks.
    pub(crate) images: Vec<u32>,
    /// Seconds since 1970, 0 before its end.
    pub(crate) ended: u64,
}

impl Vm {
    /// A VM that waits for being started, without anything but a number and a name.
    pub(crate) fn new(id: u32, name: String, commands: UnboundedSender<Command>) -> Self {
        Self {
            id,
            name,
            owned: Caller::oneadmin().owned(),
            state: VmState::Pending,
            lcm: LcmState::Init,
            started: now(),
            user_template: Attributes::new(),
            capacity: Attributes::new(),
            context: Variables::new(),
            nics: Vec::new(),
            octet: 0,
            token: String::new(),
            ready_event: false,
            commands,
            transitions: 0,
            may_use_hosts: true,
            host: None,
            images: Vec::new(),
            ended: 0,
        }
    }

    /// Every change of its state goes through here.
    pub(crate) fn set(&mut self, state: VmState, lcm: LcmState) {
        if (self.state, self.lcm) != (state, lcm) {
            (self.state, self.lcm) = (state, lcm);
            self.transitions += 1;
            if state == VmState::Done {
                self.ended = now();
            }
        }
    }

    /// Applies an update of USER_TEMPLATE. `sent` is the text as it came, in which OneFlow looks for READY.
    pub(crate) fn update(&mut self, sent: &str, attributes: Attributes, append: bool) {
        // OneFlow's own test: the text without quotes and blanks contains it, wherever.
        let bare: String = sent.chars().filter(|c| !matches!(c, ' ' | '"')).collect();
        self.ready_event |= bare.contains("READY=YES");
        if !append {
            self.user_template.clear();
        }
        self.user_template.extend(attributes);
    }

    /// What OneFlow's poll wants: exactly YES.
    pub(crate) fn says_ready(&self) -> bool {
        self.user_template.get("READY").is_some_and(|v| text(v).trim() == "YES")
    }

    /// In a state that OneFlow's watchdog warns about.
    pub(crate) fn alarms(&self) -> bool {
        self.state == VmState::Poweroff || self.is_active(LcmState::Unknown) || self.has_failed()
    }

    /// Off in one of the ways that OneFlow takes for success while it waits.
    pub(crate) fn is_off(&self) -> bool {
        matches!(self.state, VmState::Poweroff | VmState::Stopped | VmState::Suspended | VmState::Undeployed)
    }

    /// Its process could not be started.
    pub(crate) fn has_failed(&self) -> bool {
        matches!(self.lcm, LcmState::BootFailure | LcmState::PrologFailure)
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == VmState::Active && self.lcm == LcmState::Running
    }

    fn nic(&self, plan: Plan, at: usize, nic: &Nic) -> Attributes {
        let pairs = [
            ("AR_ID", "0".to_owned()),
            ("BRIDGE", "lo".to_owned()),
            ("IP", plan.outside(nic.octet).to_string()),
            ("MAC", plan.mac(nic.octet)),
            ("NAME", format!("NIC{at}")),
            ("NETWORK", nic.name.clone()),
            ("NETWORK_ID", nic.network.to_string()),
            ("NIC_ID", at.to_string()),
        ];
        pairs.into_iter().map(|(k, v)| (k.to_owned(), Value::String(v))).collect()
    }

    fn template(&self, plan: Plan) -> Attributes {
        let mut template = self.capacity.clone();
        template.insert("CONTEXT".to_owned(), json!(self.context));
        let nics = self.nics.iter().enumerate().map(|(at, nic)| Value::Object(self.nic(plan, at, nic)));
        template.insert("NIC".to_owned(), nics.collect());
        template.insert("VMID".to_owned(), json!(self.id.to_string()));
        template
    }

    /// As `one.vm.info`.
    pub(crate) fn to_xml(&self, plan: Plan) -> String {
        let template = xml(&self.template(plan));
        self.xml(&self.owned.permissions_xml(), &template, &xml(&self.user_template))
    }

    /// As `one.vmpool.info`: without context, permissions and most of the user's attributes.
    pub(crate) fn to_xml_short(&self, plan: Plan) -> String {
        let mut template = self.template(plan);
        template.retain(|key, _| matches!(key.as_str(), "CPU" | "MEMORY" | "VCPU" | "NIC" | "GRAPHICS"));
        let mut user = self.user_template.clone();
        user.retain(|key, _| key.starts_with("SCHED_") || key == "LABELS");
        self.xml("", &xml(&template), &xml(&user))
    }

    fn xml(&self, permissions: &str, template: &str, user: &str) -> String {
        let placed = |host: u32| {
            format!(
                "<HISTORY><OID>{}</OID><SEQ>0</SEQ><HID>{host}</HID><STIME>{}</STIME></HISTORY>",
                self.id, self.started
            )
        };
        format!(
            "<VM><ID>{}</ID>{}<NAME>{}</NAME>{permissions}<LAST_POLL>0</LAST_POLL><STATE>{}</STATE><LCM_STATE>{}</LCM_STATE>\
             <RESCHED>0</RESCHED><STIME>{}</STIME><ETIME>{}</ETIME><DEPLOY_ID>one-{}</DEPLOY_ID><MONITORING/>\
             <TEMPLATE>{template}</TEMPLATE><USER_TEMPLATE>{user}</USER_TEMPLATE><HISTORY_RECORDS>{}</HISTORY_RECORDS></VM>",
            self.id,
            self.owned.ids_xml(),
            cdata(&self.name),
            self.state.number(),
            self.lcm.number(),
            self.started,
            self.ended,
            self.id,
            self.host.map(placed).unwrap_or_default(),
        )
    }

    /// As OneGate's `/vm`.
    pub(crate) fn to_gate(&self, plan: Plan) -> Value {
        let nics = self.nics.iter().enumerate().map(|(at, nic)| {
            json!({"IP": plan.outside(nic.octet), "MAC": plan.mac(nic.octet), "NAME": format!("NIC{at}"), "NETWORK": nic.name})
        });
        json!({"VM": {
            "NAME": self.name,
            "ID": self.id.to_string(),
            "STATE": self.state.number().to_string(),
            "LCM_STATE": self.lcm.number().to_string(),
            "USER_TEMPLATE": self.user_template,
            "TEMPLATE": {"NIC": nics.collect::<Vec<_>>(), "NIC_ALIAS": []},
        }})
    }

    /// As a member of OneGate's extended `/service`: one interface is an object, several are an array.
    pub(crate) fn to_gate_extended(&self, plan: Plan) -> Value {
        let mut template = self.template(plan);
        if let Some(Value::Array(nics)) = template.get_mut("NIC")
            && nics.len() == 1
            && let Some(only) = nics.pop()
        {
            template.insert("NIC".to_owned(), only);
        }
        let mut vm = self.summary();
        vm["VM"]["STATE"] = json!(self.state.number().to_string());
        vm["VM"]["LCM_STATE"] = json!(self.lcm.number().to_string());
        vm["VM"]["USER_TEMPLATE"] = json!(self.user_template);
        vm["VM"]["TEMPLATE"] = Value::Object(template);
        vm
    }

    /// As in a service's nodes.
    pub(crate) fn summary(&self) -> Value {
        let Owned { uid, gid, uname, gname, .. } = &self.owned;
        json!({"VM": {"ID": self.id.to_string(), "UID": uid.to_string(), "GID": gid.to_string(), "UNAME": uname,
            "GNAME": gname, "NAME": self.name}})
    }
}
