//! `onefed support`: everything that helps to understand what is wrong, in one file without a secret in it.

mod attributes;
mod bundle;
mod plan_text;
mod secrets;
mod zone;

use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use onefed_federation::Federation;
use serde_json::{Value, json};

use self::bundle::{Bundle, free_name};
use self::secrets::Secrets;
use crate::cli::Place;
use crate::failure::{Done, Exit};
use crate::output::Output;
use crate::state::State;
use crate::zones::{self, Operator};
use crate::{plan_file, verb};

const ABOUT: &str = "\
What `onefed support` has collected. It holds no keys, passwords, tokens or logins: of variables and attributes only
those are shown that are known to be harmless, and everything that was held back, or is known here to be a secret, was
cut out of all other texts. Names of zones, sites, files and networks and their addresses are in it.

version.json     onefed and this machine
federation.toml  the plan file without comments, node_config and secret variables
problems.json    what is wrong with the plan file
plan.json        what `onefed plan` says
status.json      what `onefed status` says; status.txt is its screen
inventory.json   where the last `apply` has left the hub
journal.jsonl    what was done, step by step
clocks.json      how far the clocks of the zones' front ends are ahead of this machine's
zones/           for each zone: version, the federation's services with their logs, and their VMs
missing.txt      what could not be collected, and why
";

/// Collects, writes, and shows what is in it. What does not answer is noted in the bundle.
pub(crate) async fn run(place: &Place, out: Option<&Path>, output: Output) -> Done {
    let (mut bundle, mut secrets) = (Bundle::default(), Secrets::default());
    bundle.text("about.txt", ABOUT);
    bundle.json("version.json", &version());
    secrets.state(&place.state);
    plan(&mut bundle, &mut secrets, place);
    state_files(&mut bundle, &mut secrets, &place.state);
    let federation = match plan_file::load(&place.file, output) {
        Ok(federation) => Some(federation),
        Err(why) => {
            bundle.missing(format!("zones, plan, status: {}", why.message));
            None
        }
    };
    if let Some(federation) = &federation {
        logins(federation, &mut secrets);
        names(federation, &mut secrets);
        zones(&mut bundle, &mut secrets, federation, place).await;
    }
    let bundle = bundle.sealed(&secrets);
    let name = federation.as_ref().map(|federation| federation.name.as_str());
    let path: PathBuf = out.map_or_else(|| free_name(name), Path::to_owned);
    bundle.write(&path)?;

    let entries = bundle.entries();
    for entry in &entries {
        output.text(format!("{:>9}  {}", entry.bytes, entry.path));
    }
    for what in &bundle.missing {
        output.say(format!("  not collected: {}", crate::table::plain(what)));
    }
    output.say(format!(
        "{} holds no secret that onefed knows; look through it before you send it",
        path.display()
    ));
    output.json(&json!({
        "schema_version": 1,
        "file": path.display().to_string(),
        "contents": entries,
        "missing": bundle.missing,
    }));
    Ok(Exit::Ok)
}

fn version() -> Value {
    json!({
        "onefed": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
        "kernel": rustix::system::uname().release().to_string_lossy(),
    })
}

/// The plan file and what is wrong with it.
fn plan(bundle: &mut Bundle, secrets: &mut Secrets, place: &Place) {
    let text = match std::fs::read_to_string(&place.file) {
        Ok(text) => text,
        Err(why) => return bundle.missing(format!("federation.toml: {}: {why}", place.file.display())),
    };
    match plan_text::redacted(&text, secrets) {
        Ok(plan) => bundle.text("federation.toml", plan),
        Err(why) => bundle.missing(format!(
            "federation.toml: it is not TOML, so that nobody can tell what in it is secret: {why}"
        )),
    }
    let checked = onefed_federation::check(&text);
    bundle.json("problems.json", &json!({ "errors": checked.errors, "warnings": checked.warnings }));
}

/// Journal and inventory, as far as their fields are known.
fn state_files(bundle: &mut Bundle, secrets: &mut Secrets, dir: &Path) {
    const FIELDS: [&str; 5] = ["at", "phase", "step", "zone", "detail"];
    match std::fs::read_to_string(dir.join("journal.jsonl")) {
        Err(why) => bundle.missing(format!("journal.jsonl: {why}")),
        Ok(text) => {
            let lines = text.lines().map(|line| match serde_json::from_str(line) {
                Ok(Value::Object(mut entry)) => {
                    entry.retain(|name, _| FIELDS.contains(&name.as_str()));
                    Value::Object(entry).to_string() + "\n"
                }
                _ => "{\"unreadable\":true}\n".to_owned(),
            });
            bundle.text("journal.jsonl", lines.collect::<String>());
        }
    }
    match State::open(dir).and_then(|state| state.inventory()) {
        Ok(Some(inventory)) => {
            secrets.public(&inventory.hub.host);
            bundle.json("inventory.json", &inventory);
        }
        Ok(None) => bundle.missing("inventory.json: there is none"),
        Err(why) => bundle.missing(format!("inventory.json: {}", why.message)),
    }
}

/// The logins of all zones are secrets, wherever they turn up.
fn logins(federation: &Federation, secrets: &mut Secrets) {
    let own = Operator::here();
    let files = federation.zones.iter().filter_map(|zone| zone.auth.as_ref());
    let logins = files.map(|file| zones::login(Path::new(file))).chain([own.login()]);
    for login in logins.flatten() {
        secrets.secret(login.password.expose());
    }
}

/// What the plan calls its parts is no secret, also where somebody has it as a value.
fn names(federation: &Federation, secrets: &mut Secrets) {
    secrets.public(federation.name.as_str());
    federation.zones.iter().for_each(|zone| secrets.public(zone.name.as_str()));
    federation.sites.iter().for_each(|site| secrets.public(site.name.as_str()));
    federation.parts().for_each(|part| secrets.public(&federation.object_name(part)));
}

/// Everything that zones and hub say.
async fn zones(bundle: &mut Bundle, secrets: &mut Secrets, federation: &Federation, place: &Place) {
    let (clients, unreachable) = zones::reachable(federation).await;
    for (zone, why) in &unreachable {
        bundle.missing(format!("zones/{zone}: {}", why.message));
    }
    let asked = join_all(clients.values().map(|clients| zone::ask(federation, clients)));
    let status = async {
        let state = State::open_for(&place.state, federation.name.as_str())?;
        Ok::<_, crate::failure::Failure>(verb::status::look(federation, &clients, &unreachable, &state).await)
    };
    let (told, status, survey) = tokio::join!(asked, status, verb::plan::survey(federation, &clients));
    bundle.json("plan.json", &survey.plan);
    for why in survey.refusal().into_iter().chain(survey.down()) {
        bundle.missing(format!("plan: {}", why.message));
    }
    match status {
        Ok(status) => {
            bundle.json("status.json", &status);
            bundle.text("status.txt", status.render() + "\n");
        }
        Err(why) => bundle.missing(format!("status: {}", why.message)),
    }
    bundle.json("clocks.json", &told.iter().map(|told| &told.zone).collect::<Vec<_>>());
    for (zone, told) in clients.keys().zip(&told) {
        bundle.json(format!("zones/{zone}/zone.json"), &told.zone);
        for (path, document) in told.documents(secrets) {
            bundle.json(format!("zones/{zone}/{path}"), &document);
        }
        for what in &told.missing {
            bundle.missing(format!("zones/{zone}: {what}"));
        }
    }
}
