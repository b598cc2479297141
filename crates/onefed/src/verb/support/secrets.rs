//! What must not be in a bundle, in any of the forms that it may have there.
//!
//! What goes into a bundle is chosen by name already. This is the second net: a value that was held back in one place,
//! and everything that is known to be a secret here, is cut out wherever else it turns up, such as in a log.

use std::collections::BTreeSet;
use std::path::Path;

use aho_corasick::{AhoCorasick, MatchKind};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{GeneralPurpose, general_purpose::NO_PAD, general_purpose::STANDARD};

/// What stands in place of something that is held back.
pub(super) const HIDDEN: &str = "(hidden)";

/// A value that somebody chose is only looked for from this length on: shorter ones are words like YES.
const SHORTEST: usize = 8;
/// From this length on a secret is looked for in base64 as well.
const SHORTEST_ENCODED: usize = 6;
/// A line of a key; a longer text is looked for line by line as well.
const LINE: usize = 32;
/// A file of the state directory that is longer is none of onefed's keys.
const LARGEST: u64 = 1 << 20;

/// Texts that are cut out.
#[derive(Default)]
pub(super) struct Secrets {
    needles: BTreeSet<String>,
    /// What everybody may know, and is therefore never looked for.
    public: BTreeSet<String>,
}

impl Secrets {
    /// A name that stands in the bundle anyway: a secret of the same text is none.
    pub(super) fn public(&mut self, name: &str) {
        self.public.insert(name.to_owned());
    }

    /// A secret of whatever length, such as a password.
    pub(super) fn secret(&mut self, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            self.add(text);
        }
    }

    /// A value that was held back, which may be a secret.
    pub(super) fn held_back(&mut self, text: &str) {
        let text = text.trim();
        if text.len() >= SHORTEST && !self.public.contains(text) {
            self.add(text);
        }
    }

    /// Everything in a state directory but what is public.
    pub(super) fn state(&mut self, dir: &Path) {
        const PUBLIC: [&str; 5] = ["inventory.json", "journal.jsonl", "federation", "lock", "zones"];
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                self.state(&path);
            } else if !PUBLIC.contains(&name.as_ref()) && !name.ends_with(".pem") {
                let small = entry.metadata().is_ok_and(|it| it.is_file() && it.len() <= LARGEST);
                if let Some(text) = small.then(|| std::fs::read(&path).ok()).flatten() {
                    self.held_back(&String::from_utf8_lossy(&text));
                }
            }
        }
    }

    fn add(&mut self, text: &str) {
        self.forms(text);
        // A key in PEM may be quoted line by line, or with its lines joined otherwise.
        let lines =
            text.lines().map(str::trim).filter(|line| line.len() >= LINE && !line.starts_with("-----"));
        lines.for_each(|line| self.forms(line));
        let decoded = STANDARD.decode(text.split_whitespace().collect::<String>());
        if let Some(inner) = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok())
            && inner.trim().len() >= SHORTEST
        {
            self.add(inner.trim());
        }
    }

    /// The text itself, as JSON writes it, and in base64 wherever in a longer text it began.
    fn forms(&mut self, text: &str) {
        // Between its quotes.
        let json = serde_json::to_string(text).unwrap_or_default();
        self.needles.insert(text.to_owned());
        self.needles.extend(json.get(1..json.len().saturating_sub(1)).map(str::to_owned));
        // A few digits of base64 are everywhere.
        if text.len() < SHORTEST_ENCODED {
            return;
        }
        for alphabet in [&alphabet::STANDARD, &alphabet::URL_SAFE] {
            let engine = GeneralPurpose::new(alphabet, NO_PAD);
            for shift in 0..3_usize {
                let bytes = [&[0; 3][..shift], text.as_bytes()].concat();
                let encoded = engine.encode(&bytes);
                // Digits that depend on what stands before or after are not looked for.
                let whole = (shift * 8).div_ceil(6)..bytes.len() * 8 / 6;
                self.needles.extend(encoded.get(whole).map(str::to_owned));
            }
        }
    }

    /// What looks for all of them at once.
    pub(super) fn scissors(&self) -> Scissors {
        let needles = self.needles.iter().filter(|needle| !needle.is_empty());
        // The longest first: a part of a secret that is one itself must not leave the rest standing.
        let finder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(needles);
        Scissors(finder.ok())
    }
}

/// Cuts secrets out of texts.
pub(super) struct Scissors(Option<AhoCorasick>);

impl Scissors {
    /// A text without any of the secrets. Where they cannot be looked for, nothing is left of it.
    pub(super) fn cut_from(&self, text: &str) -> String {
        let Some(finder) = &self.0 else { return HIDDEN.to_owned() };
        let mut out = String::with_capacity(text.len());
        finder.replace_all_with(text, &mut out, |_, _, out| {
            out.push_str(HIDDEN);
            true
        });
        cut_keys(&out)
    }
}

/// Cuts private keys in PEM, whoever they belong to, also where line breaks are written as `\n`.
fn cut_keys(text: &str) -> String {
    const END: &str = "PRIVATE KEY-----";
    let mut out = text.to_owned();
    let mut from = 0;
    while let Some(begin) = out[from..].find("-----BEGIN ").map(|at| at + from) {
        let rest = &out[begin..];
        let label = rest.find(END).filter(|at| !rest[..*at].contains(['\n', '"']) && *at < 40);
        let end = label.and_then(|label| {
            let after = label + END.len();
            rest[after..].find(END).map(|at| begin + after + at + END.len())
        });
        match (label, end) {
            (Some(_), Some(end)) => out.replace_range(begin..end, HIDDEN),
            // Without an end, all that follows may be the key.
            (Some(_), None) => out.replace_range(begin.., HIDDEN),
            (None, _) => from = begin + 1,
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_go_and_certificates_stay() {
        let text = "a -----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE----- b -----BEGIN EC PRIVATE KEY-----\nyy\n\
                    -----END EC PRIVATE KEY----- c -----BEGIN PRIVATE KEY-----\\nzz\\n";
        let cut = Secrets::default().scissors().cut_from(text);
        assert_eq!(cut, "a -----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE----- b (hidden) c (hidden)");
    }

    #[test]
    fn names_that_everybody_may_know_are_not_cut() {
        let mut secrets = Secrets::default();
        secrets.public("hospitals");
        secrets.held_back("hospitals");
        secrets.held_back("YES");
        secrets.held_back("sesame-open");
        assert_eq!(secrets.scissors().cut_from("hospitals YES sesame-open"), "hospitals YES (hidden)");
        secrets.secret("abc");
        assert_eq!(secrets.scissors().cut_from("x abc y"), "x (hidden) y");
    }

    proptest! {
        #[test]
        fn no_form_of_a_secret_is_left(
            secret in "[!-~]{8,60}",
            before in ".{0,7}",
            after in ".{0,7}",
        ) {
            let mut secrets = Secrets::default();
            secrets.held_back(&secret);
            let around = format!("{before}{secret}{after}");
            let url_safe = GeneralPurpose::new(&alphabet::URL_SAFE, NO_PAD);
            for text in [around.clone(), serde_json::to_string(&around).unwrap(), STANDARD.encode(&around), url_safe.encode(&around)] {
                let cut = secrets.scissors().cut_from(&text);
                prop_assert!(cut.contains(HIDDEN), "{text} -> {cut}");
                prop_assert!(!cut.contains(&secret));
                // What is left of the base64 does not decode to it either.
                let left: String = cut.replace(HIDDEN, "");
                let decoded = STANDARD.decode(&left).unwrap_or_default();
                prop_assert!(!String::from_utf8_lossy(&decoded).contains(&secret));
            }
        }
    }
}
