//! The clock of a zone's front end, as its HTTP answers tell it.

use super::Client;
use crate::http::Repeat;
use crate::{Call, Error};
use std::time::{Duration, SystemTime};

/// A clock against this machine's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clock {
    /// What it says.
    pub says: SystemTime,
    /// By how many seconds it is ahead of this machine's; negative where it is behind.
    pub ahead_seconds: f64,
    /// How far off that may be: half of the time that the question took, and half of the second that HTTP tells.
    pub uncertainty_seconds: f64,
}

impl Client {
    /// The clock of the server, from the header Date of an answer; `None` where it has none. Nobody logs in for this.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Timeout`], [`Error::Tls`].
    pub async fn clock(&self) -> Result<Option<Clock>, Error> {
        let call = Call {
            zone: Some(self.zone.clone()),
            endpoint: crate::http::redact(&self.endpoint),
            what: "the time".to_owned(),
        };
        let asked = SystemTime::now();
        // Whatever it answers to a GET.
        let answer =
            self.http.send(&call, Repeat::Harmless, |client| client.get(self.endpoint.clone())).await?;
        let took = asked.elapsed().unwrap_or_default();
        let date = answer.date.and_then(|date| httpdate::parse_http_date(&date).ok());
        Ok(date.map(|says| compared(says, asked, took)))
    }
}

fn compared(says: SystemTime, asked: SystemTime, took: Duration) -> Clock {
    // Dates are cut to whole seconds, so half a second later is the best guess.
    let theirs = says + Duration::from_millis(500);
    let ours = asked + took / 2;
    let ahead_seconds = match theirs.duration_since(ours) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    };
    Clock { says, ahead_seconds, uncertainty_seconds: took.as_secs_f64() / 2.0 + 0.5 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ahead_and_behind() {
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let ahead = compared(at(100_000), at(90_000), Duration::from_secs(1));
        assert_eq!((ahead.ahead_seconds, ahead.uncertainty_seconds), (10.0, 1.0));
        assert_eq!(compared(at(100_000), at(100_500), Duration::ZERO).ahead_seconds, 0.0);
        assert_eq!(compared(at(0), at(60_500), Duration::ZERO).ahead_seconds, -60.0);
    }
}
