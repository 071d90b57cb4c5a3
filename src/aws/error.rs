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
    #[error("{}: {message}", if code.is_empty() { format!("HTTP {status}") } else { code.clone() })]
    Answer {
        /// HTTP status.
        status: u16,
        /// Error code without namespace, e.g. `ThrottlingException`; empty when the answer was no AWS error (HTML of
        /// a proxy or load balancer).
        code: String,
        /// AWS's own text.
        message: String,
        /// `resourceIds` of a `ConflictException`: ARNs of the tasks that the token already started.
        resource_ids: Vec<String>,
    },
    /// A successful answer of another shape than documented: the outcome is unknown.
    #[error("AWS's answer cannot be understood: {0}")]
    Malformed(String),
}

impl AwsError {
    /// AWS's error code, if AWS answered with one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Answer { code, .. } if !code.is_empty() => Some(code),
            _ => None,
        }
    }

    /// Parameter Store has no such parameter.
    pub fn is_parameter_not_found(&self) -> bool {
        self.code() == Some("ParameterNotFound")
    }

    /// Refused for want of throughput, nothing done: asking again a little later can help. This knows the codes that
    /// say so by themselves, not the messages that say so under other codes.
    pub fn is_throttled(&self) -> bool {
        self.code().is_some_and(is_throttling) || matches!(self, Self::Answer { status: 429, .. })
    }
}

/// An error code that by itself says "too fast": those that the AWS SDK repeats, two that it does not know, and not
/// `LimitExceededException`, which ECS and CloudWatch Logs answer where a quota of things is used up: time does not help.
pub(crate) fn is_throttling(code: &str) -> bool {
    match code {
        "LimitExceededException" => false,
        "TooManyUpdates" | "TooManyRequests" => true,
        code => aws_runtime::retries::classifiers::THROTTLING_ERRORS.contains(&code),
    }
}
