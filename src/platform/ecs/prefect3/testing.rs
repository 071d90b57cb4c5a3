//! What the tests of this module share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(super) use crate::flow_run::prefect3::testing::{Everything, run, worker};

use super::Job;
use crate::flow_run::prefect3::{WorkerSettings, populate};

/// The job of a run without references.
pub(super) fn job(worker: &WorkerSettings, run: &Everything) -> Result<Job, String> {
    let context = run.context();
    let populated = populate(worker, &context).map_err(|refusal| refusal.0)?;
    Job::new(worker, &context, &populated, &populated).map_err(|refusal| refusal.0)
}
