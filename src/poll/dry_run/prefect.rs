//! A Prefect API whose writes are recorded.

use super::Recorder;
use crate::model::ApiError;
use crate::model::Registration;
use crate::orchestrator::{
    Batching, Claim, Claimed, DescribesWrites, DuePage, DueRun, Ending, GiveBack, Orchestrator, OutstandingClaims,
    RenderError, RunDescription, RunLog, RunNow, Window,
};
use serde_json::Value;
use std::time::Duration;
use time::OffsetDateTime;

/// Name of the service in the record.
const SERVICE: &str = "prefect";

/// Reads as the inner one does; every write is recorded and succeeds.
pub(super) struct RecordedPrefect<'a, O> {
    inner: &'a O,
    recorder: &'a Recorder,
    /// When the poll began: runs that start later are held.
    began: OffsetDateTime,
}

impl<'a, O: DescribesWrites> RecordedPrefect<'a, O> {
    pub(super) fn new(inner: &'a O, recorder: &'a Recorder, began: OffsetDateTime) -> Self {
        Self { inner, recorder, began }
    }

    /// Until when the last of these runs is held.
    fn last_hold<'i>(&self, flow_run_ids: impl Iterator<Item = &'i str>) -> Option<OffsetDateTime> {
        flow_run_ids.filter_map(|id| self.recorder.held_until(id)).max()
    }

    fn note(&self, operation: &'static str, not_before: Option<OffsetDateTime>, bodies: Vec<Value>) {
        for body in bodies {
            self.recorder.note(SERVICE, operation, not_before, body);
        }
    }
}

impl<O: DescribesWrites> Orchestrator for RecordedPrefect<'_, O> {
    type Detail = O::Detail;

    fn batching(&self) -> Batching {
        // One after the other, so that the record has an order.
        Batching { at_once: 1, ..self.inner.batching() }
    }

    async fn connect(&self, remembered: Option<&Registration>) -> Result<Option<Registration>, ApiError> {
        self.inner.connect(remembered).await
    }

    async fn due_runs(&self, window: &Window) -> Result<DuePage<O::Detail>, ApiError> {
        self.inner.due_runs(window).await
    }

    async fn outstanding_claims(
        &self,
        now: OffsetDateTime,
        orphan_after: Duration,
    ) -> Result<OutstandingClaims<O::Detail>, ApiError> {
        self.inner.outstanding_claims(now, orphan_after).await
    }

    async fn reread(&self, runs: &[&DueRun<O::Detail>]) -> Result<Vec<Option<RunNow>>, ApiError> {
        self.inner.reread(runs).await
    }

    async fn describe(&self, runs: &[&DueRun<O::Detail>]) -> Vec<Result<RunDescription, RenderError>> {
        self.inner.describe(runs).await
    }

    async fn claim(&self, claims: &[Claim<'_, O::Detail>]) -> Vec<Claimed> {
        for Claim { run, mark } in claims.iter().filter(|claim| claim.run.start_time > self.began) {
            self.recorder.hold(&run.flow_run_id, run.start_time);
            self.recorder.hold(&mark.token, run.start_time);
        }
        let held = self.last_hold(claims.iter().map(|claim| claim.run.flow_run_id.as_str()));
        self.note("claim", held, self.inner.claim_requests(claims));
        vec![Claimed::Ours; claims.len()]
    }

    async fn record_pid(&self, run: &DueRun<O::Detail>, pid: &str) {
        let held = self.recorder.held_until(&run.flow_run_id);
        self.note("record-task", held, self.inner.record_requests(run, pid));
    }

    async fn give_back(&self, runs: &[GiveBack<'_, O::Detail>], now: OffsetDateTime) -> Vec<Result<(), ApiError>> {
        let held = self.last_hold(runs.iter().map(|run| run.run.flow_run_id.as_str()));
        self.note("give-back", held, self.inner.give_back_requests(runs, now));
        vec![Ok(()); runs.len()]
    }

    async fn fail(&self, runs: &[Ending<'_, O::Detail>]) -> Vec<Result<(), ApiError>> {
        let held = self.last_hold(runs.iter().map(|run| run.run.flow_run_id.as_str()));
        self.note("fail", held, self.inner.fail_requests(runs));
        vec![Ok(()); runs.len()]
    }

    async fn cancelled(&self, runs: &[Ending<'_, O::Detail>]) -> Vec<Result<(), ApiError>> {
        self.note("cancelled", None, self.inner.cancelled_requests(runs));
        vec![Ok(()); runs.len()]
    }

    async fn log(&self, lines: &[RunLog]) -> Result<(), ApiError> {
        let held = self.last_hold(lines.iter().map(|line| line.flow_run_id.as_str()));
        self.note("log", held, self.inner.log_requests(lines));
        Ok(())
    }

    async fn announce(&self, launched: &[(DueRun<O::Detail>, String)]) -> usize {
        let held = self.last_hold(launched.iter().map(|(run, _)| run.flow_run_id.as_str()));
        self.note("announce", held, self.inner.announce_requests(launched));
        0
    }
}
