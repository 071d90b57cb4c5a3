//! Thin adapters to AWS: they send what they are given and say what came back, nothing more.

pub mod ecs;
pub mod error;

pub use error::AwsError;
