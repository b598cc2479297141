//! From the text of a plan file to a [`Federation`], with every problem on the way and its place.

mod assemble;
mod coordinator;
mod fields;
mod install;
mod machine;
mod relations;
pub(crate) mod settings;
mod site;
mod syntax;
mod together;
mod zone;

#[cfg(test)]
mod install_tests;
#[cfg(test)]
mod tests;

use std::ops::Range;

use onefed_context::FederationName;
use onefed_flower::{DEFAULT_RELEASE, Release};
use toml::Spanned;
use toml::de::DeTable;

use crate::diagnostic::{Diagnostic, Sink};
use crate::model::{Federation, Network, NetworkMode};

use coordinator::CoordinatorDraft;
use fields::Fields;
use install::InstallDraft;
use settings::{Scope, Settings};
use site::SiteDraft;
use zone::ZoneDraft;

/// The outcome of [`check`].
#[derive(Clone, Debug)]
pub struct Checked {
    /// The federation; only if there is no error.
    pub federation: Option<Federation>,
    /// Everything that is wrong, in the order of the file.
    pub errors: Vec<Diagnostic>,
    /// Everything that is allowed but doubtful, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// Reads a plan file.
///
/// # Errors
/// Every error of the file, in the order of the file. Warnings are in [`Federation::warnings`]; use [`check`] to
/// have them together with errors.
pub fn parse(text: &str) -> Result<Federation, Vec<Diagnostic>> {
    let checked = check(text);
    checked.federation.ok_or(checked.errors)
}

/// Reads a plan file and reports errors and warnings together.
pub fn check(text: &str) -> Checked {
    let mut sink = Sink::new(text);
    let (root, problems) = DeTable::parse_recoverable(text);
    let draft =
        if syntax::note(&problems, &mut sink) { Some(Draft::read(root.get_ref(), &mut sink)) } else { None };
    if let Some(draft) = &draft {
        relations::check(draft, &mut sink);
        together::check(draft, &mut sink);
    }
    let (mut errors, warnings) = sink.finish();
    let federation =
        draft.filter(|_| errors.is_empty()).and_then(|draft| assemble::federation(draft, text, &warnings));
    if federation.is_none() && errors.is_empty() {
        // Not reachable while every part that can be missing is reported; never silent all the same.
        let mut sink = Sink::new(text);
        sink.error("plan::internal", 0..0, "the plan passed every check but could not be put together");
        errors = sink.finish().0;
    }
    Checked { federation, errors, warnings }
}

/// What was read, with places; a part that is missing or wrong is absent and has been reported.
struct Draft {
    name: Option<FederationName>,
    flower: Option<Release>,
    network: Network,
    subnet: Option<Range<usize>>,
    coordinator: Option<CoordinatorDraft>,
    sites: Vec<SiteDraft>,
    zones: Vec<ZoneDraft>,
    install: Option<InstallDraft>,
    settings: Settings,
}

impl Draft {
    fn read(root: &DeTable<'_>, sink: &mut Sink<'_>) -> Self {
        const KEYS: &[&str] =
            &["name", "flower", "network", "coordinator", "site", "zone", "install", "variables"];
        let fields = Fields::open(root, 0..0, "the plan", KEYS, sink);
        fields.require(&["name", "coordinator", "zone"], sink);
        let name = fields.parsed("name", "plan::bad-name", sink);
        let flower = match fields.text("flower", sink) {
            None => Release::of(DEFAULT_RELEASE).ok(),
            Some(text) => read_release(&text, sink),
        };
        let (network, subnet) = read_network(&fields, sink);
        let coordinator = CoordinatorDraft::read(&fields, sink);
        let local = coordinator.as_ref().is_some_and(|coordinator| coordinator.nodes.is_some());
        if !local && fields.get("site").is_none() {
            let message = "the plan needs `site`: a federation has SuperNodes";
            sink.error("plan::missing-key", 0..0, message).hint(
                "a table [[site]] for each place that trains, or `supernodes` in [coordinator] where it is the only one",
            );
        }
        Self {
            name: name.map(Spanned::into_inner),
            flower,
            network,
            subnet,
            coordinator,
            sites: SiteDraft::read_all(&fields, local, sink),
            zones: ZoneDraft::read_all(&fields, sink),
            install: InstallDraft::read(&fields, sink),
            settings: Settings::read(&fields, Scope::All, sink),
        }
    }
}

/// A release that the version table covers.
fn read_release(text: &Spanned<&str>, sink: &mut Sink<'_>) -> Option<Release> {
    match Release::parse(text.get_ref()) {
        Ok(release) => Some(release),
        Err(error) => {
            sink.error("plan::flower-version", text.span(), error.to_string()).hint(error.hint());
            None
        }
    }
}

/// `[network]` and the place of its subnet.
fn read_network(root: &Fields<'_, '_>, sink: &mut Sink<'_>) -> (Network, Option<Range<usize>>) {
    let mut network = Network { mode: NetworkMode::Routed, subnet: None };
    let Some(fields) = root.table("network", "[network]", &["mode", "subnet"], sink) else {
        return (network, None);
    };
    if let Some(mode) = fields.text("mode", sink) {
        match *mode.get_ref() {
            "routed" => network.mode = NetworkMode::Routed,
            "public" => network.mode = NetworkMode::Public,
            "wireguard" => sink
                .error(
                    "plan::planned",
                    mode.span(),
                    "network mode `wireguard` is planned, but this version has no tunnel yet",
                )
                .hint("use \"routed\" where a VPN or a routed network exists, or \"public\""),
            other => sink
                .error("plan::bad-value", mode.span(), format!("`{other}` is not a network mode"))
                .suggest(other, ["routed", "public"], || Some("use \"routed\" or \"public\"".to_owned())),
        }
    }
    let subnet = fields.range("subnet", sink);
    network.subnet = subnet.as_ref().map(|subnet| *subnet.get_ref());
    (network, subnet.map(|subnet| subnet.span()))
}
