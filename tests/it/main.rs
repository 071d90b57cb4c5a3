//! Integration tests: stories of the real `lambda` and `prefect-serverless-agent` binaries against fakes that
//! speak the real protocols.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// What reads best in a story.
#![allow(clippy::needless_pass_by_value, clippy::cloned_ref_to_slice_refs, clippy::duration_suboptimal_units)]

mod golden_observer;
mod golden_prefect1;
mod golden_prefect3;
mod prefect;
mod support;

mod agent_settings;
mod agents;
mod cancelling;
mod client_headers;
mod command;
mod definitions;
mod documents;
mod faults;
mod health;
mod history;
mod holding;
mod kills;
mod launching;
mod maintenance;
mod max_polls;
mod mutated_answers;
mod network;
mod odd_answers;
mod once;
mod page;
mod poke;
mod prefect3;
mod queue;
mod recovery;
mod requests;
mod rotation;
mod secrets;
mod shapes;
mod start_up;
mod task_events;
mod telemetry;
mod tls;
mod totality;
