//! Prefect 0.15 and 1: the GraphQL API of Prefect Cloud 1 and Prefect Server, and the ECS requests of their flow runs.

pub mod api;
mod launches;
pub mod render;

pub use launches::LoadTemplate;
