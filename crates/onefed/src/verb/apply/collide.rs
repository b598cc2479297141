//! Names that are somebody else's. What has no label of this federation is not ours, whatever it is called: it is not
//! touched, and nothing of that name is made beside it.

use onefed_federation::{Action, Change, ObjectKind, Plan, VmTemplateLabel, ZonePlan};

use super::remove::word;
use crate::failure::{Exit, Failure, join};
use crate::zones::{ZoneClients, Zones};

/// Looks for objects of others that have the name of one that is to be made. All of them are named.
pub(super) async fn check(plan: &Plan, zones: &Zones) -> Result<(), Failure> {
    let asked = plan.zones.iter().filter_map(|here| {
        let clients = zones.get(here.zone.as_str())?;
        let making = here.changes.iter().any(|change| change.action == Action::Create);
        making.then(|| in_zone(plan, here, clients))
    });
    let answers = futures_util::future::join_all(asked).await;
    join(answers.into_iter().flatten().collect()).map_or(Ok(()), Err)
}

/// A zone that does not answer now is one that nothing is made in either, until it does.
async fn in_zone(plan: &Plan, here: &ZonePlan, clients: &ZoneClients) -> Vec<Failure> {
    let wanted = |kind: ObjectKind, name: &str| {
        let is =
            |change: &Change| change.kind == kind && change.name == name && change.action == Action::Create;
        here.changes.iter().any(is)
    };
    let ours = |body: &serde_json::Value| {
        let federation = body.get("onefed").and_then(|label| label.get("federation"));
        federation.and_then(|name| name.as_str()) == Some(plan.federation.as_str())
    };
    let (templates, services, vm_templates) = tokio::join!(
        clients.oneflow.service_templates(),
        clients.oneflow.services(),
        clients.xmlrpc.templates()
    );
    let mut taken: Vec<(ObjectKind, String, u32)> = Vec::new();
    for it in templates.unwrap_or_default().into_iter().filter(|it| !ours(&it.body)) {
        taken.push((ObjectKind::ServiceTemplate, it.name, it.id.id));
    }
    for it in services.unwrap_or_default().into_iter().filter(|it| !ours(&it.body)) {
        taken.push((ObjectKind::Service, it.name, it.id.id));
    }
    for it in vm_templates.unwrap_or_default() {
        let label = it.attributes.vector(VmTemplateLabel::ATTRIBUTE);
        let label = label.and_then(|label| VmTemplateLabel::read(|key| label.get(key).map(String::as_str)));
        if label.is_none_or(|label| label.federation != plan.federation.as_str()) {
            taken.push((ObjectKind::VmTemplate, it.name, it.id.id));
        }
    }
    taken.retain(|(kind, name, _)| wanted(*kind, name));
    let failure = |(kind, name, id): (ObjectKind, String, u32)| {
        let what = word(kind);
        let text = format!(
            "zone {}: there is a {what} {name} #{id} that is not of federation {}, and it is not touched",
            here.zone, plan.federation
        );
        Failure::new(Exit::Configuration, "name-taken", text)
            .hint("rename or remove it, or give the federation another `name`")
    };
    taken.into_iter().map(failure).collect()
}
