//! What went wrong in talking to AWS, told apart by what it says about the effect.

/// An AWS call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    /// Nothing was sent: no connection could be made.
    #[error("cannot connect to AWS: {0}")]
    NotSent(String),
    /// No credentials could be had, or the role to assume refused us.
    #[error("no AWS credentials: {0}")]
    Credentials(String),
    /// Sent, but no complete answer came: the outcome is unknown.
    #[error("no answer from AWS: {0}")]
    NoAnswer(String),
    /// AWS answered with an error.
    #[error("{code}: {message}")]
    Answer {
        /// HTTP status.
        status: u16,
        /// Error code without namespace, e.g. `ThrottlingException`.
        code: String,
        /// AWS's own text.
        message: String,
        /// `resourceIds` of a `ConflictException`: ARNs of the tasks that the token already started.
        resource_ids: Vec<String>,
    },
    /// A successful answer of another shape than documented.
    #[error("AWS's answer cannot be understood: {0}")]
    Malformed(String),
}
