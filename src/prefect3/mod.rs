//! Prefect 2 and 3: the REST API as a worker uses it, and the job configurations of a work pool's flow runs.

pub mod api;
pub mod job_configuration;
