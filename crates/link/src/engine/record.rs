//! What hub and spoke write down, so that neither `kill -9` nor a reboot loses what was promised.
//!
//! A journal is a list of records; an engine is made from all of them in order. Each is `kind (u8) · payload`, the payload
//! as in [`super::frame`]; the journal adds length and checksum.

use bytes::{Buf as _, Bytes};
use onefed_flower::fleet::FleetAnswer;
use onefed_flower::objects::ObjectId;
use prost::Message as _;

use super::frame::{MessageKey, Offer, Payload, Reply, of_answer, of_key, of_number, of_offer};

/// A record of a spoke.
#[derive(Clone, Debug, PartialEq)]
pub enum SpokeRecord {
    /// SuperLink accepted this key (PEM) for the node.
    Node(u64, String),
    /// The message was offered, and its objects are being fetched.
    Offered(Offer),
    /// The SuperNode has the message of this run; the hub has not been told for sure.
    Confirmed(MessageKey, u64),
    /// The message needs nothing any more: the hub knows, or the message is void.
    MessageDone(MessageKey),
    /// The SuperNode's reply was accepted; its objects are coming in.
    Replied(Reply),
    /// All objects of the reply are on the shelf. What is said after it may be relied on for good.
    Spooled(MessageKey),
    /// The hub has the reply.
    ReplyDone(MessageKey),
    /// The number of this start; calls are numbered within it.
    Epoch(u64),
}

/// A record of a hub.
#[derive(Clone, Debug, PartialEq)]
pub enum HubRecord {
    /// A PullMessages for the node is on its way to SuperLink: should this be the last word on it, a message may be lost.
    PollOpen(u64),
    /// Its answer has arrived.
    PollShut(u64),
    /// A message was pulled for a node, that came through the spoke of this site and name.
    Offered(String, String, Offer),
    /// The spoke has it in its journal.
    OfferTaken(MessageKey),
    /// The spoke has all its objects.
    Whole(MessageKey),
    /// The SuperNode of this message and run has it; SuperLink has not been told for sure.
    Confirmed(MessageKey, u64),
    /// SuperLink has been told. From here to the reply the node owes one.
    ConfirmDone(MessageKey),
    /// The message is void.
    MessageDone(MessageKey),
    /// A whole reply is on the shelf.
    Replied(Reply),
    /// SuperLink has the whole reply, or never will: its run has ended, or it was given up.
    ReplyDone(MessageKey),
    /// What SuperLink answered to a call with effect, by the call's fingerprint.
    Answered([u8; 32], FleetAnswer),
    /// That answer holds no longer: something else has happened since.
    AnswerVoid([u8; 32]),
    /// A call that SuperLink takes only once is on its way there. Should this be the last word on it, a refusal of its
    /// repetition may mean that it was carried out.
    CallOpen([u8; 32]),
    /// The node is to be offline for a moment, so that the ServerApp hears of a loss.
    Away(u64),
    /// The ServerApp has had the time to see it.
    Back(u64),
    /// The node is offline since this time, in milliseconds since 1970, and the ServerApp may not have seen that.
    Absent(u64, u64),
}

/// Bytes of a journal that are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a record of this journal")]
pub struct NotARecord;

fn bytes(kind: u8, payload: &Payload) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(payload.encode_to_vec());
    out
}

fn read(mut bytes: Bytes) -> Result<(u8, Payload), NotARecord> {
    if bytes.is_empty() {
        return Err(NotARecord);
    }
    let kind = bytes.get_u8();
    Ok((kind, Payload::decode(bytes).map_err(|_| NotARecord)?))
}

fn of_reply(reply: &Reply) -> Payload {
    Payload { node: reply.node, body: reply.body.clone(), ..Payload::default() }
}

impl SpokeRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Node(node, key) => {
                bytes(1, &Payload { node: *node, body: key.clone().into(), ..Payload::default() })
            }
            Self::Offered(offer) => bytes(2, &of_offer(offer)),
            Self::Confirmed(key, run) => bytes(3, &Payload { number: *run, ..of_key(*key) }),
            Self::MessageDone(key) => bytes(4, &of_key(*key)),
            Self::Replied(reply) => bytes(5, &of_reply(reply)),
            Self::Spooled(key) => bytes(6, &of_key(*key)),
            Self::ReplyDone(key) => bytes(7, &of_key(*key)),
            Self::Epoch(epoch) => bytes(8, &of_number(*epoch)),
        }
    }

    /// The record that these bytes are.
    ///
    /// # Errors
    /// [`NotARecord`].
    pub fn decode(bytes: Bytes) -> Result<Self, NotARecord> {
        let (kind, p) = read(bytes)?;
        let record = match kind {
            1 => String::from_utf8(p.body.into()).ok().map(|key| Self::Node(p.node, key)),
            2 => p.offer().map(Self::Offered),
            3 => p.key().map(|key| Self::Confirmed(key, p.number)),
            4 => p.key().map(Self::MessageDone),
            5 => Some(Self::Replied(Reply { node: p.node, body: p.body })),
            6 => p.key().map(Self::Spooled),
            7 => p.key().map(Self::ReplyDone),
            8 => Some(Self::Epoch(p.number)),
            _ => None,
        };
        record.ok_or(NotARecord)
    }

    /// Whether it has to survive a power cut, too, together with all objects that came before it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Spooled(_))
    }

    /// Whether it has to survive a power cut by itself: SuperNodes and hub go by what is said after it. A number of a start
    /// that is used twice would make calls of two starts the same.
    pub fn is_promise(&self) -> bool {
        !matches!(self, Self::MessageDone(_) | Self::ReplyDone(_))
    }
}

impl HubRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::PollOpen(node) => bytes(1, &Payload { node: *node, ..Payload::default() }),
            Self::PollShut(node) => bytes(2, &Payload { node: *node, ..Payload::default() }),
            Self::Offered(site, spoke, offer) => {
                let names = Some(Bytes::from(format!("{site}\n{spoke}")));
                bytes(3, &Payload { words: names, ..of_offer(offer) })
            }
            Self::OfferTaken(key) => bytes(4, &of_key(*key)),
            Self::Whole(key) => bytes(5, &of_key(*key)),
            Self::Confirmed(key, run) => bytes(6, &Payload { number: *run, ..of_key(*key) }),
            Self::ConfirmDone(key) => bytes(7, &of_key(*key)),
            Self::MessageDone(key) => bytes(8, &of_key(*key)),
            Self::Replied(reply) => bytes(9, &of_reply(reply)),
            Self::ReplyDone(key) => bytes(10, &of_key(*key)),
            Self::Answered(print, answer) => {
                let ids = Bytes::copy_from_slice(print);
                bytes(11, &Payload { ids, ..of_answer(0, answer) })
            }
            Self::AnswerVoid(print) => {
                bytes(12, &Payload { ids: Bytes::copy_from_slice(print), ..of_number(0) })
            }
            Self::CallOpen(print) => {
                bytes(13, &Payload { ids: Bytes::copy_from_slice(print), ..of_number(0) })
            }
            Self::Away(node) => bytes(14, &Payload { node: *node, ..Payload::default() }),
            Self::Back(node) => bytes(15, &Payload { node: *node, ..Payload::default() }),
            Self::Absent(node, since) => bytes(16, &Payload { node: *node, ..of_number(*since) }),
        }
    }

    /// The record that these bytes are.
    ///
    /// # Errors
    /// [`NotARecord`].
    pub fn decode(bytes: Bytes) -> Result<Self, NotARecord> {
        let (kind, p) = read(bytes)?;
        let print = |ids: Vec<ObjectId>| ids.first().map(|id| id.0);
        let record = match kind {
            1 => Some(Self::PollOpen(p.node)),
            2 => Some(Self::PollShut(p.node)),
            3 => {
                let names = p.words.clone().and_then(|names| String::from_utf8(names.into()).ok());
                let names = names.and_then(|names| {
                    names.split_once('\n').map(|(site, spoke)| (site.to_owned(), spoke.to_owned()))
                });
                names.zip(p.offer()).map(|((site, spoke), offer)| Self::Offered(site, spoke, offer))
            }
            4 => p.key().map(Self::OfferTaken),
            5 => p.key().map(Self::Whole),
            6 => p.key().map(|key| Self::Confirmed(key, p.number)),
            7 => p.key().map(Self::ConfirmDone),
            8 => p.key().map(Self::MessageDone),
            9 => Some(Self::Replied(Reply { node: p.node, body: p.body })),
            10 => p.key().map(Self::ReplyDone),
            11 => {
                p.ids().and_then(print).zip(p.answer()).map(|(print, answer)| Self::Answered(print, answer))
            }
            12 => p.ids().and_then(print).map(Self::AnswerVoid),
            13 => p.ids().and_then(print).map(Self::CallOpen),
            14 => Some(Self::Away(p.node)),
            15 => Some(Self::Back(p.node)),
            16 => Some(Self::Absent(p.node, p.number)),
            _ => None,
        };
        record.ok_or(NotARecord)
    }

    /// Whether it has to survive a power cut, too, together with all objects that came before it.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Offered(..) | Self::Replied(_))
    }

    /// Whether it has to survive a power cut by itself. What is not final need not: SuperLink is in the same VM, and with it
    /// the run that it is about.
    pub fn is_promise(&self) -> bool {
        self.is_final()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onefed_flower::Transport;
    use onefed_flower::fleet::Refusal;

    fn spoke_round_trip(record: &SpokeRecord) {
        assert_eq!(SpokeRecord::decode(record.encode().into()).as_ref(), Ok(record));
    }

    fn hub_round_trip(record: &HubRecord) {
        assert_eq!(HubRecord::decode(record.encode().into()).as_ref(), Ok(record));
    }

    #[test]
    fn records_read_back() {
        let key = MessageKey { node: u64::MAX, id: ObjectId([7; 32]) };
        let offer = Offer {
            node: 5,
            body: Bytes::from_static(b"body"),
            run: Some(Bytes::new()),
            fab: Some(("hash".into(), ObjectId([9; 32]))),
        };
        let plain = Offer { run: None, fab: None, ..offer.clone() };
        let reply = Reply { node: 6, body: Bytes::from_static(b"reply") };
        spoke_round_trip(&SpokeRecord::Node(5, "PEM\n".into()));
        spoke_round_trip(&SpokeRecord::Offered(offer.clone()));
        spoke_round_trip(&SpokeRecord::Offered(plain));
        spoke_round_trip(&SpokeRecord::Confirmed(key, 3));
        spoke_round_trip(&SpokeRecord::Replied(reply.clone()));
        spoke_round_trip(&SpokeRecord::Epoch(u64::MAX));
        for record in [SpokeRecord::MessageDone, SpokeRecord::Spooled, SpokeRecord::ReplyDone] {
            spoke_round_trip(&record(key));
        }
        hub_round_trip(&HubRecord::PollOpen(5));
        hub_round_trip(&HubRecord::PollShut(5));
        hub_round_trip(&HubRecord::Away(5));
        hub_round_trip(&HubRecord::Back(5));
        hub_round_trip(&HubRecord::Absent(5, u64::MAX));
        hub_round_trip(&HubRecord::Offered("paris".into(), "7".into(), offer));
        hub_round_trip(&HubRecord::Confirmed(key, 3));
        hub_round_trip(&HubRecord::Replied(reply));
        for record in [
            HubRecord::OfferTaken,
            HubRecord::Whole,
            HubRecord::ConfirmDone,
            HubRecord::MessageDone,
            HubRecord::ReplyDone,
        ] {
            hub_round_trip(&record(key));
        }
        for transport in [Transport::Grpc, Transport::Http] {
            let answer = FleetAnswer::refusal(transport, Refusal::Unavailable, "busy");
            hub_round_trip(&HubRecord::Answered([3; 32], answer));
        }
        hub_round_trip(&HubRecord::AnswerVoid([3; 32]));
        hub_round_trip(&HubRecord::CallOpen([3; 32]));
        assert_eq!(HubRecord::decode(Bytes::new()), Err(NotARecord));
        assert_eq!(SpokeRecord::decode(Bytes::from_static(&[99])), Err(NotARecord));
    }
}
