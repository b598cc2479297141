//! Words of a unit file, written so that systemd reads what was meant.
//!
//! systemd splits a value into words, undoes quotes and C escapes, and then expands `%` in each word
//! (systemd.service(5), "Command lines"; systemd.syntax(7), "Quoting"). `$` it expands later, and in command lines only:
//! those begin with `:`, which turns that off, also for the program's path, where `$$` would not be undone.

use std::fmt::Write as _;

/// Words of these characters stand for themselves.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_./:=@,+".contains(c)
}

/// One word, quoted where it has to be. A NUL cannot be written; the caller has refused it.
pub(super) fn word(text: &str) -> String {
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '%' => quoted.push_str("%%"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // A line must not end early, and an editor must not act on it.
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Words with spaces between them.
pub(super) fn words<'a>(list: impl IntoIterator<Item = &'a str>) -> String {
    list.into_iter().map(word).collect::<Vec<_>>().join(" ")
}
