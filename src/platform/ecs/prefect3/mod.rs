//! From a job configuration to its launch: the rules of the ECS worker of Prefect 2 and 3, pure.
//!
//! [`Job::new`] checks the configuration and adds environment and labels; [`Job::launch_spec`] makes the requests to ECS of
//! it. What is to be looked up is in [`LaunchSpec::worker`](super::LaunchSpec::worker).

mod configuration;
mod job;
#[cfg(test)]
mod nothing_lost;
mod origin;
mod request;
mod task_definition;
#[cfg(test)]
mod testing;

pub use job::Job;
pub(super) use origin::definition_origin;
