//! World.
fn main() {}
