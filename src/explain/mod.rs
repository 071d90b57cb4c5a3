//! What became of a flow run, and what happens next: the command `explain`.
//!
//! | file | what happens there |
//! |---|---|
//! | `facts.rs` | what was observed: the run, its states and tasks, the agent |
//! | `read.rs` | the thin edge to ECS; Prefect is asked by `prefect1/api/explaining.rs` and `prefect3/api/explaining.rs` |
//! | `story.rs` | pure: the events in their order |
//! | `verdict.rs` | pure: how the run stands, what happens next and when, what to do |
//! | `words.rs` | pure: times as people say them |

pub mod facts;
pub mod read;
pub mod story;
#[cfg(test)]
pub(crate) mod testing;
pub mod verdict;
pub mod words;
