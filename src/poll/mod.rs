//! One poll iteration for every configured agent: observe → plan (pure) → perform → report.
//!
//! | file | step |
//! |---|---|
//! | `deployment.rs` | all agents side by side, what a warm process keeps |
//! | `selection.rs` | where agents are configured, which of them are polled, why none was |
//! | `agent.rs`, `assembly.rs` | one agent: what it is made of, its poll from counter to status |
//! | `identity.rs` | what names an agent among all deployments |
//! | `prefect.rs` | the agent's Prefect API, whichever generation it is |
//! | `turn.rs` | one agent's turn: asks the queue until it is empty, performs what the plan says |
//! | `plan.rs` | pure: which runs are launched now, held, or left for a later poll |
//! | `batch.rs` | runs that start together: prepare, claim, launch, settle |
//! | `preparing.rs` | before the claim: render, look for earlier tasks, settle definition and network |
//! | `claims.rs` | claims, and those whose answer was lost |
//! | `history.rs` | tasks of an earlier turn of a run |
//! | `recover.rs` | claims of ours without a task |
//! | `cancel.rs` | tasks of runs that a user cancelled |
//! | `settle.rs` | what is said about each run at the end: log, give back, fail |
//! | `dry_run/` | other implementations of the seams, which record instead of writing |
//! | `ledger.rs` | what became of each run, kept so that it survives a deadline |

pub mod agent;
mod assembly;
pub mod batch;
pub mod cancel;
pub mod claims;
pub mod deployment;
pub mod dry_run;
pub mod history;
mod identity;
pub mod known;
pub mod ledger;
pub mod plan;
mod prefect;
mod preparing;
pub mod recover;
mod refused;
pub mod report;
pub mod selection;
pub mod settle;
pub mod turn;

#[cfg(test)]
mod tests;

pub use agent::{Agent, Invocation, Overrides};
pub use assembly::{PrefectKit, Unassembled};
pub use deployment::Deployment;
pub use report::{AgentReport, Report};
pub use selection::{PollError, Selection, Source};
