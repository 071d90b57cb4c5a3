//! The turn against a small in-memory Prefect and platform, with virtual time.
#![allow(clippy::struct_excessive_bools, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cancelling;
mod fakes;
mod panics;
mod pipeline;
mod recovery;
mod safety;
mod statuses;
mod turns;
