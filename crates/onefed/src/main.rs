//! The `onefed` binary.
fn main() {}
