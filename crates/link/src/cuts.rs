//! Cuts of the lines to spokes: one line in the log when one begins, and one when it is over that says how long it was, why
//! it came, and what was held and spooled meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// So many cuts that are not over are remembered; beyond, the oldest are forgotten.
const MAX: usize = 1024;

/// A line, by site and spoke.
type Name = (String, String);

/// The cuts that are not over yet.
#[derive(Default)]
pub(crate) struct Cuts(BTreeMap<Name, Cut>);

struct Cut {
    began: Instant,
    why: String,
    /// Once the line is back: after which time, and how many nodes were kept alive meanwhile.
    back: Option<(Duration, u64)>,
}

/// A cut that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Over {
    /// How long the line was down.
    pub(crate) lasted: Duration,
    /// Why it went down.
    pub(crate) why: String,
    /// Nodes that were kept alive meanwhile.
    pub(crate) held: u64,
}

impl Cuts {
    /// A line has gone.
    pub(crate) fn begin(&mut self, name: Name, why: &str, now: Instant) {
        self.0.insert(name, Cut { began: now, why: why.to_owned(), back: None });
        while self.0.len() > MAX {
            let oldest = self.0.iter().min_by_key(|(_, cut)| cut.began).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            self.0.remove(&oldest);
        }
    }

    /// It is back.
    pub(crate) fn back(&mut self, name: &Name, held: u64, now: Instant) {
        if let Some(cut) = self.0.get_mut(name) {
            cut.back = Some((now.saturating_duration_since(cut.began), held));
        }
    }

    /// The first word of a line that is back: what there is to say of its cut, once.
    pub(crate) fn over(&mut self, name: &Name) -> Option<Over> {
        let (lasted, held) = self.0.get(name)?.back?;
        let why = self.0.remove(name)?.why;
        Some(Over { lasted, why, held })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_told_once_when_it_is_over() {
        let (mut cuts, began) = (Cuts::default(), Instant::now());
        let at = |seconds| began + Duration::from_secs(seconds);
        let paris = ("paris".to_owned(), "7".to_owned());
        // The first time a line comes up nothing was cut.
        cuts.back(&paris, 0, at(0));
        assert_eq!(cuts.over(&paris), None);
        cuts.begin(paris.clone(), "no PING came back", at(1));
        assert_eq!(cuts.over(&paris), None);
        cuts.back(&paris, 3, at(61));
        let over = Over { lasted: Duration::from_secs(60), why: "no PING came back".into(), held: 3 };
        assert_eq!((cuts.over(&paris), cuts.over(&paris)), (Some(over), None));
    }

    #[test]
    fn spokes_that_never_come_back_do_not_pile_up() {
        let (mut cuts, began) = (Cuts::default(), Instant::now());
        for number in 0..2 * MAX {
            let at = began + Duration::from_millis(number as u64);
            cuts.begin(("paris".into(), number.to_string()), "gone", at);
        }
        assert_eq!(cuts.0.len(), MAX);
        assert!(cuts.0.contains_key(&("paris".into(), (2 * MAX - 1).to_string())));
    }
}
