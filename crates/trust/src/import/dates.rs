//! Dates, against the time that the caller gave.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;

use super::certificate::{Cert, Origin};
use super::finding::Findings;

/// A certificate that ends sooner is worth a warning.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn check(cert: &Cert<'_>, who: &str, now: SystemTime, findings: &mut Findings) {
    let (input, info) = (cert.input, &cert.info);
    if now < info.not_before {
        let message = format!("{input}: {who} is not valid before {}.", moment(info.not_before));
        let hint = format!("this machine's clock says {}: correct it, or wait", moment(now));
        findings.error("import::not-yet-valid", input, message, hint);
    } else if now > info.not_after {
        let message = format!("{input}: {who} expired at {}.", moment(info.not_after));
        let hint = match cert.origin {
            Origin::Ca => "give the CA certificate that is in force; peers need it as well",
            Origin::Chain => "have the PKI issue a new one",
        };
        findings.error("import::expired", input, message, hint);
    } else if info.not_after < now + SOON {
        let days = info.days_left(now);
        let message = format!("{input}: {who} ends at {}, in {days} days.", moment(info.not_after));
        findings.warning("import::expires-soon", input, message, "have the PKI issue a new one in time");
    }
}

/// A time to the second, in UTC.
fn moment(time: SystemTime) -> String {
    // Times beyond the year 9999 are more than the type holds.
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let time =
        i64::try_from(seconds).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    let Some(time) = time else { return "a time after the year 9999".to_owned() };
    let (date, clock) = (time.date(), time.time());
    let month = u8::from(date.month());
    let (hour, minute, second) = clock.as_hms();
    format!("{:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", date.year(), date.day())
}
