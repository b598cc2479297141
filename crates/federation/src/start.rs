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

/// What an image with onefed in it has as files, and the script writes: one text for both.
const UNIT: &str = include_str!("../../../images/systemd/onefed-boot.service");
const USERS: &str = include_str!("../../../images/systemd/onefed.sysusers.conf");

/// The start script of a federation's VMs, as its VM templates have it; none where the plan has no `[install]`.
pub fn start_script(federation: &Federation) -> Option<String> {
    federation.install.as_ref().map(|install| script(federation, install))
}

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

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use proptest::prelude::*;

    use super::*;
    use crate::parse;

    const ONE_ZONE: &str = include_str!("../../../examples/one-zone.toml");

    /// What a shell prints when it runs this.
    fn shell(script: &str) -> Vec<u8> {
        let out = Command::new("sh").arg("-c").arg(script).stdin(Stdio::null()).output().unwrap();
        assert!(out.status.success() && out.stderr.is_empty(), "{script}\n{out:?}");
        out.stdout
    }

    fn rendered(install: &str) -> String {
        let (head, _) = ONE_ZONE.split_once("[install]").unwrap();
        start_script(&parse(&format!("{head}[install]\n{install}")).unwrap()).unwrap()
    }

    #[test]
    fn every_value_is_where_the_template_asks_for_it() {
        let script = start_script(&parse(ONE_ZONE).unwrap()).unwrap();
        assert!(!script.contains("@VALUES@"));
        for name in script.lines().filter_map(|line| line.split_once("='")).map(|(name, _)| name) {
            assert!(TEMPLATE.contains(&format!("${name}")) || name.contains(' '), "{name} is for nobody");
        }
        let (values, _) = script.split_once("\nPATH=").unwrap();
        let told = shell(&format!("{values}\nprintf '%s' \"$BOOT_UNIT\""));
        assert_eq!(String::from_utf8(told).unwrap(), UNIT, "the unit of an image, and no second copy");
    }

    #[test]
    fn the_same_plan_gives_the_same_bytes() {
        let federation = parse(ONE_ZONE).unwrap();
        assert_eq!(start_script(&federation), start_script(&federation));
        let install = federation.install.as_ref().unwrap();
        let decoded = STANDARD.decode(script_base64(&federation, install)).unwrap();
        assert_eq!(decoded, script(&federation, install).into_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_shell_reads_back_what_was_quoted(value in "(?s)[^\0]{0,60}", nasty in "[$`'\"\\\\!\n;|&*{}() a-z@V]{0,60}") {
            for value in [value, nasty] {
                let mut values = Values::default();
                values.set("IT", &value);
                let told = shell(&format!("{}printf '%s' \"$IT\"", values.text));
                prop_assert_eq!(String::from_utf8(told).unwrap(), value);
            }
        }

        #[test]
        fn no_address_gets_out_of_its_quotes(path in "[!$-.0-\\[\\]-~ é/]{0,40}[a-z]") {
            let sum = "0".repeat(64);
            let name: String = path.chars().filter(|c| !matches!(c, '/' | '?')).collect();
            let url = format!("https://example.org/x{name}?{path}");
            let parsed = url::Url::parse(&url).unwrap();
            let script = rendered(&format!("onefed = {{ url = \"{url}\", sha256 = '{sum}' }}\nindex = \"{url}\"\n"));
            let (values, _) = script.split_once("\nPATH=").unwrap();
            let told = shell(&format!("{values}\nprintf '%s %s' \"$ONEFED_URL\" \"$INDEX\""));
            prop_assert_eq!(String::from_utf8(told).unwrap(), format!("{parsed} {parsed}"));
        }
    }
}
