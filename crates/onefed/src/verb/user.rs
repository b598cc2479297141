//! `onefed user`: a directory for a data scientist, to be used with `onefed connect --state`.

use std::path::Path;

use crate::failure::{Done, Exit};
use crate::output::Output;
use crate::state::State;

/// Makes the directory.
pub(crate) fn run(state: &Path, name: &str, out: &Path, output: Output) -> Done {
    State::open(state)?.hand_out(name, out)?;
    let out = out.display();
    output.text(format!("{out} reaches Flower's Control operations as {name}, for a year"));
    output.say(format!(
        "give it to {name} by a safe way (it holds a key); used with `onefed connect --state {out}`"
    ));
    output.json(&serde_json::json!({ "schema_version": 1, "user": name, "dir": out.to_string() }));
    Ok(Exit::Ok)
}
