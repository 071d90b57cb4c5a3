//! Pure: what to do about an error.

use crate::model::ErrorKind;
use crate::poll::PollError;

/// The AWS clients do not work.
pub(super) const AWS: &str =
    "check AWS_REGION and the AWS credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID, …) of this shell";

/// What to do about an agent's own trouble.
pub(super) fn on_kind(kind: Option<ErrorKind>) -> &'static str {
    match kind {
        Some(ErrorKind::Configuration) => "correct it where the message says; the README lists every key",
        Some(ErrorKind::ApiUnreachable) => {
            "check `api` (and `ca_bundle`, for a private certificate authority), and that this machine reaches it"
        }
        Some(ErrorKind::Unauthorised) => "then poll again; a function that runs notices a replaced secret by itself",
        Some(ErrorKind::Throttled) => "wait a minute, then poll again; poll less often if that happens again",
        Some(ErrorKind::Maintenance) => "wait: due runs are launched by the first poll after it; nothing is lost",
        Some(ErrorKind::Aws) => {
            "check this shell's AWS credentials and permissions, and cluster, network and region of the configuration"
        }
        Some(ErrorKind::Platform) => {
            "see what the message names on this machine: its space, its permissions, its limits"
        }
        Some(ErrorKind::ParameterStore) => {
            "check that the credentials may read and write the parameters below the root"
        }
        Some(ErrorKind::Deadline) => "poll again: nothing is lost; give a poll more time with --timeout",
        Some(ErrorKind::Internal) => "report it, with this message; the other agents poll on",
        Some(ErrorKind::ApiError) | None => {
            "poll again; if it stays, ask whoever runs the Prefect API about the message"
        }
    }
}

/// What to do when nothing could be polled.
pub(super) fn on_poll_error(error: &PollError) -> &'static str {
    match error {
        PollError::Parameters { .. } => AWS,
        PollError::NoAgents(_) => {
            "or check --root: the parameters are looked for below it, in the region of this shell"
        }
        PollError::UnknownAgent { .. } => "name one of these with --agent",
        PollError::Deadline(_) => "try again, or give it more time with --timeout",
    }
}
