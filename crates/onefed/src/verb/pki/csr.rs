//! `onefed pki csr`: a signing request on standard output.

use onefed_appliance::authority::request_key;
use onefed_appliance::files::private_dir;
use onefed_trust::{LeafRequest, SanName};
use serde_json::json;

use super::{CsrArgs, context, disk, extra, list, name};
use crate::failure::{Done, Exit, Failure};
use crate::output::Output;

/// Makes the key, if there is none yet, and writes a request for it.
pub(super) fn run(args: &CsrArgs, output: Output) -> Done {
    let context = context(&args.place, &args.san, output)?;
    let mut names: Vec<SanName> = Vec::new();
    if let Some(context) = &context {
        names.extend(context.addresses.iter().copied().map(SanName::Ip));
        names.extend(extra(context).iter().map(name));
    }
    names.extend(args.san.iter().map(name));
    let mut seen = Vec::new();
    names.retain(|name| !seen.contains(name) && (seen.push(name.clone()), true).1);
    // As boot makes it; whoever comes first.
    private_dir(&args.place.disk).map_err(|why| Failure::file(&args.place.disk, why))?;
    let (path, key) = request_key(&args.place.disk).map_err(|why| disk(&why))?;
    let request = LeafRequest::for_pki(&key, &names).map_err(|why| {
        let hint =
            "if the key is damaged, remove it: a new one is made, for which a new certificate is needed";
        Failure::new(Exit::Failed, "request", format!("{}: {why}", path.display())).hint(hint)
    })?;
    output.text(&request.csr_pem);
    output.json(&json!({
        "schema_version": 1,
        "request": request.csr_pem,
        "names": names.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "key_file": path.display().to_string(),
    }));
    output.say(format!("a request for {}; its key stays in {}", list(&names), path.display()));
    output.say(
        "next: have your PKI sign it for a TLS server with these names, then `onefed pki import --ca FILE --cert FILE` here",
    );
    Ok(Exit::Ok)
}
