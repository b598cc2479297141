//! The ways to TLS: which variables go together, and what they come to. TLS fails closed: what does not add up is an
//! error, never plaintext.

use super::Values;
use crate::problem::Problem;
use crate::role::Role;
use crate::secret::Secret;
use crate::trust::{GatewayTls, SiteTrust, SuperLinkTls};

const TLS: &str = "FL_TLS_ENABLED";
const CA: &str = "FL_SSL_CA_CERTFILE";
const CERTIFICATE: &str = "FL_SSL_CERTFILE";
const KEY: &str = "FL_SSL_KEYFILE";
const ENROL: &str = "FL_ENROL_KEY";
const PRINT: &str = "FL_CA_FINGERPRINT";
const TRUST: &str = "FL_CA_TRUST";

/// The way that does without a key in CONTEXT.
const WITHOUT_KEY: &str = "leave the three FL_SSL_ variables out, and bring a certificate of your own PKI with `onefed pki csr` and `onefed pki import`";

/// Appends everything that does not add up.
pub(super) fn check(values: &Values<'_>, role: Option<Role>, problems: &mut Vec<Problem>) {
    if values.given(KEY).is_some() {
        let message =
            format!("{KEY} is a private key in CONTEXT: everybody who can see this VM can read it.");
        problems.push(Problem::warning("context::key-in-context", KEY, message).with_hint(WITHOUT_KEY));
    }
    let (Some(role), Some(tls)) = (role, values.yes(TLS)) else { return };
    match (tls, role) {
        (false, _) => plaintext(values, role, problems),
        (true, Role::SuperLink) => superlink_mix(values, problems),
        (true, Role::Gateway | Role::SuperNode) => site_mix(values, role, problems),
    }
}

/// The SuperLink's way. `None` only if a check is missing.
pub(super) fn superlink(values: &Values<'_>) -> Option<SuperLinkTls> {
    if !values.yes(TLS)? {
        return Some(SuperLinkTls::Off);
    }
    let secret = |name| values.given(name).map(Secret::new);
    match (values.parse(CA), values.parse(CERTIFICATE), secret(KEY), secret(ENROL)) {
        (None, None, None, None) => Some(SuperLinkTls::Own),
        (Some(ca), None, None, Some(key)) => Some(SuperLinkTls::Enrolled { ca, key }),
        (Some(ca), Some(certificate), Some(key), None) => Some(SuperLinkTls::Given { ca, certificate, key }),
        _ => None,
    }
}

/// A gateway's way. `None` only if a check is missing.
pub(super) fn gateway(values: &Values<'_>) -> Option<GatewayTls> {
    if !values.yes(TLS)? {
        return Some(GatewayTls::Off);
    }
    Some(GatewayTls::Enrolled { ca: values.parse(CA)?, key: values.given(ENROL).map(Secret::new)? })
}

/// A SuperNode's way. `None` only if a check is missing.
pub(super) fn site(values: &Values<'_>) -> Option<SiteTrust> {
    if !values.yes(TLS)? {
        return Some(SiteTrust::Off);
    }
    if let Some(ca) = values.given(CA) {
        return ca.parse().ok().map(SiteTrust::Given);
    }
    if let Some(print) = values.given(PRINT) {
        return print.parse().ok().map(SiteTrust::Pinned);
    }
    is_first_use(values).then_some(SiteTrust::FirstUse)
}

fn is_first_use(values: &Values<'_>) -> bool {
    values.text(TRUST) == Some("first-use")
}

/// What asks for TLS is never ignored.
fn plaintext(values: &Values<'_>, role: Role, problems: &mut Vec<Problem>) {
    let mut implied = false;
    for (name, what) in
        [(CA, "a CA"), (CERTIFICATE, "a certificate"), (KEY, "a private key"), (PRINT, "a CA's fingerprint")]
    {
        // The server's own are no matter of a site, and a remark says so.
        if values.given(name).is_none() || (role != Role::SuperLink && matches!(name, CERTIFICATE | KEY)) {
            continue;
        }
        implied = true;
        let code = if name == CA { "context::ca-without-tls" } else { "context::trust-without-tls" };
        let problem =
            Problem::error(code, name, format!("{name} is given but {TLS} is NO: {what} implies TLS."));
        problems.push(problem.with_hint(format!("set {TLS}=YES, or leave {name} out")));
    }
    if role != Role::SuperNode && values.given(ENROL).is_some() && values.given(CA).is_none() {
        problems.push(enrol_without_ca(CA));
    }
    if !implied {
        let message = format!("{TLS} is NO: models and credentials travel unencrypted.");
        problems.push(Problem::warning("context::plaintext", TLS, message));
    }
    if role == Role::SuperLink {
        extra_san(values, &format!("{TLS} is NO"), problems);
    }
}

/// 10k: the operator's names act only on a certificate that is made for this VM.
fn extra_san(values: &Values<'_>, why: &str, problems: &mut Vec<Problem>) {
    const SAN: &str = "FL_CERT_EXTRA_SAN";
    if values.given(SAN).is_some() {
        let message = format!("{SAN} is ignored because {why}.");
        problems.push(Problem::info("context::unused", SAN, message));
    }
}

fn superlink_mix(values: &Values<'_>, problems: &mut Vec<Problem>) {
    let given = |name: &str| values.given(name).is_some();
    let own = [CERTIFICATE, KEY].into_iter().filter(|name| given(name));
    if given(ENROL) && (given(CERTIFICATE) || given(KEY)) {
        let own = own.collect::<Vec<_>>().join(" and ");
        let message = format!("{ENROL} is given together with {own}: these are two ways to a certificate.");
        let problem = Problem::error("context::two-certificates", ENROL, message);
        problems.push(problem.with_hint(
            "keep FL_ENROL_KEY for the federation's CA, or FL_SSL_CERTFILE and FL_SSL_KEYFILE for a PKI of your own",
        ));
        return;
    }
    if given(CA) && !given(ENROL) {
        for name in [CERTIFICATE, KEY].into_iter().filter(|name| !given(name)) {
            let message = format!("{name} is required when {CA} is provided.");
            problems.push(Problem::error("context::incomplete-pki", name, message).with_hint(WITHOUT_KEY));
        }
    } else if !given(CA) {
        for name in own {
            let message = format!("{CA} is required when {name} is provided.");
            let problem = Problem::error("context::incomplete-pki", CA, message);
            problems.push(problem.with_hint(WITHOUT_KEY));
        }
        if given(ENROL) {
            problems.push(enrol_without_ca(CA));
        }
    }
    if given(CERTIFICATE) {
        extra_san(values, &format!("{CERTIFICATE} is given"), problems);
    }
}

fn site_mix(values: &Values<'_>, role: Role, problems: &mut Vec<Problem>) {
    let pins: Vec<_> = [CA, PRINT].into_iter().filter(|name| values.given(name).is_some()).collect();
    let first_use = is_first_use(values);
    if first_use && !pins.is_empty() {
        let message =
            format!("{TRUST} is first-use, but {} is given: the CA is known already.", pins.join(" and "));
        let problem = Problem::error("context::first-use-with-pin", TRUST, message);
        problems.push(problem.with_hint(format!("leave {TRUST} out")));
    } else if first_use {
        let message = format!(
            "{TRUST} is first-use: the first CA that OneGate shows is trusted, whoever put it there."
        );
        let problem = Problem::warning("context::first-use", TRUST, message);
        problems.push(problem.with_hint(format!("set {PRINT} to the fingerprint of the federation's CA")));
    } else if pins.is_empty() {
        let message = format!("{CA} is required for role {role} when {TLS} is YES.");
        let problem = Problem::error("context::tls-without-ca", CA, message);
        problems.push(problem.with_hint(
            "give the CA certificate of the federation, or its FL_CA_FINGERPRINT; FL_CA_TRUST=first-use takes it from OneGate unseen. TLS is never switched off by itself",
        ));
    }
    let from_onegate =
        if first_use { Some(TRUST) } else { pins.first().copied().filter(|name| *name == PRINT) };
    if let Some(name) = from_onegate.filter(|_| values.yes("TOKEN") == Some(false)) {
        let message = format!("{name} takes the CA from OneGate, but TOKEN is not YES.");
        let problem = Problem::error("context::ca-without-onegate", name, message);
        problems.push(problem.with_hint(format!("set TOKEN=YES, or give the certificate itself in {CA}")));
    }
    // OneGate knows the SuperLink only within the service that it is in, and a gateway's own certificate needs the CA.
    if let Some(name) = from_onegate.filter(|_| values.given("FL_SITE").is_some()) {
        let message = format!(
            "{name} takes the CA from OneGate, which at a training site does not know the SuperLink: {CA} is required."
        );
        let problem = Problem::error("context::ca-of-another-service", name, message);
        problems.push(problem.with_hint(format!("give the federation's CA certificate in {CA}")));
    }
    if role == Role::Gateway && values.given(ENROL).is_none() {
        let message = format!("{ENROL} is required for role {role} when {TLS} is YES.");
        let problem = Problem::error("context::gateway-without-key", ENROL, message);
        problems.push(problem.with_hint(
            "`onefed apply` sets it, and signs the gateway's certificate; without it, use FL_GATEWAY=embedded",
        ));
    }
}

fn enrol_without_ca(what: &str) -> Problem {
    let message = format!("{ENROL} is given without {what}: there is no CA to enrol with.");
    Problem::error("context::enrol-without-ca", ENROL, message)
}
