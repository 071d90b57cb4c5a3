//! Prefect 2 and 3: flow runs of an `ecs` work pool.

pub mod api;
pub mod render;
