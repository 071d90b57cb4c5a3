//! Prefect 0.15 and 1: the GraphQL API of Prefect Cloud 1 and Prefect Server, and what its flow runs ask for.

pub mod api;
pub mod flow_run;
