//! Logs and metrics, both lines on standard output, where `CloudWatch` picks them up.

pub mod logs;
pub mod metrics;
