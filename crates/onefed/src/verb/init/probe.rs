//! Asking one zone what it is and what it has.

use onefed_opennebula::{
    ImageKind, ZoneName, oneflow,
    xmlrpc::{Image, VmTemplate},
};

use super::discover::rpc;
use super::login::{Login, Start};
use super::zone::{Object, Zone};
use crate::failure::Failure;

/// How the names of locks begin.
const LOCK: &str = "onefed-lock-";

/// Asks; what goes wrong becomes a note.
pub(super) async fn ask(start: &Start, zone: &mut Zone) -> Result<(), Failure> {
    let login = start.login(&zone.names())?;
    zone.auth = login.file.clone();
    zone.ca = login.ca.as_ref().map(|(file, _)| file.clone());
    let Ok(name) = zone.zone.parse::<ZoneName>() else { return Ok(()) };
    let Some(endpoint) = zone.endpoint.clone() else { return Ok(()) };
    let client = rpc(name.as_str(), &endpoint, &login)?;
    match client.system_version().await {
        Ok(version) => {
            zone.supported = version.major >= 7;
            zone.version = Some(version.text);
        }
        Err(why) => {
            zone.notes.push(why.to_string());
            return Ok(());
        }
    }
    if !zone.supported {
        let (zone_name, version) = (&zone.zone, zone.version.as_deref().unwrap_or_default());
        zone.notes.push(format!(
            "zone {zone_name}: OpenNebula {version} is not supported yet: onefed needs 7.0 or later"
        ));
        return Ok(());
    }
    let (templates, networks, images, answers) = tokio::join!(
        client.templates(),
        client.networks(),
        client.images(),
        oneflow_answers(name, zone, &login)
    );
    let noted = &mut Vec::new();
    // The lock of an `apply` is a VM template, but no VM is made from it.
    let templates = templates.map(|all| all.into_iter().filter(|it| !it.name.starts_with(LOCK)).collect());
    zone.templates = said(templates, noted, |it: VmTemplate| object(it.id.id, it.name));
    zone.networks = said(networks, noted, |it| object(it.id.id, it.name));
    // What a VM can boot from.
    let images = images.map(|all| all.into_iter().filter(|it| it.kind == ImageKind::Os).collect());
    zone.images = said(images, noted, |it: Image| object(it.id.id, it.name));
    zone.notes.append(noted);
    match answers {
        None => {}
        Some(Ok(())) => zone.oneflow_answers = true,
        Some(Err(why)) => {
            zone.notes.push(format!("{why} (if OneFlow is elsewhere, give --oneflow {}=URL)", zone.zone));
        }
    }
    Ok(())
}

fn object(id: u32, name: String) -> Object {
    Object { id, name }
}

/// What a zone has, or a note.
fn said<T>(
    answer: Result<Vec<T>, onefed_opennebula::Error>,
    notes: &mut Vec<String>,
    object: impl Fn(T) -> Object,
) -> Option<Vec<Object>> {
    match answer {
        Ok(all) => Some(all.into_iter().map(object).collect()),
        Err(why) => {
            notes.push(why.to_string());
            None
        }
    }
}

async fn oneflow_answers(
    name: ZoneName,
    zone: &Zone,
    login: &Login,
) -> Option<Result<(), onefed_opennebula::Error>> {
    let url = zone.oneflow.clone()?;
    let ask = async {
        let client = oneflow::Client::new(name, url, login.credentials.clone())?;
        let client = match &login.ca {
            Some((_, pem)) => client.with_ca(pem)?,
            None => client,
        };
        client.service_templates().await.map(drop)
    };
    Some(ask.await)
}
