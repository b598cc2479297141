//! The start script: how a VM from an image of the system alone comes to have onefed and Flower in it.
//!
//! Contextualization runs it as root in every boot. It is one text for all VMs of a federation, and has no secret in
//! it: VM templates are read by many.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::{Federation, FlowerFrom, Install, Location, Source};

/// The script without its values, and the line that stands for them.
const TEMPLATE: &str = include_str!("../../../images/start/onefed-start.sh");
const VALUES: &str = "# @VALUES@\n";

/// What an image with onefed in it has as files, and the script writes.
const UNIT: &str = include_str!("../../../images/systemd/onefed-boot.service");
const READY: &str = include_str!("../../../images/systemd/onefed-ready");
const USERS: &str = include_str!("../../../images/systemd/onefed.sysusers.conf");

/// The script for a federation's VMs.
pub(crate) fn script(federation: &Federation, install: &Install) -> String {
    let flower = federation.flower.version().to_string();
    let mut values = Values::default();
    values.set("FLOWER_VERSION", &flower);
    values.source("ONEFED", Some(&install.onefed));
    let (wheels, index) = match &install.flower {
        FlowerFrom::Wheels(source) => (Some(source), None),
        FlowerFrom::Index(index) => (None, index.as_ref()),
    };
    values.source("WHEELS", wheels);
    values.source("REQUIREMENTS", install.requirements.as_ref());
    values.set("INDEX", index.map(url::Url::as_str).unwrap_or_default());
    values.set("BOOT_UNIT", UNIT);
    values.set("READY_SCRIPT", READY);
    values.set("SYSUSERS", USERS);
    TEMPLATE.replacen(VALUES, &values.text, 1)
}

/// The script as a VM template's CONTEXT has it.
pub(crate) fn script_base64(federation: &Federation, install: &Install) -> String {
    STANDARD.encode(script(federation, install))
}

/// Assignments of a shell script.
#[derive(Default)]
struct Values {
    text: String,
}

impl Values {
    fn set(&mut self, name: &str, value: &str) {
        self.text.push_str(name);
        self.text.push('=');
        self.text.push_str(&quote(value));
        self.text.push('\n');
    }

    /// Three values, empty where there is no such source.
    fn source(&mut self, name: &str, source: Option<&Source>) {
        let (url, file) = match source.map(|source| &source.at) {
            Some(Location::Url(url)) => (url.as_str(), ""),
            Some(Location::File(file)) => ("", file.as_str()),
            None => ("", ""),
        };
        self.set(&format!("{name}_URL"), url);
        self.set(&format!("{name}_FILE"), file);
        self.set(&format!("{name}_SHA256"), source.map(|source| source.sha256.as_str()).unwrap_or_default());
    }
}

/// A word of a POSIX shell that stands for exactly this text. A NUL, which no shell can hold, is left out.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\0', "").replace('\'', r"'\''"))
}
