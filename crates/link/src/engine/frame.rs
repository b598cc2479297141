//! What hub and spoke say to each other on the control connection, and its bytes.
//!
//! A frame is `length (u32, big endian, of what follows) · kind (u8) · flags (u8) · payload`, the payload a protobuf
//! message, zstd-compressed if [`COMPRESSED`] is set. A kind from [`OPTIONAL`] up that is not known is skipped; any other
//! unknown kind ends the connection. Objects never travel here; see `bulk`.

use std::collections::VecDeque;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use onefed_flower::fleet::{FleetAnswer, FleetCall, FleetStatus, MAX_BODY};
use onefed_flower::objects::{Cut, ObjectId};
use onefed_flower::{Operation, Transport};
use prost::Message as _;
use ring::digest::{SHA256, digest};

use crate::stats::SpokeStats;

/// From this kind on a frame may be skipped by those who do not know it.
pub const OPTIONAL: u8 = 0x80;
/// The payload is compressed.
pub const COMPRESSED: u8 = 1;
/// The largest payload, before and after decompression: a call that is passed through, and a little more.
pub const MAX_FRAME: usize = MAX_BODY + (1 << 20);
/// Payloads from this size on are worth the attempt: trees are hexadecimal and shrink to half.
const WORTH_IT: usize = 4 << 10;

/// A frame from a spoke.
#[derive(Clone, Debug, PartialEq)]
pub enum SpokeFrame {
    /// A Fleet call that SuperLink has to answer. `seq` counts up within an epoch; a repeated one is the same call. All
    /// results up to `acked` have arrived.
    Call {
        /// Its number.
        seq: u64,
        /// Results that are no longer needed: all up to this number.
        acked: u64,
        /// The call.
        call: FleetCall,
    },
    /// The newest headers of a node, where no call has carried them.
    Auth {
        /// The node.
        node: u64,
        /// How the node speaks.
        transport: Transport,
        /// Flower's headers.
        headers: HeaderMap,
    },
    /// Objects that the spoke needs, in the order in which it would like them. Forgotten when the connection ends.
    Want(Vec<Wanted>),
    /// The offer is in the spoke's journal.
    OfferTaken(MessageKey),
    /// Every object of the message is at the spoke, or the message is no longer of interest.
    Whole(MessageKey),
    /// The SuperNode has confirmed the message. Repeated until [`HubFrame::ConfirmTaken`].
    Confirm(MessageKey, u64),
    /// A SuperNode's reply. Repeated after each reconnect until [`HubFrame::ReplyTaken`].
    Reply(Reply),
    /// The answer to [`HubFrame::Echo`].
    Echo(u64),
    /// Whether the spoke can keep anything on its disk.
    Storage(bool),
    /// What the spoke has done and has in hand, for the hub's status.
    Stats(Box<SpokeStats>),
    /// Nothing will come of the message: its SuperNode never confirmed it, or its reply is lost.
    GaveUp(MessageKey),
}

/// A frame from the hub.
#[derive(Clone, Debug, PartialEq)]
pub enum HubFrame {
    /// The answer to a call.
    Result {
        /// Which one.
        seq: u64,
        /// SuperLink's answer, or a refusal of the hub's.
        answer: FleetAnswer,
    },
    /// A message for a SuperNode. Repeated after each reconnect until [`SpokeFrame::OfferTaken`].
    Offer(Offer),
    /// Objects that the hub needs. Forgotten when the connection ends.
    Want(Vec<Wanted>),
    /// The hub will see to it that SuperLink hears of the confirmation.
    ConfirmTaken(MessageKey),
    /// The whole reply is safe at the hub.
    ReplyTaken(MessageKey),
    /// The message is void for this spoke: its run has ended, its node is silent or has moved, or the hub does not know it.
    Gone(MessageKey),
    /// Asks for [`SpokeFrame::Echo`] with the same number.
    Echo(u64),
    /// Whether the hub can keep anything on its disk.
    Storage(bool),
}

/// An object that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Which one.
    pub id: ObjectId,
    /// One that the receiver holds and that is likely to resemble it, or another of those that are wanted: the sender may
    /// send the difference to any that was named since nothing with a base was on its way.
    pub base: Option<ObjectId>,
}

impl From<ObjectId> for Wanted {
    fn from(id: ObjectId) -> Self {
        Self { id, base: None }
    }
}

/// A message of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey {
    /// The node that it is for, or from.
    pub node: u64,
    /// Flower's id of it.
    pub id: ObjectId,
}

/// A message on its way to a SuperNode, with all that the SuperNode will ask for before it pulls objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// For whom.
    pub node: u64,
    /// SuperLink's answer to PullMessages.
    pub body: Bytes,
    /// SuperLink's answer to GetRun, if the hub has it.
    pub run: Option<Bytes>,
    /// The app bundle as Flower names it, and the object whose content is SuperLink's answer to GetFab.
    pub fab: Option<(String, ObjectId)>,
}

/// A SuperNode's reply on its way to SuperLink.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// From whom.
    pub node: u64,
    /// The PushMessages request as the SuperNode sent it.
    pub body: Bytes,
}

/// The parts of bodies that went over one direction of one connection last. A part that is among them is named by its
/// SHA-256 instead of being sent again: the messages of a run differ between its nodes in a few hundred bytes. Both ends
/// keep the same ones, as both see the same frames in the same order.
#[derive(Default)]
pub struct Parts(VecDeque<([u8; 32], Bytes)>);

/// So many parts are kept,
const PARTS: usize = 8;
/// with so many bytes together.
const PARTS_BYTES: usize = 8 << 20;

impl Parts {
    /// The part of this name; it is the last one to go now.
    fn find(&mut self, name: &[u8]) -> Option<Bytes> {
        let at = self.0.iter().position(|(known, _)| known == name)?;
        let found = self.0.remove(at)?;
        let part = found.1.clone();
        self.0.push_back(found);
        Some(part)
    }

    /// Keeps a part that is not there yet.
    fn keep(&mut self, name: [u8; 32], part: &[u8]) {
        // A copy, so that no whole body is held for the sake of a part.
        self.0.push_back((name, Bytes::copy_from_slice(part)));
        while self.0.len() > PARTS || self.0.iter().map(|(_, part)| part.len()).sum::<usize>() > PARTS_BYTES {
            self.0.pop_front();
        }
    }
}

fn name_of(part: &[u8]) -> [u8; 32] {
    let mut name = [0; 32];
    name.copy_from_slice(digest(&SHA256, part).as_ref());
    name
}

/// Why bytes are not a frame. The connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`MAX_FRAME`].
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    /// A kind that has to be understood, and is not.
    #[error("a frame of the unknown kind {0}")]
    UnknownKind(u8),
    /// The payload is not what its kind says.
    #[error("a broken frame of kind {0}")]
    Broken(u8),
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

/// One shape for all frames: each uses the fields that it needs. Fields are never given another meaning.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Payload {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(uint64, tag = "2")]
    pub(super) acked: u64,
    #[prost(uint32, tag = "3")]
    pub(super) operation: u32,
    /// 1 gRPC, 2 HTTP.
    #[prost(uint32, tag = "4")]
    pub(super) transport: u32,
    #[prost(message, repeated, tag = "5")]
    pub(super) headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "6")]
    pub(super) body: Bytes,
    #[prost(uint32, tag = "7")]
    pub(super) status: u32,
    #[prost(bytes = "bytes", optional, tag = "8")]
    pub(super) words: Option<Bytes>,
    #[prost(fixed64, tag = "9")]
    pub(super) node: u64,
    #[prost(bytes = "bytes", tag = "10")]
    pub(super) ids: Bytes,
    #[prost(bytes = "bytes", optional, tag = "11")]
    pub(super) run: Option<Bytes>,
    #[prost(string, optional, tag = "12")]
    pub(super) fab: Option<String>,
    /// Where in the body the part is, or has to be put in.
    #[prost(uint64, tag = "13")]
    pub(super) part_at: u64,
    /// The length of a part that is in the body, and to be kept; 0 where there is none.
    #[prost(uint64, tag = "14")]
    pub(super) part_length: u64,
    /// The name of a part that is not in the body.
    #[prost(bytes = "bytes", optional, tag = "15")]
    pub(super) part: Option<Bytes>,
    /// A base for each id, zeros where there is none; empty where none has one.
    #[prost(bytes = "bytes", tag = "16")]
    pub(super) bases: Bytes,
}

impl SpokeFrame {
    /// Appends the frame's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let (kind, payload) = match self {
            Self::Call { seq, acked, call } => (1, Payload { acked: *acked, ..of_call(*seq, call) }),
            Self::Auth { node, transport, headers } => {
                let headers = of_headers(headers);
                (
                    2,
                    Payload {
                        node: *node,
                        transport: of_transport(*transport),
                        headers,
                        ..Payload::default()
                    },
                )
            }
            Self::Want(wanted) => (3, of_wanted(wanted)),
            Self::OfferTaken(key) => (4, of_key(*key)),
            Self::Whole(key) => (5, of_key(*key)),
            Self::Confirm(key, run) => (6, Payload { number: *run, ..of_key(*key) }),
            Self::Reply(reply) => {
                (7, Payload { node: reply.node, body: reply.body.clone(), ..Payload::default() })
            }
            Self::Echo(number) => (OPTIONAL, of_number(*number)),
            Self::Storage(ok) => (OPTIONAL + 1, of_number(u64::from(*ok))),
            Self::Stats(stats) => (OPTIONAL + 2, Payload { body: stats.to_bytes(), ..Payload::default() }),
            Self::GaveUp(key) => (8, of_key(*key)),
        };
        put(kind, &payload, out);
    }

    /// Takes the next whole frame off the front of the bytes; `None` while it is not all there. Optional frames that are
    /// not known are passed over.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(bytes: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        next(
            bytes,
            |kind, p| {
                Some(match kind {
                    1 => Self::Call { seq: p.number, acked: p.acked, call: p.call()? },
                    2 => Self::Auth { node: p.node, transport: p.transport()?, headers: p.headers()? },
                    3 => Self::Want(p.wanted()?),
                    4 => Self::OfferTaken(p.key()?),
                    5 => Self::Whole(p.key()?),
                    6 => Self::Confirm(p.key()?, p.number),
                    7 => Self::Reply(Reply { node: p.node, body: p.body }),
                    8 => Self::GaveUp(p.key()?),
                    OPTIONAL => Self::Echo(p.number),
                    0x81 => Self::Storage(p.number != 0),
                    0x82 => Self::Stats(Box::new(SpokeStats::from_bytes(p.body)?)),
                    _ => return None,
                })
            },
            |kind| matches!(kind, 1..=8 | OPTIONAL | 0x81 | 0x82),
        )
    }
}

impl HubFrame {
    /// Appends the frame's bytes, without reference to others.
    pub fn encode(&self, out: &mut BytesMut) {
        self.encode_as(Self::payload, out);
    }

    /// Appends the frame's bytes. `parts` is for this direction of this connection.
    pub fn encode_with(&self, parts: &mut Parts, out: &mut BytesMut) {
        self.encode_as(
            |frame| match frame {
                Self::Offer(offer) => (2, refer(of_offer(offer), parts)),
                other => other.payload(),
            },
            out,
        );
    }

    fn encode_as(&self, payload: impl FnOnce(&Self) -> (u8, Payload), out: &mut BytesMut) {
        let (kind, payload) = payload(self);
        put(kind, &payload, out);
    }

    fn payload(&self) -> (u8, Payload) {
        match self {
            Self::Result { seq, answer } => (1, of_answer(*seq, answer)),
            Self::Offer(offer) => (2, of_offer(offer)),
            Self::Want(wanted) => (3, of_wanted(wanted)),
            Self::ConfirmTaken(key) => (4, of_key(*key)),
            Self::ReplyTaken(key) => (5, of_key(*key)),
            Self::Gone(key) => (6, of_key(*key)),
            Self::Echo(number) => (OPTIONAL, of_number(*number)),
            Self::Storage(ok) => (OPTIONAL + 1, of_number(u64::from(*ok))),
        }
    }

    /// As [`SpokeFrame::decode`], of frames without reference to others.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode(bytes: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        Self::decode_with(&mut Parts::default(), bytes)
    }

    /// As [`SpokeFrame::decode`]. `parts` is for this direction of this connection.
    ///
    /// # Errors
    /// [`FrameError`].
    pub fn decode_with(parts: &mut Parts, bytes: &mut BytesMut) -> Result<Option<Self>, FrameError> {
        next(
            bytes,
            |kind, p| {
                Some(match kind {
                    1 => Self::Result { seq: p.number, answer: p.answer()? },
                    2 => Self::Offer(resolve(p, parts)?.offer()?),
                    3 => Self::Want(p.wanted()?),
                    4 => Self::ConfirmTaken(p.key()?),
                    5 => Self::ReplyTaken(p.key()?),
                    6 => Self::Gone(p.key()?),
                    OPTIONAL => Self::Echo(p.number),
                    0x81 => Self::Storage(p.number != 0),
                    _ => return None,
                })
            },
            |kind| matches!(kind, 1..=6 | OPTIONAL | 0x81),
        )
    }
}

/// Takes the shared part out of a payload's body, if the other end has it; if not, marks it as to be kept.
fn refer(mut payload: Payload, parts: &mut Parts) -> Payload {
    let Some(cut) = Cut::of(&payload.body) else { return payload };
    payload.part_at = cut.head.len() as u64;
    let name = name_of(&cut.shared);
    if parts.find(&name).is_some() {
        payload.body = [cut.head, cut.tail].concat().into();
        payload.part = Some(Bytes::copy_from_slice(&name));
    } else {
        payload.part_length = cut.shared.len() as u64;
        parts.keep(name, &cut.shared);
    }
    payload
}

/// Undoes [`refer`]. `None` for a part that is not known, or not within the body.
fn resolve(mut payload: Payload, parts: &mut Parts) -> Option<Payload> {
    let at = usize::try_from(payload.part_at).ok()?;
    if let Some(name) = &payload.part {
        let part = parts.find(name)?;
        let (head, tail) = payload.body.split_at_checked(at)?;
        payload.body = [head, &part, tail].concat().into();
    } else if payload.part_length > 0 {
        let end = at.checked_add(usize::try_from(payload.part_length).ok()?)?;
        let part = payload.body.get(at..end)?;
        parts.keep(name_of(part), part);
    }
    Some(payload)
}

fn put(kind: u8, payload: &Payload, out: &mut BytesMut) {
    let plain = payload.encode_to_vec();
    let packed = (plain.len() >= WORTH_IT).then(|| zstd::bulk::compress(&plain, 1).ok()).flatten();
    let packed = packed.filter(|packed| packed.len() < plain.len());
    let (flags, bytes) = packed.map_or((0, plain), |packed| (COMPRESSED, packed));
    out.reserve(6 + bytes.len());
    out.put_u32(u32::try_from(bytes.len() + 2).unwrap_or(u32::MAX));
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_slice(&bytes);
}

fn next<F>(
    bytes: &mut BytesMut,
    mut read: impl FnMut(u8, Payload) -> Option<F>,
    known: impl Fn(u8) -> bool,
) -> Result<Option<F>, FrameError> {
    loop {
        let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(FrameError::TooLong(length));
        }
        if length < 2 {
            return Err(FrameError::Broken(0));
        }
        if bytes.len() < 4 + length {
            return Ok(None);
        }
        bytes.advance(4);
        let mut frame = bytes.split_to(length).freeze();
        let (kind, flags) = (frame.get_u8(), frame.get_u8());
        if !known(kind) {
            if kind >= OPTIONAL {
                continue;
            }
            return Err(FrameError::UnknownKind(kind));
        }
        let broken = FrameError::Broken(kind);
        if flags & COMPRESSED != 0 {
            let mut whole = zstd::bulk::decompress(&frame, MAX_FRAME).map_err(|_| broken.clone())?;
            // Room for the longest was taken, and parts of a frame are kept for long.
            whole.shrink_to_fit();
            frame = whole.into();
        }
        let payload = Payload::decode(frame).map_err(|_| broken.clone())?;
        return read(kind, payload).map(Some).ok_or(broken);
    }
}

pub(super) fn of_number(number: u64) -> Payload {
    Payload { number, ..Payload::default() }
}

pub(super) fn of_key(key: MessageKey) -> Payload {
    Payload { node: key.node, ..of_ids(&[key.id]) }
}

pub(super) fn of_ids(ids: &[ObjectId]) -> Payload {
    let ids = ids.iter().flat_map(|id| id.0).collect::<Vec<u8>>().into();
    Payload { ids, ..Payload::default() }
}

/// Stands for "no base": nobody knows content with this SHA-256.
const NO_BASE: ObjectId = ObjectId([0; 32]);

fn of_wanted(wanted: &[Wanted]) -> Payload {
    let ids: Vec<_> = wanted.iter().map(|wanted| wanted.id).collect();
    let mut bases = Bytes::new();
    if wanted.iter().any(|wanted| wanted.base.is_some()) {
        bases = wanted.iter().flat_map(|wanted| wanted.base.unwrap_or(NO_BASE).0).collect();
    }
    Payload { bases, ..of_ids(&ids) }
}

fn of_transport(transport: Transport) -> u32 {
    match transport {
        Transport::Grpc => 1,
        Transport::Http => 2,
    }
}

fn of_headers(headers: &HeaderMap) -> Vec<Header> {
    let header = |(name, value): (&HeaderName, &HeaderValue)| Header {
        name: name.as_str().to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    headers.iter().map(header).collect()
}

fn of_call(seq: u64, call: &FleetCall) -> Payload {
    let operation = Operation::ALL.iter().position(|operation| *operation == call.operation);
    Payload {
        number: seq,
        // At most twelve.
        operation: operation.and_then(|at| u32::try_from(at + 1).ok()).unwrap_or_default(),
        transport: of_transport(call.transport),
        headers: of_headers(&call.headers),
        body: call.body.clone(),
        ..Payload::default()
    }
}

pub(super) fn of_answer(seq: u64, answer: &FleetAnswer) -> Payload {
    let kind = answer.content_type.as_ref().map(|kind| ("content-type", kind));
    let headers =
        kind.map(|(name, kind)| Header { name: name.into(), value: Bytes::copy_from_slice(kind.as_bytes()) });
    let (transport, status, words) = match &answer.status {
        FleetStatus::Grpc(code, words) => (1, u32::from(*code), words.as_ref()),
        FleetStatus::Http(status) => (2, u32::from(status.as_u16()), None),
    };
    Payload {
        number: seq,
        transport,
        status,
        words: words.map(|words| Bytes::copy_from_slice(words.as_bytes())),
        headers: headers.into_iter().collect(),
        body: answer.body.clone(),
        ..Payload::default()
    }
}

pub(super) fn of_offer(offer: &Offer) -> Payload {
    let ids = offer.fab.iter().map(|(_, id)| *id).collect::<Vec<_>>();
    Payload {
        node: offer.node,
        body: offer.body.clone(),
        run: offer.run.clone(),
        fab: offer.fab.as_ref().map(|(hash, _)| hash.clone()),
        ..of_ids(&ids)
    }
}

impl Payload {
    fn transport(&self) -> Option<Transport> {
        match self.transport {
            1 => Some(Transport::Grpc),
            2 => Some(Transport::Http),
            _ => None,
        }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let header = |header: &Header| {
            Some((
                header.name.parse::<HeaderName>().ok()?,
                HeaderValue::from_maybe_shared(header.value.clone()).ok()?,
            ))
        };
        self.headers.iter().map(header).collect()
    }

    fn call(self) -> Option<FleetCall> {
        let operation = *Operation::ALL.get((self.operation as usize).checked_sub(1)?)?;
        Some(FleetCall { operation, transport: self.transport()?, headers: self.headers()?, body: self.body })
    }

    pub(super) fn answer(self) -> Option<FleetAnswer> {
        let code = u16::try_from(self.status).ok()?;
        let status = match self.transport()? {
            Transport::Grpc => {
                let words = self.words.clone().map(HeaderValue::from_maybe_shared).transpose().ok()?;
                FleetStatus::Grpc(code, words)
            }
            Transport::Http => FleetStatus::Http(StatusCode::from_u16(code).ok()?),
        };
        let content_type = self.headers()?.remove(http::header::CONTENT_TYPE);
        Some(FleetAnswer { status, body: self.body, content_type })
    }

    pub(super) fn offer(self) -> Option<Offer> {
        let fab = match self.fab.clone() {
            None => None,
            Some(hash) => Some((hash, self.ids()?.first().copied()?)),
        };
        Some(Offer { node: self.node, body: self.body, run: self.run, fab })
    }

    pub(super) fn ids(&self) -> Option<Vec<ObjectId>> {
        let (ids, []) = self.ids.as_chunks::<32>() else { return None };
        Some(ids.iter().map(|id| ObjectId(*id)).collect())
    }

    fn wanted(&self) -> Option<Vec<Wanted>> {
        let ids = self.ids()?;
        let (bases, []) = self.bases.as_chunks::<32>() else { return None };
        if bases.is_empty() {
            return Some(ids.into_iter().map(Wanted::from).collect());
        }
        let base = |base: &[u8; 32]| Some(ObjectId(*base)).filter(|base| *base != NO_BASE);
        let both = ids.iter().zip(bases).map(|(id, bytes)| Wanted { id: *id, base: base(bytes) });
        (bases.len() == ids.len()).then(|| both.collect())
    }

    pub(super) fn key(&self) -> Option<MessageKey> {
        match self.ids()?.as_slice() {
            [id] => Some(MessageKey { node: self.node, id: *id }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
