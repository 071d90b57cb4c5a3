//! What became of a flow run, and what happens next: the command `explain`.

pub mod words;
