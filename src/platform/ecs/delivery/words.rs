//! What people are told about a delivery.

use super::role;
use std::fmt::Display;

/// Why the key cannot be a container secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Obstacle {
    #[error("the run uses a task definition that exists, which is not ours to change")]
    NotOurs,
    #[error("the task definition has no execution role")]
    NoExecutionRole,
    #[error("the execution role {0} is not this deployment's own, and may not be allowed to read the key")]
    OthersRole(String),
    #[error("the value of {0} was not read from Parameter Store")]
    NotStored(String),
    #[error("the key lies in account {key}, the task runs in account {task}")]
    OtherAccount { key: String, task: String },
    #[error("the run brings its own AWS keys, and nothing tells whose account they belong to")]
    UnknownAccount,
}

impl Obstacle {
    /// What to do about it. `agent`: the name of the agent.
    pub(super) fn remedy(&self, agent: &str) -> String {
        match self {
            Self::NotOurs => {
                "Give the run an image or a task_definition instead of a task_definition_arn, or the definition a secret \
                 of that name"
            }
            Self::NoExecutionRole | Self::OthersRole(_) => {
                "Set execution_role_arn to the role that infra/cluster.yaml creates for this deployment"
            }
            Self::NotStored(_) => {
                return format!("Store it as a SecureString below the deployment's root, under …/secrets/{agent}/");
            }
            Self::UnknownAccount => "Write the execution role, or the cluster, as a full ARN",
            Self::OtherAccount { .. } => "Store a copy of the key in the account of the tasks",
        }
        .to_owned()
    }
}

/// Why a key is in the environment under `auto`.
pub(super) fn in_environment(why: &Obstacle, remedy: impl Display) -> String {
    format!(
        "The API key is delivered in the environment of the task, where whoever may describe tasks can read it: {why}. \
         {remedy}; `api_key_delivery: environment` silences this."
    )
}

/// What to do about a role that all deployments share.
pub(super) fn move_from(role: &str, root: &str) -> String {
    format!(
        "The execution role {role} lies in a path that all deployments share. Update the stack of infra/cluster.yaml, \
         and name its output ExecutionRoleArn, a role in {}, wherever this one is named.",
        role::own_path(root)
    )
}

/// The two halves of making a secret of a key whose role is not our own: the role may read it, and we may rely on that.
pub(super) fn both_halves(arns: &[String]) -> String {
    format!(
        "Add this statement to the role, {} (and kms:Decrypt on the key, if a customer key encrypts the parameter), and \
         then set api_key_delivery to secret",
        role::statement(arns)
    )
}
