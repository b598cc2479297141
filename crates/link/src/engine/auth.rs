//! Whether a call is from the node that it names.
