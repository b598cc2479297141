//! Replies on their way up: taken in from the SuperNode, kept, sent to the hub as a whole.

use std::collections::HashSet;

use onefed_flower::fleet::FleetCall;
use onefed_flower::objects::{self, MessageHead, ObjectId};

use super::{Action, At, NotStored, Spoke, ok};
use crate::engine::frame::{MessageKey, Reply, SpokeFrame, Wanted};
use crate::engine::record::SpokeRecord;
use crate::engine::{Asked, Shelf, Ticket};

/// A reply that the hub does not have yet.
pub(super) struct Outgoing {
    pub(super) reply: Reply,
    head: MessageHead,
    missing: HashSet<ObjectId>,
    /// Whether all objects were here once, and the SuperNode knows it.
    pub(super) spooled: bool,
    /// When its SuperNode asked for work instead of bringing the rest.
    asked: Asked,
}

impl Spoke {
    /// A SuperNode announces a reply.
    pub(super) fn push_messages(&mut self, ticket: Ticket, node: u64, call: FleetCall, at: &mut At<'_>) {
        let head = objects::message_head(&call.body);
        let key = head.as_ref().map(|head| MessageKey { node, id: head.id });
        let known = key.filter(|key| self.replies.contains_key(key));
        // What it pushes from here on belongs to this reply.
        if self.sent.get(&node).is_some_and(|(_, sent)| key.is_none_or(|key| key.id != sent.id)) {
            self.sent.remove(&node);
        }
        // Who answers a message has it, should the disk have lost that it was confirmed.
        if let Some((head, to)) = head.as_ref().and_then(|head| Some((head, head.reply_to?))) {
            self.confirmed_by(MessageKey { node, id: to }, head.run, at);
        }
        let Some(key) = known.or(key.filter(|_| self.keeps())) else {
            return self.pass(ticket, call, at);
        };
        if known.is_none() {
            let reply = Reply { node, body: call.body.clone() };
            at.record(SpokeRecord::Replied(reply.clone()));
            self.take_reply(reply, at.shelf);
            self.send_reply(key, at);
            self.spool(key, at);
        }
        let Some(reply) = self.replies.get(&key) else { return };
        self.counters.answered_here += 1;
        let wanted: Vec<_> =
            reply.head.objects.iter().filter(|id| reply.missing.contains(id)).copied().collect();
        let session = format!("onefed-{}", key.id);
        at.answer(ticket, ok(call.transport, objects::push_accepted(key.id, &wanted, &session)));
    }

    pub(super) fn take_reply(&mut self, reply: Reply, shelf: &dyn Shelf) {
        let Some(head) = objects::message_head(&reply.body) else { return };
        let key = MessageKey { node: reply.node, id: head.id };
        if self.replies.contains_key(&key) {
            return;
        }
        for id in &head.objects {
            self.pins.keep(shelf, *id);
        }
        let missing = head.objects.iter().filter(|id| !shelf.has(**id)).copied().collect();
        self.replies.insert(key, Outgoing { reply, head, missing, spooled: false, asked: Asked::default() });
    }

    pub(super) fn forget_reply(&mut self, key: MessageKey, shelf: &dyn Shelf) {
        let Some(reply) = self.replies.remove(&key) else { return };
        for id in &reply.head.objects {
            self.pins.release(shelf, *id);
        }
        self.sent.insert(key.node, (reply.reply, reply.head));
    }

    /// Tells the hub of a reply: it then says what it wants.
    pub(super) fn send_reply(&mut self, key: MessageKey, at: &mut At<'_>) {
        if let Some(reply) = self.replies.get(&key).filter(|_| self.up) {
            at.send(SpokeFrame::Reply(reply.reply.clone()));
        }
    }

    /// A SuperNode brings an object of a reply.
    pub(super) fn push_object(&mut self, ticket: Ticket, node: u64, call: FleetCall, at: &mut At<'_>) {
        let pushed = objects::pushed_object(&call.body);
        let reply = pushed.as_ref().and_then(|pushed| {
            let of_node = self.replies.iter().filter(|(key, _)| key.node == node);
            of_node.into_iter().find(|(_, r)| r.head.run == pushed.run && r.head.objects.contains(&pushed.id))
        });
        let (Some(pushed), Some((key, reply))) = (pushed.as_ref(), reply) else {
            let sent = self.sent.get(&node).map(|(_, head)| head);
            let pushed = pushed.as_ref().zip(sent);
            if pushed.is_some_and(|(pushed, head)| head.objects.contains(&pushed.id)) {
                // The answer to its last try got lost. SuperLink would say that it was not stored.
                self.counters.answered_here += 1;
                return at.answer(ticket, ok(call.transport, objects::push_object_answer(true)));
            }
            return self.pass(ticket, call, at);
        };
        self.counters.answered_here += 1;
        let (key, missing) = (*key, reply.missing.contains(&pushed.id));
        self.replies.entry(key).and_modify(|reply| reply.asked = Asked::default());
        if !missing {
            // Its answer got lost, perhaps with the spoke, before it was written down that all is here.
            self.spool(key, at);
            return at.answer(ticket, ok(call.transport, objects::push_object_answer(true)));
        }
        self.pushes.insert(ticket, (key, pushed.id, call.transport));
        at.actions.push(Action::StorePushed(ticket, pushed.id, pushed.content.clone()));
    }

    /// An object of a reply is on the shelf, or not.
    pub(super) fn pushed(&mut self, ticket: Ticket, result: Result<(), NotStored>, at: &mut At<'_>) {
        let Some((_, id, transport)) = self.pushes.remove(&ticket) else { return };
        match result {
            Ok(()) => {
                self.hub_wants.arrived(id);
                self.arrived_for_replies(id, at);
                at.answer(ticket, ok(transport, objects::push_object_answer(true)));
            }
            Err(NotStored::WrongHash) => {
                at.answer(ticket, ok(transport, objects::push_object_answer(false)));
            }
            Err(NotStored::NoRoom) => at.answer(ticket, self.unavailable(transport)),
        }
    }

    fn arrived_for_replies(&mut self, id: ObjectId, at: &mut At<'_>) {
        let having =
            self.replies.iter_mut().filter_map(|(key, reply)| reply.missing.remove(&id).then_some(*key));
        for key in having.collect::<Vec<_>>() {
            self.spool(key, at);
        }
    }

    /// The message of a reply is void, and its SuperNode has never brought all of it.
    pub(super) fn drop_unfinished_reply_to(&mut self, message: MessageKey, at: &mut At<'_>) {
        let to_it = |(key, reply): &(&MessageKey, &Outgoing)| {
            key.node == message.node && !reply.spooled && reply.head.reply_to == Some(message.id)
        };
        for key in self.replies.iter().filter(to_it).map(|(key, _)| *key).collect::<Vec<_>>() {
            at.record(SpokeRecord::ReplyDone(key));
            self.forget_reply(key, at.shelf);
        }
    }

    /// A SuperNode that goes on asking for work has brought its reply in whole, or will never: it was started anew in between.
    /// Whether it may still be bringing one.
    pub(super) fn drop_unfinished_replies(&mut self, node: u64, poll: &FleetCall, at: &mut At<'_>) -> bool {
        let mut open = false;
        let unfinished = self.replies.iter_mut().filter(|(key, reply)| key.node == node && !reply.spooled);
        let dropped = unfinished.filter_map(|(key, reply)| {
            let goes_on = reply.asked.goes_on(poll);
            open |= !goes_on;
            goes_on.then_some((*key, reply.head.reply_to))
        });
        for (key, reply_to) in dropped.collect::<Vec<_>>() {
            tracing::warn!(node, reply = %key.id, "a SuperNode brought a part of a reply only");
            at.record(SpokeRecord::ReplyDone(key));
            self.forget_reply(key, at.shelf);
            self.counters.given_up += 1;
            // Should the hub not hear this, it sees that the message has no reply when it gets the poll.
            if let Some(id) = reply_to.filter(|_| self.up) {
                at.send(SpokeFrame::GaveUp(MessageKey { node, id }));
            }
        }
        open
    }

    /// Once all of it is here it may be relied on, before the SuperNode hears of the last object.
    fn spool(&mut self, key: MessageKey, at: &mut At<'_>) {
        let Some(reply) = self.replies.get_mut(&key) else { return };
        if reply.missing.is_empty() && !reply.spooled {
            reply.spooled = true;
            at.record(SpokeRecord::Spooled(key));
        }
    }

    /// The hub has the whole reply.
    pub(super) fn reply_taken(&mut self, key: MessageKey, at: &mut At<'_>) {
        if self.replies.contains_key(&key) {
            at.record(SpokeRecord::ReplyDone(key));
            self.forget_reply(key, at.shelf);
        }
    }

    /// The hub wants an object. One of a reply that was complete has to be there.
    pub(super) fn wanted(&mut self, wanted: Wanted, at: &mut At<'_>) {
        let complete = |reply: &Outgoing| reply.spooled && reply.head.objects.contains(&wanted.id);
        if !at.shelf.has(wanted.id) && self.replies.values().any(complete) {
            return self.reply_lost(wanted.id, at);
        }
        self.hub_wants.add(wanted, at.shelf);
    }

    /// An object of a reply is gone from the shelf. The SuperNode brings it again if it was not told that the reply is
    /// complete; otherwise nobody has it any more, and the reply can only be given up by name.
    pub(super) fn reply_lost(&mut self, id: ObjectId, at: &mut At<'_>) {
        if at.shelf.has(id) {
            // It cannot be read just now: others go first.
            if self.up && self.replies.values().any(|reply| reply.head.objects.contains(&id)) {
                self.hub_wants.add(id.into(), at.shelf);
            }
            return;
        }
        let mut lost = Vec::new();
        for (key, reply) in &mut self.replies {
            if reply.head.objects.contains(&id) {
                reply.missing.insert(id);
                if self.up {
                    self.hub_wants.add(id.into(), at.shelf);
                }
                if reply.spooled {
                    lost.push((*key, reply.head.reply_to));
                }
            }
        }
        for (key, reply_to) in lost {
            tracing::error!(node = key.node, reply = %key.id, object = %id, "an object of a reply is damaged: the reply is lost");
            self.counters.given_up += 1;
            at.record(SpokeRecord::ReplyDone(key));
            self.forget_reply(key, at.shelf);
            if self.up {
                let id = reply_to.unwrap_or(key.id);
                at.send(SpokeFrame::GaveUp(MessageKey { node: key.node, id }));
            }
        }
    }
}
