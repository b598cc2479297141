//! The bodies of Flower's messages that the product never makes itself. Tags as in 1.31.0 and 1.41.0.

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use prost::Message as _;

use super::{Model, RUN};

#[derive(Clone, PartialEq, prost::Message)]
struct Tree {
    #[prost(string, tag = "1")]
    object_id: String,
    #[prost(message, repeated, tag = "2")]
    children: Vec<Tree>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Metadata {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "2")]
    message_id: String,
    #[prost(uint64, tag = "3")]
    src_node_id: u64,
    #[prost(uint64, tag = "4")]
    dst_node_id: u64,
    #[prost(string, tag = "5")]
    reply_to_message_id: String,
    #[prost(string, tag = "6")]
    group_id: String,
    #[prost(double, tag = "7")]
    ttl: f64,
    #[prost(string, tag = "8")]
    message_type: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Head {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Node {
    #[prost(uint64, tag = "1")]
    node_id: u64,
}

/// PullMessagesResponse without a node, PushMessagesRequest with one.
#[derive(Clone, PartialEq, prost::Message)]
struct Messages {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(message, repeated, tag = "2")]
    messages: Vec<Head>,
    #[prost(message, repeated, tag = "3")]
    trees: Vec<Tree>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Run {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "5")]
    fab_hash: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunAnswer {
    #[prost(message, optional, tag = "1")]
    run: Option<Run>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Fab {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(bytes = "bytes", tag = "2")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FabAnswer {
    #[prost(message, optional, tag = "1")]
    fab: Option<Fab>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ObjectAnswer {
    #[prost(bool, tag = "1")]
    found: bool,
    #[prost(bool, tag = "2")]
    available: bool,
    #[prost(bytes = "bytes", tag = "3")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Confirm {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(uint64, tag = "2")]
    run_id: u64,
    #[prost(string, tag = "3")]
    message_object_id: String,
}

fn both(model: &Model, node: Option<u64>, src: u64, dst: u64, reply_to: Option<ObjectId>) -> Bytes {
    let metadata = Metadata {
        run_id: RUN,
        message_id: model.id().to_string(),
        src_node_id: src,
        dst_node_id: dst,
        reply_to_message_id: reply_to.map(|id| id.to_string()).unwrap_or_default(),
        group_id: "1".to_owned(),
        ttl: 43_200.0,
        message_type: "train".to_owned(),
    };
    let leaf = |id: &ObjectId| Tree { object_id: id.to_string(), children: Vec::new() };
    // The last two are the record, which holds all others, and the message, which holds the record.
    let ids = model.ids();
    let mut tree = Tree::default();
    if let [chunks @ .., record, message] = ids.as_slice() {
        let record = Tree { object_id: record.to_string(), children: chunks.iter().map(leaf).collect() };
        tree = Tree { object_id: message.to_string(), children: vec![record] };
    }
    let node = node.map(|node_id| Node { node_id });
    let all = Messages { node, messages: vec![Head { metadata: Some(metadata) }], trees: vec![tree] };
    all.encode_to_vec().into()
}

/// The answer to PullMessages with this message.
pub(super) fn pulled(model: &Model, node: u64) -> Bytes {
    both(model, None, 1, node, None)
}

/// The request that announces this reply.
pub(super) fn push(model: &Model, node: u64, reply_to: ObjectId) -> Bytes {
    both(model, Some(node), node, 1, Some(reply_to))
}

pub(super) fn run(fab_hash: &str) -> Bytes {
    RunAnswer { run: Some(Run { run_id: RUN, fab_hash: fab_hash.to_owned() }) }.encode_to_vec().into()
}

pub(super) fn fab(hash: &str, content: &Bytes) -> Bytes {
    let fab = Fab { hash: hash.to_owned(), content: content.clone() };
    FabAnswer { fab: Some(fab) }.encode_to_vec().into()
}

pub(super) fn object(content: Option<&Bytes>) -> Bytes {
    let found = content.is_some();
    let content = content.cloned().unwrap_or_default();
    ObjectAnswer { found, available: found, content }.encode_to_vec().into()
}

pub(super) fn confirm(node: u64, message: ObjectId) -> Bytes {
    let (node, message_object_id) = (Some(Node { node_id: node }), message.to_string());
    Confirm { node, run_id: RUN, message_object_id }.encode_to_vec().into()
}
