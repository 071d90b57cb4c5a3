//! Prefect 1: its server, and the requests of an agent.

mod client;
mod python;
mod rows;
mod server;
mod services;
mod watch;
mod writes;

pub use client::Client;
pub(crate) use python::launch as python_launch;
pub use python::poll as python_poll;
pub use server::{FlowRun, Kind, Rules, Server, SetState, State, Status, TaskRun};
