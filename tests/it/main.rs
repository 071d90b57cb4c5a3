//! Integration tests: stories of the real `lambda` binary against fakes that speak the real protocols.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden_prefect1;
mod golden_prefect3;
mod support;

mod launching;
