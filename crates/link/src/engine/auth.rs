//! Whether a call is from the node that it names, checked as SuperLink does it: what is answered on this side of the
//! line never gets to SuperLink.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use onefed_flower::signature::{self, Signed};

/// SuperLink takes signatures that are at most this old, in its own clock.
pub(super) const OLDEST: Duration = Duration::from_secs(305);
/// The hub stops using headers a little before SuperLink would refuse them.
pub(super) const USABLE: Duration = Duration::from_secs(290);
/// SuperLink takes signatures from clocks that are at most this much ahead.
const AHEAD: Duration = Duration::from_secs(5);
/// So many checked signatures are remembered: a retried call is not checked again.
const REMEMBERED: usize = 256;

/// Checks signatures. Remembers the last ones, since one check costs as much as hashing half a megabyte.
#[derive(Default)]
pub(super) struct Verifier {
    seen: HashMap<Vec<u8>, Signed>,
    order: VecDeque<Vec<u8>>,
}

impl Verifier {
    /// The key (PEM) that signed these headers, if the signature is right and of this time.
    pub(super) fn signer(&mut self, headers: &HeaderMap, wall: SystemTime) -> Option<String> {
        let print = print(headers);
        let signed = match self.seen.get(&print) {
            Some(signed) => signed.clone(),
            None => {
                let signed = signature::verify(headers)?;
                self.seen.insert(print.clone(), signed.clone());
                self.order.push_back(print);
                if self.order.len() > REMEMBERED {
                    self.order.pop_front().and_then(|oldest| self.seen.remove(&oldest));
                }
                signed
            }
        };
        let fresh = match wall.duration_since(signed.at) {
            Ok(age) => age < OLDEST,
            Err(ahead) => ahead.duration() < AHEAD,
        };
        fresh.then_some(signed.key_pem)
    }
}

/// All that a signature's validity depends on.
fn print(headers: &HeaderMap) -> Vec<u8> {
    let mut print = Vec::new();
    for (name, value) in headers {
        if name.as_str().starts_with("flwr-") {
            print.extend_from_slice(name.as_str().as_bytes());
            print.push(b' ');
            print.extend_from_slice(value.as_bytes());
            print.push(b'\n');
        }
    }
    print
}

/// How old the headers' signature is; nothing for one without a time, or from further in the future than SuperLink takes
/// it. A SuperNode's clock may well be a little ahead of this one.
pub(super) fn age(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    match wall.duration_since(signature::signed_at(headers)?) {
        Ok(age) => Some(age),
        Err(ahead) => (ahead.duration() < AHEAD).then_some(Duration::ZERO),
    }
}
