//! What may be overwritten: only what is still our claim. A run that ended, is paused or is being cancelled never is.
//! Pure.

use super::Detail;
use super::runs::Row;
use crate::model::ApiError;
use crate::orchestrator::DueRun;

/// A flow run as it is now.
#[derive(Debug, Clone)]
pub(super) struct RunReading {
    /// The run.
    pub run: Row,
    /// `transition_id` of the claim that it is in, if it is in one.
    pub claim: Option<String>,
    /// The process that made the claim, where it says so.
    pub session: Option<String>,
}

/// Whether the claim may be given back, or the run be ended as never launched.
pub(super) fn may_end_claim<D>(run: &DueRun<D>, look: Option<&RunReading>) -> Result<(), ApiError> {
    let look = look.ok_or_else(|| left("the run no longer exists"))?;
    match (look.run.kind(), &look.claim) {
        ("PENDING", Some(claim)) if *claim == run.token => Ok(()),
        ("PENDING", _) => Err(left("the run is claimed by another worker")),
        _ => Err(left(&format!("the run is {} now", look.run.state_name()))),
    }
}

/// Whether the run may be ended as Cancelled: it is being cancelled, or is due as it was (its deployment is gone).
pub(super) fn may_cancel(run: &DueRun<Detail>, look: Option<&RunReading>) -> Result<(), ApiError> {
    let look = look.ok_or_else(|| left("the run no longer exists"))?;
    match look.run.kind() {
        "CANCELLING" => Ok(()),
        "SCHEDULED" if look.run.is_same_turn(&run.detail.seen) => Ok(()),
        _ => Err(left(&format!("the run is {} now", look.run.state_name()))),
    }
}

fn left(why: &str) -> ApiError {
    ApiError::NotOurs(why.to_owned())
}

#[cfg(test)]
mod tests;
