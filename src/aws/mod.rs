//! Thin adapters to AWS: they send what they are given and say what came back, nothing more.

pub mod answers;
pub mod clients;
pub mod credentials;
pub mod ecs;
pub mod http;
pub mod reads;
pub mod services;
pub mod signed;
pub mod sqs;
pub mod ssm;

#[cfg(test)]
pub(crate) mod test_server;

pub use answers::AwsError;
pub use clients::{Account, AgentAws, AwsClients};
