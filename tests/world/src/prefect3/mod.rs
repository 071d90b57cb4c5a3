//! The REST API of Prefect 2 and 3: a self-hosted server, or Prefect Cloud.
//!
//! A request goes through [`http`] (who asks, CSRF, versions), finds its operation in [`routes`], and its body is read
//! by [`fields`]. What a proposed state comes to is decided by [`rules`] and [`slots`], and written by
//! [`orchestrate`]; what follows from it by itself by [`automations`], whose webhooks really call; which runs a pool
//! hands out by [`scheduled`]. [`services`] does what the server does by itself.
//! Tests and the demo put things in and look at what became of them through [`seed`], [`container`] and
//! [`mod@control`].
//!
//! There are no web sockets: clients then use these requests alone.
//!
//! The journal's service is `prefect3`; its operations are the names in [`routes`], e.g. `set_state`,
//! `get_scheduled_flow_runs`, `flow_runs/filter`, `heartbeat`, `update_flow_run` (the infrastructure's id), `labels`.

mod answer;
mod auth;
mod automations;
mod blocks;
mod build;
pub mod container;
pub mod control;
mod csrf;
mod deployment;
mod deployments;
mod fields;
mod filters;
mod flow_runs;
mod flows;
mod http;
mod limits;
mod model;
mod older;
mod orchestrate;
mod pool;
mod queues;
mod records;
pub(crate) mod routes;
mod rules;
mod run;
mod scheduled;
mod search;
mod seed;
mod server_info;
mod services;
mod set_state;
mod slots;
mod spec;
mod state;
mod switches;
mod times;
mod variables;
mod webhooks;
mod work_pools;
mod workers;

#[cfg(test)]
mod tests;

pub use automations::{Automation, WebhookCall};
pub use blocks::{BlockDocument, BlockSchema, BlockType, Blocks};
pub use build::ecs_template;
pub use control::control;
pub use deployment::{CollisionStrategy, Deployment, Limit};
pub(crate) use http::answer as answer_at_once;
pub use http::handle;
pub use model::{Flow, Prefect3, Variable};
pub use pool::{Status, WorkPool, WorkQueue, Worker};
pub use run::{FlowRun, Policy};
pub use spec::{BlockSpec, DeploymentSpec, POOL, PoolSpec, QueueSpec, RunSpec};
pub use state::{RunState, StateDetails, StateType};
pub use switches::{Auth, Busy, FailRule, Generation, LateBefore, Switches};

/// An account of Prefect Cloud, for [`crate::RunningWorld::prefect3_cloud_url`].
pub const CLOUD_ACCOUNT: &str = "0aa11bb2-0000-4000-8000-00000000000a";
/// A workspace of [`CLOUD_ACCOUNT`].
pub const CLOUD_WORKSPACE: &str = "0aa11bb2-0000-4000-8000-00000000000b";
