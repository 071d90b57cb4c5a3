//! Thin adapters to AWS: they send what they are given and say what came back, nothing more.

pub mod accounts;
pub mod clients;
pub mod credentials;
pub mod ec2;
pub mod ecs;
pub mod endpoints;
pub mod error;
pub mod http;
pub mod lambda;
pub mod logs;
mod raw;
pub mod s3;
pub mod signed;
pub mod ssm;
pub mod sts;
mod xml;

#[cfg(test)]
pub(crate) mod test_server;

pub use accounts::Account;
pub use clients::{AgentAws, AwsClients};
pub use error::AwsError;
