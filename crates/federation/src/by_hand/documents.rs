//! OneFlow's two documents: the service template, and what it is instantiated with.

use std::collections::BTreeMap;

use onefed_context::{InputFlag, Problem, RawContext, Role, Variable, validate};
use serde_json::{Map, Value, json};

use super::{ByHand, Kind, problem};

/// SuperNodes at the start, where nobody says how many.
const SUPERNODES: u32 = 2;
/// How many OneFlow may scale a role up to, where more are not asked for.
const MOST_SUPERNODES: u32 = 10;

/// The VM templates of one zone, by their ids there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmTemplates {
    /// For the SuperLink.
    pub superlink: u32,
    /// For SuperNodes.
    pub supernode: u32,
}

impl ByHand {
    /// The service template, for `oneflow-template create`. `network`: the id of the network for the NIC of each VM;
    /// without it, VMs have the NIC of their VM template.
    ///
    /// # Errors
    /// A site without `FL_SITE`.
    pub fn service_template(
        &self,
        vm_templates: VmTemplates,
        network: Option<u32>,
    ) -> Result<Value, Vec<Problem>> {
        self.named()?;
        let roles: Vec<Value> =
            self.roles().iter().map(|role| self.role(*role, vm_templates, network)).collect();
        let (name, description) = match self.kind {
            Kind::Coordinator => ("Coordinator", "SuperLink and hub; its sites are services of their own"),
            Kind::Site => ("Training Site", "SuperNodes that are told where the hub is and what its CA is"),
            Kind::Single => ("Single Site", "SuperLink and SuperNodes in one zone"),
        };
        Ok(json!({
            "name": format!("Flower Federation - {name}"),
            "description": description,
            "deployment": "straight",
            "ready_status_gate": true,
            "shutdown_action": "shutdown",
            "user_inputs": self.declared(None),
            "roles": roles,
        }))
    }

    /// The document for `oneflow-template instantiate`, with a value for every input that the service template
    /// declares: OneFlow refuses an instantiation that leaves one out, optional ones too.
    ///
    /// # Errors
    /// Everything that a VM of the service would refuse at its boot; a mandatory input without a value is among it.
    pub fn merge_template(&self) -> Result<Value, Vec<Problem>> {
        let mut problems: Vec<Problem> = Vec::new();
        for role in self.roles() {
            let found = self.refused(*role).into_iter().filter(|found| !problems.contains(found));
            problems.extend(found.collect::<Vec<_>>());
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let roles = self.roles().iter().map(|role| {
            let mut body = json!({ "name": role, "user_inputs_values": self.values(Some(*role)) });
            let authors = self.authors(*role);
            if let (false, Some(body)) = (authors.is_empty(), body.as_object_mut()) {
                body.insert("template_contents".to_owned(), json!({ "CONTEXT": authors }));
            }
            if let (Role::SuperNode, Some(count), Some(body)) = (*role, self.supernodes, body.as_object_mut())
            {
                body.insert("cardinality".to_owned(), count.into());
            }
            body
        });
        let roles: Vec<Value> = roles.collect();
        Ok(json!({ "user_inputs_values": self.values(None), "roles": roles }))
    }

    /// Two sites of one name could not be told apart by the hub: ids of VMs repeat over zones.
    pub(super) fn named(&self) -> Result<(), Vec<Problem>> {
        const NAME: &str = "FL_SITE";
        if self.kind != Kind::Site || self.given.contains_key(NAME) {
            return Ok(());
        }
        let message = "a training site needs a name of its own in the federation".to_owned();
        let hint = Some("--set FL_SITE=paris".to_owned());
        Err(vec![problem("templates::site-name", NAME, message, hint)])
    }

    fn role(&self, role: Role, vm_templates: VmTemplates, network: Option<u32>) -> Value {
        let (template, count, most) = match role {
            Role::SuperLink | Role::Gateway => (vm_templates.superlink, 1, 1),
            Role::SuperNode => {
                let count = self.supernodes.unwrap_or(SUPERNODES);
                (vm_templates.supernode, count, count.max(MOST_SUPERNODES))
            }
        };
        let mut contents = json!({ "CONTEXT": self.context(role) });
        if let (Some(network), Some(contents)) = (network, contents.as_object_mut()) {
            // By id: OpenNebula looks a network's name up among the user's own networks only.
            contents.insert("NIC".to_owned(), json!([{ "NETWORK_ID": network.to_string() }]));
        }
        let mut body = json!({
            "name": role,
            "type": "vm",
            "template_id": template,
            "cardinality": count,
            "min_vms": count,
            "max_vms": most,
            "shutdown_action": "shutdown",
            "template_contents": contents,
            "user_inputs": self.declared(Some(role)),
        });
        // In one zone OneFlow can hold the SuperNodes back until the SuperLink is ready; over zones nobody can.
        if let (Kind::Single, Role::SuperNode, Some(body)) = (self.kind, role, body.as_object_mut()) {
            body.insert("parents".to_owned(), json!([Role::SuperLink]));
        }
        body
    }

    fn declared(&self, of: Option<Role>) -> Map<String, Value> {
        let field = |row: &&Variable| Some((row.name.to_owned(), self.fields(row)?.into()));
        self.inputs(of).iter().filter_map(field).collect()
    }

    fn values(&self, of: Option<Role>) -> Map<String, Value> {
        self.inputs(of).iter().map(|row| (row.name.to_owned(), self.value(row).into())).collect()
    }

    /// OpenNebula's five fields; the default is what has been chosen.
    pub(super) fn fields(&self, row: &Variable) -> Option<String> {
        row.user_input_as(self.flag(row), self.value(row))
    }

    /// What a VM of this role would refuse, with the context that it gets.
    fn refused(&self, role: Role) -> Vec<Problem> {
        let mut context: BTreeMap<&str, String> = self.context(role);
        // The template has a name, and no second one is needed to instantiate it.
        if self.kind == Kind::Site {
            context.entry("FL_SITE").or_insert_with(|| "site".to_owned());
        }
        let set_by_opennebula =
            [("VMID", "0"), ("ETH0_IP", "192.0.2.1"), ("ONEGATE_ENDPOINT", "http://192.0.2.2:5030")];
        context.extend(set_by_opennebula.map(|(name, value)| (name, value.to_owned())));
        for row in self.inputs(None).into_iter().chain(self.inputs(Some(role))) {
            context.insert(row.name, self.value(row).to_owned());
        }
        let problems = validate(&RawContext::from_pairs(context)).problems;
        let mut problems: Vec<Problem> = problems.into_iter().filter(Problem::is_error).collect();
        for found in &mut problems {
            let name = found.variable.as_deref().and_then(onefed_context::variable);
            if let Some(row) = name.filter(|row| self.flag(row) == InputFlag::Mandatory) {
                found.hint = Some(format!("--set {}=…", row.name));
            }
        }
        problems
    }
}
