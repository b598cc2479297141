//! VM templates, for `onetemplate create`.

use onefed_context::{Problem, Role, vm_template_with};

use super::{ByHand, Kind};

/// What a VM of the template gets of its host and of its zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Processors.
    pub cpus: u32,
    /// MiB.
    pub memory: u32,
    /// The id of the image that it boots from.
    pub image: Option<u32>,
    /// The id of its network.
    pub network: Option<u32>,
}

impl ByHand {
    /// The VM template of a role, in OpenNebula's own syntax. What is not known of the zone is left as a comment, which
    /// OpenNebula skips; OneFlow may give the NIC instead.
    ///
    /// # Errors
    /// A site without `FL_SITE`.
    pub fn vm_template(&self, role: Role, hardware: &Hardware) -> Result<String, Vec<Problem>> {
        self.named()?;
        let name = match role {
            Role::SuperLink => "Flower SuperLink",
            Role::Gateway => "Flower Gateway",
            Role::SuperNode => "Flower SuperNode",
        };
        let part = |key: &str, id: Option<u32>, what: &str, of: &str| match id {
            Some(id) => format!("{key} = [ {of} = \"{id}\" ]\n"),
            None => format!("# {key} = [ {of} = \"…\" ]    the id of {what}\n"),
        };
        let (cpus, memory) = (hardware.cpus, hardware.memory);
        let mut text =
            format!("NAME = \"{name}\"\nCPU = \"{cpus}\"\nVCPU = \"{cpus}\"\nMEMORY = \"{memory}\"\n");
        // Numerical packages are built for more than the hypervisor's own default; the console comes from another host.
        text += "CPU_MODEL = [ MODEL = \"host-passthrough\" ]\nGRAPHICS = [ LISTEN = \"0.0.0.0\", TYPE = \"VNC\" ]\n";
        text += &part("DISK", hardware.image, "the image with onefed and Flower", "IMAGE_ID");
        text += &part("NIC", hardware.network, "the network, unless the service gives it", "NETWORK_ID");
        let mut more = self.authors(role);
        if self.kind == Kind::Site {
            more.insert("FL_GATEWAY", "embedded".to_owned());
        }
        let more: Vec<(&str, &str)> = more.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let input = |row: &onefed_context::Variable| {
            if self.asks(role, row) { self.fields(row) } else { None }
        };
        text += &vm_template_with(role, &input, &more);
        Ok(text)
    }
}
