//! The agents' health and the poke, as their Function URL (or the local `--agent-address`) answers them.
//!
//! Requests and answers are plain data here; `bin/lambda.rs` and the command line carry them.

pub mod answer;
pub mod request;
pub mod status;

pub use answer::HealthAnswer;
pub use request::{HealthRequest, Route};
pub use status::{AgentFacts, Health};
