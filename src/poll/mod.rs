//! One poll iteration for every configured agent: observe → plan (pure) → perform → report.
//!
//! | file | step |
//! |---|---|
//! | `deployment.rs` | which agents are polled and where they are configured; all side by side, what a warm process keeps |
//! | `agent.rs` | one agent: its poll from counter to status, and what of its report is remembered for the page |
//! | `build.rs` | what an agent is made of: its identity, its Prefect API of whichever generation, its platform |
//! | `iteration.rs` | one agent's iteration: asks the queue until it is empty; the life of runs in one function |
//! | `context.rs` | what the steps share: rules, Prefect, platform, clock, report, launches seen before |
//! | `plan.rs` | pure: which runs are launched now, held, or left for a later poll |
//! | `prepare.rs` | step 1, before the claim: render, look for tasks of an earlier turn, definition, network |
//! | `claim.rs` | step 2: claims, and those whose answer was lost |
//! | `launch.rs` | step 3: the platform is asked for the task |
//! | `tell.rs` | step 4: log, give back, fail |
//! | `recover.rs` | beside the queue: claims of ours without a task |
//! | `cancel.rs` | beside the queue: tasks of runs that a user cancelled |
//! | `lost.rs` | beside it, then after it: tasks that died without an event |
//! | `ended.rs` | after it: deployments that have ended and of which Prefect may not know |
//! | `dry_run/` | where requests leave: those that write are recorded instead |
//! | `report.rs` | what became of each run, kept so that it survives a deadline |

pub mod agent;
mod build;
pub(crate) mod cancel;
mod claim;
pub mod context;
pub mod deployment;
pub mod dry_run;
mod ended;
pub mod iteration;
mod launch;
pub(crate) mod lost;
pub mod plan;
pub(crate) mod prepare;
pub(crate) mod recover;
pub mod report;
mod tell;

#[cfg(test)]
mod tests;

pub use agent::{Agent, Invocation, Overrides};
pub use build::PrefectBuilder;
pub(crate) use build::SharedNetwork;
pub use deployment::{Deployment, PollError, Selection, Source};
pub use report::{AgentReport, Report};
