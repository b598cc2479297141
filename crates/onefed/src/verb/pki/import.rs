//! `onefed pki import`: checks everything, says everything, and installs only what passed.

use std::path::Path;
use std::time::SystemTime;

use onefed_appliance::authority::{imported_set, install, kept_request_key};
use onefed_appliance::files::private_dir;
use onefed_flower::{Release, Transport};
use onefed_trust::SanName;
use onefed_trust::import::{Finding, Given, Report, Request, Severity, check};
use serde_json::json;

use super::{ImportArgs, context, disk, list, name};
use crate::failure::{Done, Exit, Failure, join};
use crate::output::Output;

/// What the key is called where there is none.
const NO_KEY: &str = "--key";

/// Checks and installs.
pub(super) fn run(args: &ImportArgs, output: Output) -> Done {
    let context = context(&args.place, &args.san, output)?;
    let dialled: Vec<SanName> = match &context {
        Some(context) if args.san.is_empty() => {
            context.addresses.iter().take(1).copied().map(SanName::Ip).collect()
        }
        _ => args.san.iter().map(name).collect(),
    };
    let release = context.as_ref().and_then(|context| Release::parse(context.flower.as_str()).ok());
    let (ca, cert, key) = (file(&args.ca), file(&args.cert), key(args));
    let (ca, cert, key) = match (ca, cert, key) {
        (Ok(ca), Ok(cert), Ok(key)) => (ca, cert, key),
        (ca, cert, key) => {
            let failures = [ca.err(), cert.err(), key.err()].into_iter().flatten().collect();
            return Err(join(failures).unwrap_or_else(|| Failure::file(&args.ca, "it cannot be read")));
        }
    };
    let mut report = check(&Request {
        ca: Given { name: &ca.0, bytes: &ca.1 },
        certificate: Given { name: &cert.0, bytes: &cert.1 },
        key: Given { name: &key.0, bytes: &key.1 },
        dialled: &dialled,
        // Where the release is not known, what every release takes.
        grpc_clients: release.is_none_or(|release| release.transport() == Transport::Grpc),
        now: SystemTime::now(),
    });
    name_missing_key(&mut report);
    let disk_dir = &args.place.disk;
    let set = imported_set(disk_dir);
    if let Some(imported) = &report.imported {
        private_dir(disk_dir).map_err(|why| Failure::file(disk_dir, why))?;
        install(&set, &imported.into(), &dialled, None).map_err(|why| disk(&why))?;
    }
    tell(&report, &set.path(""), &dialled, output);
    Ok(if report.imported.is_some() { Exit::Ok } else { Exit::BadInput })
}

/// A file's name and its bytes.
fn file(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let bytes = std::fs::read(path).map_err(|why| {
        Failure::new(Exit::BadInput, "file", format!("{}: {why}", path.display())).hint("check the path")
    })?;
    Ok((path.display().to_string(), bytes))
}

/// The given key, or the one that `csr` made.
fn key(args: &ImportArgs) -> Result<(String, Vec<u8>), Failure> {
    if let Some(path) = &args.key {
        return file(path);
    }
    let (path, key) = kept_request_key(&args.place.disk).map_err(|why| disk(&why))?;
    Ok(match key {
        Some(key) => (path.display().to_string(), key.expose().as_bytes().to_vec()),
        None => (NO_KEY.to_owned(), Vec::new()),
    })
}

/// Says what to do where there is no key at all, instead of calling it an empty file.
fn name_missing_key(report: &mut Report) {
    for finding in report.findings.iter_mut().filter(|finding| finding.input == NO_KEY) {
        finding.code = "import::no-key";
        finding.message =
            "There is no private key: --key was not given, and `onefed pki csr` made none here.".to_owned();
        finding.hint = Some(
            "give the key of the certificate with --key FILE, or ask for one with `onefed pki csr`"
                .to_owned(),
        );
    }
}

fn tell(report: &Report, place: &Path, dialled: &[SanName], output: Output) {
    let count = |severity| report.findings.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut lines: Vec<String> = report.findings.iter().map(Finding::to_string).collect();
    let now = SystemTime::now();
    let leaf = report.imported.as_ref().map(|imported| &imported.leaf);
    lines.push(match leaf {
        None => format!("refused; errors: {errors}, warnings: {warnings}; nothing was changed"),
        Some(leaf) => format!(
            "installed: {} for {}, {} days left; peers dial {}; warnings: {warnings}",
            leaf.common_name,
            list(&leaf.names),
            leaf.days_left(now),
            list(dialled),
        ),
    });
    output.text(lines.join("\n"));
    output.json(&json!({
        "schema_version": 1,
        "ok": leaf.is_some(),
        "errors": errors,
        "warnings": warnings,
        "findings": report.findings,
        "certificate": leaf.map(|leaf| json!({
            "common_name": leaf.common_name,
            "names": leaf.names.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "fingerprint": leaf.fingerprint.to_string(),
            "certificate_days": leaf.days_left(now),
        })),
        "directory": leaf.map(|_| place.display().to_string()),
    }));
    if leaf.is_some() {
        output.say("next: start this VM's onefed again, and give peers the same CA as FL_SSL_CA_CERTFILE: boot takes the set up then");
    }
}
