//! Integration tests: stories of the real `lambda` binary against fakes that speak the real protocols.
#![allow(clippy::needless_pass_by_value, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod golden_prefect1;
mod support;

mod agent_settings;
mod agents;
mod definitions;
mod documents;
mod health;
mod history;
mod holding;
mod launching;
mod max_polls;
mod network;
mod once;
mod queue;
mod requests;
mod rotation;
mod secrets;
mod start_up;
mod telemetry;
mod tls;
