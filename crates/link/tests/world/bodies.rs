//! Flower's messages, trees and the bodies of its calls, as far as the models on both sides of the link need them.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use prost::Message as _;

/// The object with this content.
pub fn id_of(content: &[u8]) -> ObjectId {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    ObjectId(digest.as_ref().try_into().unwrap())
}

#[derive(Debug, PartialEq, Eq)]
pub struct Tree {
    pub id: ObjectId,
    pub children: Vec<Rc<Tree>>,
}

impl Tree {
    /// Children before parents, as Flower goes through a tree; equal ones as often as they are named.
    pub fn walk(&self, each: &mut dyn FnMut(&Tree)) {
        self.children.iter().for_each(|child| child.walk(each));
        each(self);
    }

    /// Whether it names this object.
    pub fn has(&self, id: ObjectId) -> bool {
        self.id == id || self.children.iter().any(|child| child.has(id))
    }

    pub fn ids(&self) -> Vec<ObjectId> {
        let mut ids = Vec::new();
        self.walk(&mut |tree| {
            if !ids.contains(&tree.id) {
                ids.push(tree.id);
            }
        });
        ids
    }

    fn proto(&self) -> TreeProto {
        TreeProto {
            object_id: self.id.to_string(),
            children: self.children.iter().map(|child| child.proto()).collect(),
        }
    }

    /// As a SuperLink with a database gives it: children in the order of their hashes.
    fn sorted(&self) -> TreeProto {
        let mut children: Vec<_> = self.children.iter().map(|child| child.sorted()).collect();
        children.sort_by(|one, other| one.object_id.cmp(&other.object_id));
        TreeProto { object_id: self.id.to_string(), children }
    }
}

/// A message without its content.
#[derive(Debug, PartialEq, Eq)]
pub struct Msg {
    pub id: ObjectId,
    pub run: u64,
    pub src: u64,
    pub dst: u64,
    pub reply_to: Option<ObjectId>,
    pub tree: Rc<Tree>,
}

/// Makes objects: remembers the content of each.
#[derive(Default)]
pub struct Maker(pub HashMap<ObjectId, Bytes>);

impl Maker {
    pub fn leaf(&mut self, content: String) -> Rc<Tree> {
        self.node(content, Vec::new())
    }

    pub fn node(&mut self, mut content: String, children: Vec<Rc<Tree>>) -> Rc<Tree> {
        for child in &children {
            content.push_str(&format!("{:?}", child.id));
        }
        let content = Bytes::from(content);
        let id = id_of(&content);
        self.0.insert(id, content);
        Rc::new(Tree { id, children })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct TreeProto {
    #[prost(string, tag = "1")]
    object_id: String,
    #[prost(message, repeated, tag = "2")]
    children: Vec<TreeProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MetadataProto {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "2")]
    message_id: String,
    #[prost(uint64, tag = "3")]
    src_node_id: u64,
    #[prost(uint64, tag = "4")]
    dst_node_id: u64,
    #[prost(string, tag = "5")]
    reply_to: String,
    #[prost(string, tag = "6")]
    group_id: String,
    #[prost(double, tag = "7")]
    ttl: f64,
    #[prost(string, tag = "8")]
    message_type: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MessageProto {
    #[prost(message, optional, tag = "1")]
    metadata: Option<MetadataProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NodeProto {
    #[prost(uint64, tag = "1")]
    node_id: u64,
}

/// PullMessagesResponse and PushMessagesRequest; only the latter names the node.
#[derive(Clone, PartialEq, prost::Message)]
struct Messages {
    #[prost(message, optional, tag = "1")]
    node: Option<NodeProto>,
    #[prost(message, repeated, tag = "2")]
    messages: Vec<MessageProto>,
    #[prost(message, repeated, tag = "3")]
    trees: Vec<TreeProto>,
    #[prost(double, repeated, tag = "4")]
    runtimes: Vec<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Interval {
    #[prost(double, tag = "2")]
    interval: f64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RunProto {
    #[prost(uint64, tag = "1")]
    run_id: u64,
    #[prost(string, tag = "5")]
    fab_hash: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetRunResponse {
    #[prost(message, optional, tag = "1")]
    run: Option<RunProto>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FabProto {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(bytes = "bytes", tag = "2")]
    content: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetFabResponse {
    #[prost(message, optional, tag = "1")]
    fab: Option<FabProto>,
}

fn message(msg: &Msg) -> MessageProto {
    MessageProto {
        metadata: Some(MetadataProto {
            run_id: msg.run,
            message_id: msg.id.to_string(),
            src_node_id: msg.src,
            dst_node_id: msg.dst,
            reply_to: msg.reply_to.map(|id| id.to_string()).unwrap_or_default(),
            group_id: "1".into(),
            ttl: 43_200.0,
            message_type: "train".into(),
        }),
    }
}

/// The answer to PullMessages that brings this message, or none.
pub fn pull_answer(msg: Option<&Msg>) -> Bytes {
    let messages = msg.map(message).into_iter().collect();
    let trees = msg.map(|msg| msg.tree.sorted()).into_iter().collect();
    Messages { messages, trees, ..Messages::default() }.encode_to_vec().into()
}

/// The PushMessages request with this reply.
pub fn push_request(msg: &Msg) -> Bytes {
    let all = Messages {
        node: Some(NodeProto { node_id: msg.src }),
        messages: vec![message(msg)],
        trees: vec![msg.tree.proto()],
        runtimes: vec![1.5],
    };
    all.encode_to_vec().into()
}

/// The reply in a PushMessages request.
pub fn pushed_message(body: &Bytes) -> Option<Msg> {
    fn tree(proto: &TreeProto) -> Option<Rc<Tree>> {
        let children = proto.children.iter().map(tree).collect::<Option<_>>()?;
        Some(Rc::new(Tree { id: proto.object_id.parse().ok()?, children }))
    }
    let all = Messages::decode(body.clone()).ok()?;
    let metadata = all.messages.first()?.metadata.clone()?;
    Some(Msg {
        id: metadata.message_id.parse().ok()?,
        run: metadata.run_id,
        src: metadata.src_node_id,
        dst: metadata.dst_node_id,
        reply_to: metadata.reply_to.parse().ok(),
        tree: tree(all.trees.first()?)?,
    })
}

/// The heartbeat interval in seconds, in an activation or in a heartbeat.
pub fn interval(body: &Bytes) -> f64 {
    Interval::decode(body.clone()).map(|body| body.interval).unwrap_or_default()
}

pub fn run_answer(run_id: u64, fab_hash: &str) -> Bytes {
    GetRunResponse { run: Some(RunProto { run_id, fab_hash: fab_hash.into() }) }.encode_to_vec().into()
}

pub fn fab_answer(hash: &str, content: &Bytes) -> Bytes {
    GetFabResponse { fab: Some(FabProto { hash: hash.into(), content: content.clone() }) }
        .encode_to_vec()
        .into()
}

/// The hash and the content of the app in an answer to GetFab.
pub fn fab_of(body: &Bytes) -> Option<(String, Bytes)> {
    let fab = GetFabResponse::decode(body.clone()).ok()?.fab?;
    Some((fab.hash, fab.content))
}

/// The answer to PullObject for an object that is announced and not there yet.
pub fn not_yet() -> Bytes {
    Bytes::from_static(&[0x08, 0x01])
}
