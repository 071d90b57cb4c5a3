//! Prefect 3: its server, and the requests of an agent.

mod claims;
mod client;
mod late;
mod python;
mod server;
mod services;
mod watch;
mod writes;

pub use client::Client;
pub use late::Late;
pub use python::poll as python_poll;
pub use server::{FlowRun, Kind, Proposal, Server, State, Verdict};
