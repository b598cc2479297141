//! Messages for the engines' own tests.

use bytes::Bytes;
use onefed_flower::objects::ObjectId;

/// A field of a protobuf message that is a text or a message itself.
fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let (low, high) = (content.len() % 128, content.len() / 128);
    assert!(high < 128, "two bytes are enough for the length");
    [&[tag << 3 | 2, low as u8 | 0x80, high as u8], content].concat()
}

/// The body of a PushMessages call or of the answer to a poll: a message of run 0 with these children, in answer to
/// another.
pub(super) fn message_body(id: u8, children: &[u8], answers: Option<u8>) -> Bytes {
    let text = |id: u8| ObjectId([id; 32]).to_string().into_bytes();
    let child = |child: &u8| field(2, &field(1, &text(*child)));
    let tree = [field(1, &text(id)), children.iter().flat_map(child).collect()].concat();
    let answers = answers.map(|to| field(5, &text(to))).unwrap_or_default();
    let message = field(1, &[field(2, &text(id)), answers].concat());
    [field(2, &message), field(3, &tree)].concat().into()
}
