//! What is polled, and why nothing was.

use crate::aws::AwsError;
use crate::config::Root;

/// Where agents are configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Parameter Store, below this root.
    Parameters(Root),
    /// A file, for the command line: one agent, nothing remembered between processes.
    File {
        /// Path of the file.
        path: String,
        /// Its text.
        text: String,
    },
}

/// Which agents to poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// These, by name.
    Agents(Vec<String>),
}

/// Why nothing was polled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PollError {
    /// The parameters cannot be read.
    #[error("the parameters below {root} cannot be read: {error}")]
    Parameters {
        /// Parameter root.
        root: String,
        /// What AWS said.
        error: AwsError,
    },
    /// The parameters and what they refer to could not be read in time.
    #[error("no time was left to poll: the parameters below {0}, or what they refer to, took too long to read")]
    Deadline(String),
    /// There is nothing to poll.
    #[error("no agent is configured: write one to the parameter {0}/config/<agent>")]
    NoAgents(String),
    /// The event names an agent that is not configured.
    #[error("there is no agent {name:?}; configured are: {known}")]
    UnknownAgent {
        /// The name.
        name: String,
        /// The configured names.
        known: String,
    },
}
