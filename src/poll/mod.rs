//! One poll iteration for every configured agent: observe → plan (pure) → perform → report.

pub mod report;

pub use report::{AgentReport, Report};
