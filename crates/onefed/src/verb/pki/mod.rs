//! `onefed pki`: a certificate of the operator's own PKI for this VM, without its key ever leaving it.

mod csr;
mod import;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use onefed_appliance::authority::AuthorityError;
use onefed_context::{Problem, Role, RoleContext, San, VmContext, read_context_sh};
use onefed_trust::SanName;

use crate::failure::{Done, Exit, Failure};
use crate::output::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum PkiVerb {
    /// Write a signing request for this VM's server certificate. Its key is made at the first time and stays here.
    Csr(CsrArgs),
    /// Check a certificate, its chain and its key, and install them: exit code 65 if they must not be used.
    Import(ImportArgs),
}

/// Where the VM's things are, and the names that count.
#[derive(Clone, Debug, Args)]
pub(crate) struct PkiPlace {
    /// The directory that survives a reboot.
    #[arg(long, default_value = "/var/lib/onefed", value_name = "DIR")]
    disk: PathBuf,
    /// The directory with `context.sh`.
    #[arg(long, default_value = "/run/onefed/context", value_name = "DIR")]
    context: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CsrArgs {
    #[command(flatten)]
    place: PkiPlace,
    /// More names for the certificate, besides the addresses of the VM and FL_CERT_EXTRA_SAN.
    #[arg(long, value_delimiter = ',', value_name = "IP:ADDRESS,DNS:NAME")]
    san: Vec<San>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImportArgs {
    #[command(flatten)]
    place: PkiPlace,
    /// The CA certificate that peers trust: PEM, base64 of PEM, or DER; so for the next two.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// The server certificate and its intermediates, in any order.
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The private key. Without it, the key counts that `onefed pki csr` made.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The names that peers dial, which the certificate must have. Without it, the address of the VM.
    #[arg(long, value_delimiter = ',', value_name = "IP:ADDRESS,DNS:NAME")]
    san: Vec<San>,
}

/// Runs a verb of `onefed pki`.
pub(crate) fn run(verb: &PkiVerb, output: Output) -> Done {
    match verb {
        PkiVerb::Csr(args) => csr::run(args, output),
        PkiVerb::Import(args) => import::run(args, output),
    }
}

/// The context of this VM. A context that cannot be used is a failure only where names are not given otherwise;
/// else it is said, and does without.
fn context(place: &PkiPlace, given: &[San], output: Output) -> Result<Option<VmContext>, Failure> {
    let path = place.context.join("context.sh");
    let failure = match read(&path) {
        Ok(context) if context.role() == Role::SuperLink => return Ok(Some(context)),
        Ok(context) => {
            let text =
                format!("this VM is a {}: only the SuperLink's takes such a certificate", context.role());
            return Err(Failure::new(Exit::Configuration, "role", text).hint("run it on the SuperLink's VM"));
        }
        Err(failure) => failure,
    };
    if given.is_empty() {
        return Err(failure.hint("correct the context, or name what the certificate is for with --san"));
    }
    output.say(format!("without the context of this VM: {}", failure.message));
    Ok(None)
}

fn read(path: &Path) -> Result<VmContext, Failure> {
    let refused = |message: String| Failure::new(Exit::Configuration, "context", message);
    let text = std::fs::read_to_string(path).map_err(|why| refused(format!("{}: {why}", path.display())))?;
    let validated = read_context_sh(&text);
    let errors: Vec<String> =
        validated.problems.iter().filter(|problem| problem.is_error()).map(Problem::to_string).collect();
    validated.context.ok_or_else(|| refused(format!("{}: {}", path.display(), errors.join("; "))))
}

/// The names that the context adds to a server certificate.
fn extra(context: &VmContext) -> &[San] {
    match &context.role {
        RoleContext::SuperLink(own) => &own.extra_san,
        RoleContext::Gateway(_) | RoleContext::SuperNode(_) => &[],
    }
}

fn name(san: &San) -> SanName {
    match san {
        San::Ip(ip) => SanName::Ip(*ip),
        San::Dns(name) => SanName::Dns(name.clone()),
    }
}

fn list(names: &[SanName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn disk(why: &AuthorityError) -> Failure {
    let hint = why.hint();
    Failure::new(Exit::Failed, "file", why).hint(hint)
}
