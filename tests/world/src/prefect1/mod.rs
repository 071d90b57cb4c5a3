//! Prefect 1's GraphQL API: Prefect Cloud 1, or Prefect Server.
//!
//! A request goes through [`http`] (body and headers), [`document`] (syntax, types, variables) and [`execute`] (fields,
//! aliases, errors). The fields live in [`queue`], [`states`] and [`register`], those that only a flow's own process asks
//! for in [`flow_process`]; the tables that are read in [`rows`], filtered as Hasura does in [`filter`] and [`compare`]. Tests and the demo put flow runs in and look at what became
//! of them through [`seed`], [`container`] and [`mod@control`].

mod auth;
mod compare;
pub mod container;
pub mod control;
mod document;
mod execute;
mod failure;
mod filter;
mod flow_process;
mod http;
pub mod lazarus;
mod model;
mod older;
mod order;
mod queue;
mod register;
mod rows;
mod seed;
mod spec;
mod state_schema;
mod states;
mod switches;
mod task_states;
pub(crate) mod times;
mod write_logs;

#[cfg(test)]
mod tests;

pub use control::control;
pub use http::handle;
pub use model::{Agent, AgentConfig, Flow, FlowRun, Log, Prefect1, StateRecord, TaskRun, Tenant, Token};
pub use spec::{FlowRunSpec, FlowSpec, TaskRunSpec};
pub use switches::{Backend, FailRule, NullRule, Switches};

/// The `map_index` of a task run that is no child of a mapped task.
const NOT_MAPPED: i64 = -1;

/// The tenant that is there from the start.
pub const TENANT: &str = "6f1b2c3d-0000-4000-8000-000000000001";
/// The API key of [`TENANT`] that is there from the start.
pub const API_KEY: &str = "pcu_fakekey";
/// The token with the scope `RUNNER` of [`TENANT`] that is there from the start.
pub const TOKEN: &str = "tok";
/// The version of Prefect that the server loads and writes states with.
pub const SERVER_VERSION: &str = "1.4.1";
