//! The commands that the specification shows, as tests run them.

use std::path::{Path, PathBuf};

/// The repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The text of a document of the specification, read when the test runs.
pub(crate) fn document(name: &str) -> String {
    std::fs::read_to_string(repository().join("spec").join(name)).unwrap()
}

/// The contents of the blocks that are fenced with `sh` and this word, in their order.
pub(crate) fn blocks(text: &str, word: &str) -> Vec<String> {
    let fence = format!("```sh {word}\n");
    let found: Vec<String> =
        text.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect();
    assert!(!found.is_empty(), "no block `sh {word}`");
    found
}
