//! Cases of several calls.

mod gate;
mod inputs;
mod lifecycle;
mod login;
mod publications;
mod scaling;
mod service_templates;
mod vm_templates;
mod vms;

use crate::list::{Needs, Story};

macro_rules! stories {
    ($($name:literal $needs:expr => $module:ident::$tell:ident,)*) => {
        /// All of them, in the order in which they are tried.
        pub(crate) const ALL: &[Story] =
            &[$(Story { name: $name, needs: $needs, tell: |stage| Box::pin($module::$tell(stage)) },)*];
    };
}

const GUEST: &str = "the VM would have to come up and publish its readiness";

stories! {
    "login: a token works until it is taken back or expires" Needs::Zone => login::token,
    "VM templates: made, read, changed, deleted" Needs::Zone => vm_templates::life,
    "VM templates: of eight who want a name one gets it" Needs::Zone => vm_templates::race,
    "VM templates: what oned stores of a value" Needs::Zone => vm_templates::values,
    "VMs: held, listed, changed, ended" Needs::Zone => vms::life,
    "VMs: a restricted order of arguments and states" Needs::Zone => vms::refusals,
    "service templates: made, read, replaced, merged" Needs::Zone => service_templates::life,
    "service templates: renamed, copied, given away" Needs::Zone => service_templates::actions,
    "service templates: what passes the schema" Needs::Zone => service_templates::accepted,
    "service templates: deleted with their VM templates" Needs::Zone => service_templates::deleted_with,
    "inputs: each needs a value" Needs::Zone => inputs::required,
    "inputs: where the values go" Needs::Zone => inputs::delivered,
    "services: ready when their VMs say so, and what is refused meanwhile" Needs::Zone => lifecycle::gated,
    "services: READY is looked for as text" Needs::Zone => lifecycle::substring,
    "services: ready without asking" Needs::Zone => lifecycle::no_guest,
    "services: a VM template that there is not" Needs::Zone => lifecycle::no_template,
    "services: parents first" Needs::Zone => lifecycle::parents,
    "services: parents that there are not" Needs::Zone => lifecycle::no_parent,
    "services: renamed, merged, fixed keys" Needs::Zone => lifecycle::changed,
    "services: a VM that is off" Needs::Sandbox(GUEST) => lifecycle::warning,
    "scaling: up, down, limits" Needs::Zone => scaling::up_and_down,
    "scaling: without force" Needs::Zone => scaling::without_force,
    "scaling: the cooldown of 300 s" Needs::Sandbox("it takes five minutes") => scaling::cooldown,
    "gate: who is let in" Needs::Gate => gate::tokens,
    "gate: a VM, its siblings, its service" Needs::Gate => gate::reads,
    "gate: a VM without a service" Needs::Gate => gate::alone,
    "gate: scaling a role" Needs::Gate => gate::scales,
    "gate: forms of a publication" Needs::Gate => publications::forms,
    "gate: what is refused, mangled or protected" Needs::Gate => publications::refused,
}
