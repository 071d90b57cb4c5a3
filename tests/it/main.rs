//! Integration tests: stories of the real `lambda` and `agent` binaries against fakes that speak the real protocols.
#![allow(clippy::needless_pass_by_value, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden_prefect1;
mod support;

mod command;
mod launching;
