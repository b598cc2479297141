//! The last models of the runs: what is wanted next is likely to resemble them.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use onefed_flower::objects::{self, MessageHead, ObjectId};

/// So many runs' models are known at once.
const RUNS: usize = 8;
/// So many objects are remembered of those that the other end was sent: some rounds of a model of 10 GiB.
const RECENT: usize = 8192;

/// A base for each object that has one.
pub(super) type Bases = HashMap<ObjectId, ObjectId>;

/// The messages that brought the last models of each run; those used last in front.
#[derive(Default)]
pub(super) struct Models(VecDeque<Model>);

struct Model {
    run: u64,
    latest: Bytes,
    before: Bytes,
}

impl Models {
    /// Takes a message to a node, and gives bases for its objects: of the same run's model before. All nodes of a round
    /// get the same model, which is not its own base.
    pub(super) fn note(&mut self, head: &MessageHead, body: &Bytes) -> Bases {
        let known = self.0.iter().position(|model| model.run == head.run).and_then(|at| self.0.remove(at));
        let Some(mut model) = known else {
            self.0.push_front(Model { run: head.run, latest: body.clone(), before: Bytes::new() });
            self.0.truncate(RUNS);
            return Bases::new();
        };
        let bases = model.bases(body);
        if !objects::counterparts(body, &model.latest).is_empty() || !shares(head, &model.latest) {
            model.before = std::mem::replace(&mut model.latest, body.clone());
        }
        self.0.push_front(model);
        bases
    }

    /// Bases for the objects of a reply: of the model that its run had last.
    pub(super) fn for_reply(&self, head: &MessageHead, body: &Bytes) -> Bases {
        self.0.iter().find(|model| model.run == head.run).map_or_else(Bases::new, |model| model.bases(body))
    }
}

impl Model {
    fn bases(&self, body: &Bytes) -> Bases {
        let latest = objects::counterparts(body, &self.latest);
        let pairs = if latest.is_empty() { objects::counterparts(body, &self.before) } else { latest };
        pairs.into_iter().collect()
    }
}

/// Whether a message has objects of another.
fn shares(head: &MessageHead, other: &Bytes) -> bool {
    let objects: HashSet<ObjectId> =
        objects::message_head(other).into_iter().flat_map(|other| other.objects).collect();
    head.objects.iter().any(|id| objects.contains(id))
}

/// The objects that the other end was sent last. Only these are bases for it: the difference to an object tells what is
/// in it, and it may be another site's.
#[derive(Default)]
pub(super) struct Recent {
    order: VecDeque<ObjectId>,
    known: HashSet<ObjectId>,
}

impl Recent {
    pub(super) fn add(&mut self, id: ObjectId) {
        if self.known.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn has(&self, id: ObjectId) -> bool {
        self.known.contains(&id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A protobuf field with a length below 2^14.
    fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len();
        [&[tag << 3 | 2, (length & 0x7f) as u8 | 0x80, (length >> 7) as u8], bytes].concat()
    }

    fn id(byte: u8) -> ObjectId {
        ObjectId([byte; 32])
    }

    fn tree(root: u8, children: &[Vec<u8>]) -> Vec<u8> {
        let children: Vec<u8> = children.iter().flat_map(|child| field(2, child)).collect();
        [field(1, id(root).to_string().as_bytes()), children].concat()
    }

    /// A message of run 7 with arrays of one chunk each.
    fn message(root: u8, chunks: &[u8]) -> Bytes {
        let arrays: Vec<_> = chunks.iter().map(|chunk| tree(chunk + 100, &[tree(*chunk, &[])])).collect();
        let record = tree(chunks.first().map_or(220, |chunk| chunk + 120), &arrays);
        let metadata = [vec![8, 7], field(2, id(root).to_string().as_bytes())].concat();
        let root = tree(root, &[tree(root + 1, &[record])]);
        [field(2, &field(1, &metadata)), field(3, &root)].concat().into()
    }

    fn bases(models: &mut Models, body: &Bytes) -> Vec<(u8, u8)> {
        let head = objects::message_head(body).unwrap();
        let of_reply = models.for_reply(&head, body);
        let bases = models.note(&head, body);
        assert_eq!(of_reply, bases);
        let mut pairs: Vec<_> = bases.into_iter().map(|(id, base)| (id.0[0], base.0[0])).collect();
        pairs.sort_unstable();
        pairs
    }

    #[test]
    fn a_model_resembles_the_one_of_the_round_before() {
        let mut models = Models::default();
        assert_eq!(bases(&mut models, &message(230, &[1, 2])), []);
        // The same model for another node, and then the next round for both.
        assert_eq!(bases(&mut models, &message(232, &[1, 2])), []);
        for root in [234, 236] {
            assert_eq!(bases(&mut models, &message(root, &[11, 12])), [(11, 1), (12, 2)]);
        }
        // A message without a model in between, and a layer that stays as it is.
        assert_eq!(bases(&mut models, &message(238, &[])), []);
        assert_eq!(bases(&mut models, &message(240, &[21, 22])), [(21, 11), (22, 12)]);
        assert_eq!(bases(&mut models, &message(242, &[31, 22])), [(31, 21)]);
        // Of one of another shape something may be the counterpart.
        assert_eq!(bases(&mut models, &message(244, &[41, 42, 43])), [(41, 31), (42, 22), (43, 31)]);
        assert_eq!(bases(&mut models, &message(246, &[51, 52, 53])), [(51, 41), (52, 42), (53, 43)]);
    }

    #[test]
    fn only_what_was_sent_last_is_known() {
        let mut recent = Recent::default();
        let numbered = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_le_bytes());
            ObjectId(id)
        };
        (0..=RECENT).for_each(|number| recent.add(numbered(number)));
        recent.add(numbered(RECENT));
        assert!(!recent.has(numbered(0)) && recent.has(numbered(1)) && recent.has(numbered(RECENT)));
    }
}
