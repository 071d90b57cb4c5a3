//! Stateful fakes of Prefect and AWS. They speak the real wire protocols over HTTP and share one in-memory [`World`].
//!
//! | path | speaks |
//! |---|---|
//! | `/prefect1`, `/prefect1/graphql` | Prefect 1 GraphQL ([`prefect1`]) |
//! | `/prefect3/api/…`, also under `/accounts/{id}/workspaces/{id}` | the REST API of Prefect 2 and 3 ([`prefect3`]) |
//! | `/` with `X-Amz-Target` | ECS ([`ecs`]), SSM ([`ssm`]), CloudWatch Logs ([`logs`]), SQS ([`sqs`]), EventBridge ([`events`]),
//! | | ECR and Service Quotas ([`ecr`]), JSON; `CloudWatch` ([`monitoring`]), the query protocol |
//! | `/` with a form `Action` | EC2 ([`ec2`]), STS ([`sts`]), IAM ([`iam`]) and `CloudFormation` ([`cloudformation`]), XML |
//! | `/schedules/{name}` | EventBridge Scheduler ([`events`]) |
//! | `/2015-03-31/functions/{name}/invocations` | Lambda Invoke ([`lambda`]); its settings below `/2016-08-19` and `/2019-09-30` |
//! | any other signed GET | S3, path style ([`s3`]) |
//! | `/_world/…` | the control API ([`control`]): dumps, seeds, faults |
//!
//! [`runtime_api`] and [`process`] run the real Lambda binary against all this, [`function_url`] puts HTTP in front of it.
//!
//! Every request is written to the [`journal`]; [`faults`] decide which requests go wrong, and how.
#![allow(rustdoc::private_intra_doc_links)] // For those who work on it: private modules are shown.

pub mod answer;
pub mod cloudformation;
pub mod control;
pub mod ec2;
pub mod ecr;
pub mod ecs;
pub mod events;
pub mod faults;
pub mod function_url;
pub mod iam;
pub mod ids;
pub mod io;
pub mod journal;
mod kept;
pub mod lambda;
pub mod logs;
pub mod monitoring;
pub mod mutation;
pub mod prefect1;
pub mod prefect3;
pub mod process;
pub mod route;
pub mod runtime_api;
pub mod s3;
pub mod server;
pub mod sqs;
pub mod ssm;
pub mod sts;
pub mod world;

pub use faults::{Fault, FaultKind};
pub use function_url::{FunctionUrl, UrlAuth};
pub use journal::Request;
pub use process::{LambdaOptions, LambdaProcess};
pub use runtime_api::{InvokeError, RuntimeApi};
pub use world::{RunningWorld, State, World};

/// The account that owns everything in the world.
pub const ACCOUNT: &str = "123456789012";
/// The region of a request whose signature names none.
pub const REGION: &str = "us-east-1";
