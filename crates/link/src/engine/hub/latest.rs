//! What is remembered of calls, by their fingerprints: the latest only, so that no number of SuperNodes fills the memory.

use std::collections::{HashMap, VecDeque};

/// So many calls are remembered by each of these. With one entry per start of a SuperNode, those of days.
pub(super) const MOST: usize = 4096;

/// The latest calls, each with what is known of it.
pub(super) struct Latest<T> {
    known: HashMap<[u8; 32], T>,
    /// In the order in which they came; those that were removed are not in it.
    order: VecDeque<[u8; 32]>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { known: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Latest<T> {
    pub(super) fn get(&self, print: &[u8; 32]) -> Option<&T> {
        self.known.get(print)
    }

    pub(super) fn contains(&self, print: &[u8; 32]) -> bool {
        self.known.contains_key(print)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Those that are remembered, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8; 32], &T)> {
        self.order.iter().filter_map(|print| self.known.get_key_value(print))
    }

    /// Remembers one, or something else of one. The oldest goes when there are too many.
    pub(super) fn insert(&mut self, print: [u8; 32], value: T) {
        if self.known.insert(print, value).is_none() {
            self.order.push_back(print);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Forgets one. What was known of it.
    pub(super) fn remove(&mut self, print: &[u8; 32]) -> Option<T> {
        let value = self.known.remove(print)?;
        self.order.retain(|other| other != print);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_what_was_removed_does_not_count() {
        let print = |number: usize| {
            let mut print = [0; 32];
            print[..8].copy_from_slice(&number.to_le_bytes());
            print
        };
        let mut latest = Latest::default();
        (0..MOST).for_each(|number| latest.insert(print(number), number));
        latest.insert(print(0), 7);
        assert_eq!(latest.get(&print(0)), Some(&7));
        assert_eq!(latest.remove(&print(1)), Some(1));
        latest.insert(print(MOST), MOST);
        assert!(latest.contains(&print(0)));
        latest.insert(print(MOST + 1), MOST + 1);
        assert!(!latest.contains(&print(0)) && latest.contains(&print(2)));
        assert_eq!(latest.iter().count(), MOST);
        assert_eq!(latest.iter().next(), Some((&print(2), &2)));
    }
}
