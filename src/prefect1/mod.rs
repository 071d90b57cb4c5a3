//! Prefect 0.15 and 1: the GraphQL API of Prefect Cloud 1 and Prefect Server.

pub mod api;
