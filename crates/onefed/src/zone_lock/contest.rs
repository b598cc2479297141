//! Who gets the lock: the rules, without any call. What to do next is decided from what was seen, and from when.
//!
//! A name is unique per owner only, the one that allocates is visible to others a moment later, and a zone that one
//! operator reaches may be down for another. So a lock is first wanted (beat 0) and then held (beat 1), and everybody
//! looks around before either. Of two, one sees the other in time: whoever wants gives way to those that hold and to those
//! that come before it; whoever has just taken it gives way to those that come before it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::record::{Identity, LIFE, Record};

/// Where a lock is: the zone's place in the order, and the template's id in it. The lowest one comes first.
pub(super) type Seat = (usize, u32);

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// Allocate a template.
    Want,
    /// Say that the lock here is held.
    Hold(Seat),
    /// Remove a lock of one's own.
    Withdraw(Seat),
    /// Remove the lock of somebody who is dead.
    TakeOver(Seat, Record),
    /// Look again in a while: this one may be alive.
    Watch(Record),
    /// Somebody else has it.
    GiveUp(Record),
    /// It is ours.
    Won(Seat),
}

/// One that wants the lock.
pub(super) struct Contest {
    own: Identity,
    /// The first beat that was seen of each other lock, and when.
    watched: BTreeMap<Seat, (u64, Instant)>,
}

impl Contest {
    pub(super) fn new(own: Identity) -> Self {
        Self { own, watched: BTreeMap::new() }
    }

    /// What to do, with these locks in the zones that answer. `lives` says whether a process lives, where that can be
    /// told.
    pub(super) fn next(
        &mut self,
        seen: &[(Seat, Record)],
        now: Instant,
        lives: impl Fn(&Identity) -> Option<bool>,
    ) -> Move {
        self.watched.retain(|seat, _| seen.iter().any(|(other, _)| other == seat));
        let mut mine: Vec<&(Seat, Record)> =
            seen.iter().filter(|(_, lock)| lock.identity == self.own).collect();
        mine.sort_by_key(|(seat, _)| *seat);
        if let [_, second, ..] = mine.as_slice() {
            // Allocated twice: an answer was lost, or the zone was down for a while.
            return Move::Withdraw(second.0);
        }
        let mine = mine.first().map(|(seat, lock)| (*seat, lock.beat));
        let mut rival = None;
        for (seat, lock) in seen.iter().filter(|(_, lock)| lock.identity != self.own) {
            let (first, since) = *self.watched.entry(*seat).or_insert((lock.beat, now));
            let still = now.duration_since(since) >= Duration::from_secs(LIFE) && lock.beat == first;
            match lives(&lock.identity) {
                Some(false) => return Move::TakeOver(*seat, lock.clone()),
                None if still => return Move::TakeOver(*seat, lock.clone()),
                lives => {
                    // It gives way to us by itself: it comes later, and has not got as far as we have.
                    let gives_way =
                        mine.is_some_and(|(own, beat)| own < *seat && (beat > 0 || lock.beat == 0));
                    let alive = lock.beat != first || (lives == Some(true) && lock.beat > 0);
                    if !gives_way && (alive || rival.is_none()) {
                        rival = Some((alive, lock));
                    }
                }
            }
        }
        match (mine, rival) {
            // Whatever is our own goes first.
            (Some((own, _)), Some(_)) => Move::Withdraw(own),
            (None, Some((true, lock))) => Move::GiveUp(lock.clone()),
            (None, Some((false, lock))) => Move::Watch(lock.clone()),
            (None, None) => Move::Want,
            (Some((own, 0)), None) => Move::Hold(own),
            // Seen as held, and nobody before it.
            (Some((own, _)), None) => Move::Won(own),
        }
    }
}

#[cfg(test)]
#[path = "contest_tests.rs"]
mod tests;
