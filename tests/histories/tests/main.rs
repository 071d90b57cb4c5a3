//! The poll's core in simulated worlds: every call × every fault, every point a crash, pollers side by side, histories.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod away;
mod crashes;
mod interleaved;
mod late;
mod pairs;
mod random;
