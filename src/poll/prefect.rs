//! The Prefect API of an agent, whichever generation it is.

use crate::model::ApiError;
use crate::model::Registration;
use crate::orchestrator::Orchestrator;
use crate::prefect1::api::Prefect1;
use crate::prefect3::api::Prefect3;
use tokio::time::Instant;

/// One agent's way to its Prefect API.
pub(super) enum Prefect {
    /// Prefect 0.15 and 1.
    One(Box<Prefect1>),
    /// Prefect 2 and 3.
    Three(Box<Prefect3>),
}

impl Prefect {
    /// Makes the agent known, once per process; see [`Orchestrator::connect`].
    pub(super) async fn connect(&self, remembered: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        match self {
            Self::One(one) => one.connect(remembered).await,
            Self::Three(three) => three.connect(remembered).await,
        }
    }

    /// No request goes on beyond `deadline`. To be set for every invocation.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        match self {
            Self::One(one) => one.set_deadline(deadline),
            Self::Three(three) => three.set_deadline(deadline),
        }
    }

    /// Opens a connection to an API that speaks TLS. Best effort.
    pub(super) async fn warm_up(&self) {
        match self {
            Self::One(one) => one.warm_up().await,
            Self::Three(three) => three.warm_up().await,
        }
    }

    /// `max_polls`, after settings kept in the backend.
    pub(super) fn max_polls(&self) -> Option<u64> {
        match self {
            Self::One(one) => one.effective_config().max_polls,
            Self::Three(three) => three.max_polls(),
        }
    }

    /// What a person should know, after [`Prefect::connect`].
    pub(super) fn warnings(&self) -> Vec<String> {
        match self {
            Self::One(one) => one.warnings(),
            Self::Three(three) => three.warnings(),
        }
    }
}
