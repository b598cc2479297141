//! Flower's messages and objects as a link sees them: which objects a message is made of, and the answers that a hop of
//! our own may give to calls about them.
//!
//! An object is named by the SHA-256 of its content. A message travels without content: its *tree* names the objects,
//! children before their parent in the order in which Flower moves them. Bodies that pass through are never re-encoded;
//! [`Cut`] only takes out the part of a tree that all nodes of a run share.

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};

/// The name of an object: the SHA-256 of its content. Shown, and sent by Flower, as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 32]);

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an object id of 64 hexadecimal digits")]
pub struct NotAnObjectId;

impl FromStr for ObjectId {
    type Err = NotAnObjectId;

    fn from_str(text: &str) -> Result<Self, NotAnObjectId> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAnObjectId),
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return Err(NotAnObjectId) };
        let mut id = [0; 32];
        if pairs.len() != id.len() {
            return Err(NotAnObjectId);
        }
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(id))
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A message in the answer to PullMessages, or in a PushMessages request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// Flower's message id, which is the id of the root of its tree.
    pub id: ObjectId,
    /// The run that it belongs to.
    pub run: u64,
    /// The message that this one answers, if it is a reply.
    pub reply_to: Option<ObjectId>,
    /// Every object of it once, children before parents; the last one is the message itself.
    pub objects: Vec<ObjectId>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "2")]
    message_id: String,
    #[prost(string, tag = "5")]
    reply_to_message_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MessageProto {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

/// A tree, read without recursion limits of its own: prost stops at a depth of 100, Flower's trees have five levels.
#[derive(Clone, PartialEq, prost::Message)]
struct ObjectTree {
    #[prost(string, tag = "1")]
    object_id: String,
    #[prost(message, repeated, tag = "2")]
    children: Vec<ObjectTree>,
}

/// PullMessagesResponse and PushMessagesRequest have both lists at the same tags.
#[derive(Clone, PartialEq, prost::Message)]
struct WithMessages {
    #[prost(message, repeated, tag = "2")]
    messages: Vec<MessageProto>,
    #[prost(message, repeated, tag = "3")]
    trees: Vec<ObjectTree>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NodeProto {
    #[prost(uint64, tag = "1")]
    node_id: u64,
}

/// GetRunRequest, and the first fields of other requests about a run.
#[derive(Clone, PartialEq, prost::Message)]
struct RunRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeProto>,
    #[prost(uint64, tag = "2")]
    run_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FabRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeProto>,
    #[prost(string, tag = "2")]
    hash: String,
    #[prost(uint64, tag = "3")]
    run_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunAnswer {
    #[prost(message, optional, tag = "1")]
    run: Option<RunProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunProto {
    #[prost(string, tag = "5")]
    fab_hash: String,
}

/// PullObjectRequest and ConfirmMessageReceivedRequest, which have the same shape.
#[derive(Clone, PartialEq, prost::Message)]
struct ObjectRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeProto>,
    #[prost(uint64, tag = "2")]
    run_id: u64,
    #[prost(string, tag = "3")]
    object_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushObjectProto {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeProto>,
    #[prost(uint64, tag = "2")]
    run_id: u64,
    #[prost(string, tag = "3")]
    object_id: String,
    #[prost(bytes = "bytes", tag = "4")]
    content: Bytes,
    #[prost(string, tag = "5")]
    session_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PullObjectProto {
    #[prost(bool, tag = "1")]
    found: bool,
    #[prost(bool, tag = "2")]
    available: bool,
    #[prost(bytes = "bytes", tag = "3")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PushMessagesProto {
    #[prost(message, optional, tag = "1")]
    reconnect: Option<Reconnect>,
    #[prost(map = "string, uint32", tag = "2")]
    results: std::collections::HashMap<String, u32>,
    #[prost(string, repeated, tag = "3")]
    objects_to_push: Vec<String>,
    #[prost(string, tag = "4")]
    session_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reconnect {
    #[prost(uint64, tag = "1")]
    reconnect: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stored {
    #[prost(bool, tag = "1")]
    stored: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Heartbeat {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeProto>,
    #[prost(double, tag = "2")]
    interval: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Activation {
    #[prost(bytes = "bytes", tag = "1")]
    public_key: Bytes,
    #[prost(double, tag = "2")]
    interval: f64,
}

/// What a PullObject or ConfirmMessageReceived request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectAsked {
    /// The node that asks.
    pub node: u64,
    /// The run.
    pub run: u64,
    /// The object, or the message that was received.
    pub id: ObjectId,
}

/// What a PushObject request brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPushed {
    /// The node that brings it.
    pub node: u64,
    /// The run.
    pub run: u64,
    /// What it says that the content's SHA-256 is. Not checked here.
    pub id: ObjectId,
    /// The content.
    pub content: Bytes,
}

/// What an answer to PullObject says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectAnswer {
    /// The content. Its hash is not checked here.
    Content(Bytes),
    /// Known, but not there yet: ask again.
    NotYet,
    /// Nobody knows it (any more).
    Unknown,
}

/// What an answer to PushMessages says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushSession {
    /// The objects that are wanted.
    pub wanted: Vec<ObjectId>,
    /// The session that they are to be pushed in; empty before Flower 1.33.
    pub session: String,
}

/// The first message in the answer to PullMessages or in a PushMessages request (Flower sends one at most). `None` where
/// there is none, or where its tree cannot be read; then the body can only be passed on.
pub fn message_head(body: &Bytes) -> Option<MessageHead> {
    let both = WithMessages::decode(body.clone()).ok()?;
    let ([message], [tree]) = (both.messages.as_slice(), both.trees.as_slice()) else { return None };
    let metadata = message.metadata.as_ref()?;
    let mut objects = Vec::new();
    let mut seen = std::collections::HashSet::new();
    collect(tree, &mut objects, &mut seen)?;
    let id = metadata.message_id.parse().ok()?;
    let reply_to = metadata.reply_to_message_id.parse().ok();
    (objects.last() == Some(&id)).then_some(MessageHead { id, run: metadata.run_id, reply_to, objects })
}

/// The objects of a message, each once, in the order in which a SuperLink with a database names them to whoever gets the
/// message, and in which Flower then pulls them: children before parents, siblings by their ids. Empty where
/// [`message_head`] is `None`.
pub fn pull_order(body: &Bytes) -> Vec<ObjectId> {
    let mut trees = WithMessages::decode(body.clone()).map(|both| both.trees).unwrap_or_default();
    let (mut objects, mut seen) = (Vec::new(), std::collections::HashSet::new());
    let [tree] = trees.as_mut_slice() else { return objects };
    sort_siblings(tree);
    if collect(tree, &mut objects, &mut seen).is_none() {
        objects.clear();
    }
    objects
}

fn sort_siblings(tree: &mut ObjectTree) {
    tree.children.sort_unstable_by(|one, other| one.object_id.cmp(&other.object_id));
    tree.children.iter_mut().for_each(sort_siblings);
}

/// Whether the answer to PullMessages brings no message.
pub fn no_message(body: &Bytes) -> bool {
    WithMessages::decode(body.clone()).is_ok_and(|both| both.messages.is_empty())
}

fn collect(
    tree: &ObjectTree,
    into: &mut Vec<ObjectId>,
    seen: &mut std::collections::HashSet<ObjectId>,
) -> Option<()> {
    tree.children.iter().try_for_each(|child| collect(child, into, seen))?;
    let id = tree.object_id.parse().ok()?;
    if seen.insert(id) {
        into.push(id);
    }
    Some(())
}

/// Which objects of a message are likely to resemble which of another: the chunks of its arrays, by their places. Pairs of
/// (new, old), each new one once, in the order of the new message; none for what the other has, too.
///
/// Flower names arrays in an object, not in the tree, so this is a guess: an ArrayRecord is a subtree of three levels, and
/// goes with the first of the other message that has as many chunks, or else with the first. A SuperLink with a database
/// even sorts arrays by their hashes. What holds is that the counterparts are among the old ones: whoever uses a pair has
/// to look whether it helps, and whether another would help more.
pub fn counterparts(new: &Bytes, old: &Bytes) -> Vec<(ObjectId, ObjectId)> {
    let trees = |body: &Bytes| WithMessages::decode(body.clone()).map(|both| both.trees).unwrap_or_default();
    let (new, old) = (trees(new), trees(old));
    let (mut records, mut others) = (Vec::new(), Vec::new());
    // The message itself is none; without arrays it would look like one.
    for tree in new.iter().flat_map(|message| &message.children) {
        array_records(tree, &mut records);
    }
    for tree in old.iter().flat_map(|message| &message.children) {
        array_records(tree, &mut others);
    }
    let chunks = |records: Vec<&ObjectTree>| -> Vec<Vec<ObjectId>> {
        let of = |record: &ObjectTree| {
            let chunks = record.children.iter().flat_map(|array| &array.children);
            chunks.filter_map(|chunk| chunk.object_id.parse().ok()).collect()
        };
        records.into_iter().map(of).collect()
    };
    let (records, mut others) = (chunks(records), chunks(others));
    let mut seen: std::collections::HashSet<ObjectId> = others.iter().flatten().copied().collect();
    let mut pairs = Vec::new();
    for record in records {
        let same = others.iter().position(|other| other.len() == record.len());
        if others.is_empty() {
            break;
        }
        let other = others.remove(same.unwrap_or_default());
        let both = record.into_iter().zip(other.into_iter().cycle());
        pairs.extend(both.filter(|(chunk, _)| seen.insert(*chunk)));
    }
    pairs
}

/// Finds the subtrees with two levels below their root; says how many this one has.
fn array_records<'a>(tree: &'a ObjectTree, into: &mut Vec<&'a ObjectTree>) -> usize {
    let below = tree.children.iter().map(|child| array_records(child, into) + 1);
    let levels = below.max().unwrap_or_default();
    if levels == 2 {
        into.push(tree);
    }
    levels
}

/// The run in a GetRun request.
pub fn asked_run(body: &Bytes) -> Option<u64> {
    RunRequest::decode(body.clone()).ok().map(|request| request.run_id)
}

/// The run and the hash (as Flower writes it) in a GetFab request.
pub fn asked_fab(body: &Bytes) -> Option<(u64, String)> {
    FabRequest::decode(body.clone()).ok().map(|request| (request.run_id, request.hash))
}

/// The hash of the app bundle that the answer to GetRun names; empty where the run has none.
pub fn fab_of_run(body: &Bytes) -> Option<String> {
    Some(RunAnswer::decode(body.clone()).ok()?.run?.fab_hash)
}

/// What a PullObject or ConfirmMessageReceived request is about.
pub fn asked_object(body: &Bytes) -> Option<ObjectAsked> {
    let request = ObjectRequest::decode(body.clone()).ok()?;
    Some(ObjectAsked {
        node: request.node?.node_id,
        run: request.run_id,
        id: request.object_id.parse().ok()?,
    })
}

/// What a PushObject request brings; the content shares the memory of the body.
pub fn pushed_object(body: &Bytes) -> Option<ObjectPushed> {
    let request = PushObjectProto::decode(body.clone()).ok()?;
    Some(ObjectPushed {
        node: request.node?.node_id,
        run: request.run_id,
        id: request.object_id.parse().ok()?,
        content: request.content,
    })
}

/// What the answer to PullObject says; the content shares the memory of the body.
pub fn object_answer(body: &Bytes) -> Option<ObjectAnswer> {
    let answer = PullObjectProto::decode(body.clone()).ok()?;
    Some(match (answer.found, answer.available) {
        (false, _) => ObjectAnswer::Unknown,
        (true, false) => ObjectAnswer::NotYet,
        (true, true) => ObjectAnswer::Content(answer.content),
    })
}

/// What the answer to PushMessages says. `None` for ids that cannot be read.
pub fn push_session(body: &Bytes) -> Option<PushSession> {
    let answer = PushMessagesProto::decode(body.clone()).ok()?;
    let wanted = answer.objects_to_push.iter().map(|id| id.parse().ok()).collect::<Option<_>>()?;
    Some(PushSession { wanted, session: answer.session_id })
}

/// Whether the answer to PushObject says that the object was stored.
pub fn object_stored(body: &Bytes) -> bool {
    Stored::decode(body.clone()).is_ok_and(|answer| answer.stored)
}

/// The answer to PullObject that brings an object.
pub fn object_content(content: &Bytes) -> Bytes {
    PullObjectProto { found: true, available: true, content: content.clone() }.encode_to_vec().into()
}

/// All of [`object_content`] but the content itself, which is to follow; its length in bytes.
pub(crate) fn object_content_head(length: usize) -> BytesMut {
    let mut head = BytesMut::new();
    // Into memory that grows, encoding cannot fail.
    let _ = PullObjectProto { found: true, available: true, content: Bytes::new() }.encode(&mut head);
    content_follows(3, length, &mut head);
    head
}

/// All of [`push_object_request`] but the content itself, which is to follow; its length in bytes.
pub(crate) fn push_object_head(node: u64, run: u64, session: &str, id: ObjectId, length: usize) -> BytesMut {
    let mut head = BytesMut::from(&push_object_request(node, run, session, id, &Bytes::new())[..]);
    content_follows(4, length, &mut head);
    head
}

fn content_follows(tag: u32, length: usize, head: &mut BytesMut) {
    // As the encoder does with an empty one.
    if length > 0 {
        encode_key(tag, WireType::LengthDelimited, head);
        encode_varint(length as u64, head);
    }
}

/// The answer to PushMessages for one message.
pub fn push_accepted(message: ObjectId, wanted: &[ObjectId], session: &str) -> Bytes {
    let answer = PushMessagesProto {
        reconnect: Some(Reconnect { reconnect: 5 }),
        results: [(message.to_string(), 0)].into(),
        objects_to_push: wanted.iter().map(ToString::to_string).collect(),
        session_id: session.to_owned(),
    };
    answer.encode_to_vec().into()
}

/// The answer to PushObject.
pub fn push_object_answer(stored: bool) -> Bytes {
    Stored { stored }.encode_to_vec().into()
}

/// The answer to SendNodeHeartbeat that says "I know you"; it has the shape of [`push_object_answer`].
pub fn heartbeat_answer() -> Bytes {
    push_object_answer(true)
}

/// The answer to ActivateNode or RegisterNode.
pub fn node_answer(node: u64) -> Bytes {
    NodeProto { node_id: node }.encode_to_vec().into()
}

/// A DeactivateNode request.
pub fn deactivate_request(node: u64) -> Bytes {
    node_answer(node)
}

/// An ActivateNode request; the interval is in seconds, Flower's own is 30.
pub fn activate_request(public_key_pem: &str, interval: f64) -> Bytes {
    Activation { public_key: Bytes::copy_from_slice(public_key_pem.as_bytes()), interval }
        .encode_to_vec()
        .into()
}

/// A SendNodeHeartbeat request. SuperLink takes intervals of 10 to 1800 s, and the node for offline after twice that.
pub fn heartbeat_request(node: u64, interval: f64) -> Bytes {
    Heartbeat { node: Some(NodeProto { node_id: node }), interval }.encode_to_vec().into()
}

/// The interval that a SendNodeHeartbeat request names, in seconds.
pub fn heartbeat_interval(body: &Bytes) -> Option<f64> {
    let interval = Heartbeat::decode(body.clone()).ok()?.interval;
    (interval.is_finite() && interval > 0.0).then_some(interval)
}

/// A PullMessages request.
pub fn pull_messages_request(node: u64) -> Bytes {
    Heartbeat { node: Some(NodeProto { node_id: node }), interval: 0.0 }.encode_to_vec().into()
}

/// A GetRun request.
pub fn run_request(node: u64, run: u64) -> Bytes {
    RunRequest { node: Some(NodeProto { node_id: node }), run_id: run }.encode_to_vec().into()
}

/// A GetFab request.
pub fn fab_request(node: u64, run: u64, hash: &str) -> Bytes {
    FabRequest { node: Some(NodeProto { node_id: node }), hash: hash.to_owned(), run_id: run }
        .encode_to_vec()
        .into()
}

/// A PullObject or ConfirmMessageReceived request.
pub fn object_request(node: u64, run: u64, id: ObjectId) -> Bytes {
    ObjectRequest { node: Some(NodeProto { node_id: node }), run_id: run, object_id: id.to_string() }
        .encode_to_vec()
        .into()
}

/// A PushObject request.
pub fn push_object_request(node: u64, run: u64, session: &str, id: ObjectId, content: &Bytes) -> Bytes {
    PushObjectProto {
        node: Some(NodeProto { node_id: node }),
        run_id: run,
        object_id: id.to_string(),
        content: content.clone(),
        session_id: session.to_owned(),
    }
    .encode_to_vec()
    .into()
}

/// A body taken apart around the largest subtree below the root of its object tree. The trees of the nodes of a run
/// differ in their root only; of a model with many arrays the rest is nearly the whole body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// What comes before the shared part.
    pub head: Bytes,
    /// The shared part.
    pub shared: Bytes,
    /// What comes after it.
    pub tail: Bytes,
}

/// Subtrees below this many bytes are not worth a cut.
const LEAST_CUT: usize = 1024;

impl Cut {
    /// Cuts the answer to PullMessages. `None` where there is nothing worth it.
    pub fn of(body: &Bytes) -> Option<Self> {
        let tree = fields(body, 0..body.len())?.into_iter().find(|field| field.0 == 3)?.1;
        let children = fields(body, tree)?.into_iter().filter(|field| field.0 == 2);
        let shared = children.map(|field| field.1).max_by_key(ExactSizeIterator::len)?;
        (shared.len() >= LEAST_CUT).then(|| Self {
            head: body.slice(..shared.start),
            tail: body.slice(shared.end..),
            shared: body.slice(shared),
        })
    }

    /// The body again.
    pub fn join(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(self.head.len() + self.shared.len() + self.tail.len());
        body.put_slice(&self.head);
        body.put_slice(&self.shared);
        body.put_slice(&self.tail);
        body.freeze()
    }
}

/// The length-delimited fields of a protobuf message: tag, and where the content is. `None` for bytes that are not one.
fn fields(body: &Bytes, within: std::ops::Range<usize>) -> Option<Vec<(u32, std::ops::Range<usize>)>> {
    let mut rest = body.get(within.clone())?;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (tag, wire) = decode_key(&mut rest).ok()?;
        let length = match wire {
            WireType::Varint => {
                decode_varint(&mut rest).ok()?;
                continue;
            }
            WireType::SixtyFourBit => 8,
            WireType::ThirtyTwoBit => 4,
            WireType::LengthDelimited => usize::try_from(decode_varint(&mut rest).ok()?).ok()?,
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let at = within.end - rest.len();
        rest = rest.get(length..)?;
        if wire == WireType::LengthDelimited {
            found.push((tag, at..at + length));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests;
