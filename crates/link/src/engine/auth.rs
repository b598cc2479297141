//! Whether a call is from the node that it names, checked as SuperLink does it: what is answered on this side of the
//! line never gets to SuperLink.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use onefed_flower::signature::{self, Signed};

use super::{Connection, Now};

/// SuperLink takes signatures that are at most this old, in its own clock.
pub(super) const OLDEST: Duration = Duration::from_secs(305);
/// The hub stops using headers a little before SuperLink would refuse them.
pub(super) const USABLE: Duration = Duration::from_secs(290);
/// SuperLink takes signatures from clocks that are at most this much ahead.
const AHEAD: Duration = Duration::from_secs(5);
/// A call that was signed before another one of its node was made before it, unless it is by so much: then the node's clock
/// was set back.
const SET_BACK: Duration = Duration::from_secs(60);
/// So many checked signatures are remembered: a retried call is not checked again.
const REMEMBERED: usize = 256;
/// So long a key that has signed a call is proven for all calls on the same connection, of which this many are
/// remembered.
const PROVEN: Duration = Duration::from_secs(10);
const CONNECTIONS: usize = 1024;

/// Checks signatures. Remembers the last ones, since one check costs as much as hashing half a megabyte, and a SuperNode signs
/// each call anew.
#[derive(Default)]
pub(super) struct Verifier {
    seen: HashMap<Vec<u8>, Signed>,
    order: VecDeque<Vec<u8>>,
    /// The key (PEM) that was proven last on a connection, and when; connections in the order of their first proof.
    proven: HashMap<Connection, (String, Duration)>,
    connections: VecDeque<Connection>,
}

/// Who made a call.
pub(super) struct Signer {
    /// The key (PEM).
    pub(super) key: String,
    /// Whether the signature itself was checked.
    pub(super) checked: bool,
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
        fresh(&signed, wall).then_some(signed.key_pem)
    }

    /// The same for a call that came by this connection: who is at its other end does not change, so who has just
    /// proven there that a key is theirs need not sign again with it. Headers that were not checked are to be judged by
    /// nobody but this.
    pub(super) fn caller(&mut self, connection: Connection, headers: &HeaderMap, now: Now) -> Option<Signer> {
        let known = self.proven.get(&connection).filter(|(_, since)| now.mono < *since + PROVEN);
        if let Some((key, _)) = known {
            let claimed = signature::claimed(headers).filter(|claimed| fresh(claimed, now.wall));
            if claimed.is_some_and(|claimed| claimed.key_pem == *key) {
                return Some(Signer { key: key.clone(), checked: false });
            }
        }
        let key = self.signer(headers, now.wall)?;
        if self.proven.insert(connection, (key.clone(), now.mono)).is_none() {
            self.connections.push_back(connection);
        }
        if self.connections.len() > CONNECTIONS {
            self.connections.pop_front().and_then(|oldest| self.proven.remove(&oldest));
        }
        Some(Signer { key, checked: true })
    }
}

/// Whether SuperLink would take a signature of that time now.
fn fresh(signed: &Signed, wall: SystemTime) -> bool {
    since(signed.at, wall).is_some_and(|age| age < OLDEST)
}

/// How long ago that was; nothing for what is further in the future than SuperLink takes it. A SuperNode's clock may well
/// be a little ahead of this one.
fn since(at: SystemTime, wall: SystemTime) -> Option<Duration> {
    match wall.duration_since(at) {
        Ok(age) => Some(age),
        Err(ahead) => (ahead.duration() < AHEAD).then_some(Duration::ZERO),
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
/// it.
pub(super) fn age(headers: &HeaderMap, wall: SystemTime) -> Option<Duration> {
    since(signature::signed_at(headers)?, wall)
}

/// By how much a call that was signed then came late, if the newest call of its node was signed later. Nothing if it was
/// not.
pub(super) fn late_by(at: SystemTime, newest: SystemTime) -> Option<Duration> {
    newest.duration_since(at).ok().filter(|by| !by.is_zero() && *by < SET_BACK)
}

#[cfg(test)]
pub(super) mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    use super::*;

    const START: Duration = Duration::from_secs(1_800_000_000);

    /// After so many seconds, on both clocks.
    fn after(seconds: u64) -> Now {
        let mono = Duration::from_secs(seconds);
        Now { mono, wall: SystemTime::UNIX_EPOCH + START + mono }
    }

    /// A node's key, and how it signs.
    pub(in crate::engine) struct Node(EcdsaKeyPair, pub(in crate::engine) String);

    impl Node {
        pub(in crate::engine) fn new() -> Self {
            let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_ASN1_SIGNING);
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
            let prefix = b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00";
            let der = STANDARD.encode([prefix, pair.public_key().as_ref()].concat());
            Self(pair, format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n"))
        }

        /// Headers of a call that was made then.
        pub(in crate::engine) fn headers(&self, then: Now) -> HeaderMap {
            let time = OffsetDateTime::from(then.wall).format(&Rfc3339).unwrap();
            let signature = self.0.sign(&SystemRandom::new(), time.as_bytes()).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("flwr-public-key", STANDARD.encode(&self.1).parse().unwrap());
            headers.insert("flwr-signature", STANDARD.encode(signature).parse().unwrap());
            headers.insert("flwr-timestamp", time.parse().unwrap());
            headers
        }

        /// The same with a signature that is not its own.
        pub(in crate::engine) fn forged(&self, then: Now) -> HeaderMap {
            let mut headers = self.headers(then);
            headers.insert("flwr-signature", Self::new().headers(then)["flwr-signature"].clone());
            headers
        }
    }

    #[test]
    fn a_key_that_was_proven_on_a_connection_counts_there_for_a_while() {
        let (node, other, mut verifier) = (Node::new(), Node::new(), Verifier::default());
        let mut caller = |connection, headers: HeaderMap, now| {
            let signer = verifier.caller(connection, &headers, now);
            signer.map(|signer| (signer.key == node.1, signer.checked))
        };
        assert_eq!(caller(1, node.forged(after(0)), after(0)), None, "nothing is proven yet");
        assert_eq!(caller(1, node.headers(after(0)), after(0)), Some((true, true)));
        assert_eq!(caller(1, node.forged(after(9)), after(9)), Some((true, false)));
        assert_eq!(caller(2, node.forged(after(9)), after(9)), None, "not on another connection");
        assert_eq!(caller(1, other.forged(after(9)), after(9)), None, "not for another key");
        assert_eq!(caller(1, node.forged(after(9)), after(9)), Some((true, false)));
        assert_eq!(caller(1, node.forged(after(10)), after(10)), None, "not for long");
        assert_eq!(caller(1, node.headers(after(10)), after(10)), Some((true, true)));
        let (old, early) = (node.headers(after(10)), node.headers(after(700)));
        assert_eq!(caller(1, early, after(11)), None, "not at another time");
        assert_eq!(caller(1, node.headers(after(311)), after(311)), Some((true, true)));
        assert_eq!(caller(1, old.clone(), after(314)), Some((true, false)));
        assert_eq!(caller(1, old, after(316)), None, "not with an old time");
        let none = HeaderMap::new();
        assert_eq!(caller(1, none, after(317)), None, "not without headers");
    }

    #[test]
    fn who_signed_before_the_newest_call_is_late_unless_the_clock_was_set_back() {
        let by = |then| late_by(after(then).wall, after(100).wall).map(|by| by.as_secs());
        assert_eq!([by(98), by(41), by(40), by(100), by(101)], [Some(2), Some(59), None, None, None]);
    }

    #[test]
    fn another_key_on_a_connection_takes_the_place_of_the_first() {
        let (node, other, mut verifier) = (Node::new(), Node::new(), Verifier::default());
        for (node, checked) in [(&node, true), (&other, true), (&other, false), (&node, true)] {
            let signer = verifier.caller(1, &node.headers(after(1)), after(1)).unwrap();
            assert_eq!((&signer.key, signer.checked), (&node.1, checked));
        }
        assert_eq!((verifier.proven.len(), verifier.connections.len()), (1, 1));
    }

    #[test]
    fn connections_are_forgotten_oldest_first() {
        let (node, mut verifier) = (Node::new(), Verifier::default());
        let headers = node.headers(after(0));
        for connection in 0..=CONNECTIONS as Connection {
            assert!(verifier.caller(connection, &headers, after(0)).unwrap().checked);
        }
        assert_eq!((verifier.proven.len(), verifier.connections.len()), (CONNECTIONS, CONNECTIONS));
        assert!(!verifier.caller(1, &headers, after(0)).unwrap().checked);
        assert!(verifier.caller(0, &headers, after(0)).unwrap().checked, "the oldest");
    }
}
