//! Prefect 0.15 and 1: the GraphQL API of Prefect Cloud 1 and Prefect Server, and the ECS requests of their flow runs.

pub mod api;
pub mod render;

use crate::orchestrator::RenderError;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use std::sync::Arc;

/// Loads the template that a run configuration names by path (`s3://…`, `https://…`, `ssm://…`, a local file).
pub type LoadTemplate =
    Arc<dyn Fn(String) -> BoxFuture<'static, Result<Map<String, Value>, RenderError>> + Send + Sync>;
