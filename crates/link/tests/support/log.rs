//! What a test's process has logged, from all its threads.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::print_stderr, reason = "shared by tests")]

use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

static LINES: Mutex<Vec<(Level, String)>> = Mutex::new(Vec::new());

static ALOUD: AtomicBool = AtomicBool::new(false);

struct Kept;

/// The fields of an event, the message first, as it is the first field.
struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let name = if field.name() == "message" { "" } else { field.name() };
        let _ = write!(self.0, "{name} {value:?} ");
    }
}

impl Subscriber for Kept {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("onefed") && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut words = Words(String::new());
        event.record(&mut words);
        let level = *event.metadata().level();
        if level <= Level::INFO && ALOUD.load(Ordering::Relaxed) {
            eprintln!("{level} {}", words.0);
        }
        LINES.lock().unwrap().push((level, words.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Keeps all that is logged from now on.
pub fn keep() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Kept).unwrap());
}

/// Says all that is logged from now on.
pub fn say() {
    ALOUD.store(true, Ordering::Relaxed);
    keep();
}

/// The lines with these words, and their levels.
pub fn lines(words: &str) -> Vec<(Level, String)> {
    LINES.lock().unwrap().iter().filter(|(_, line)| line.contains(words)).cloned().collect()
}
