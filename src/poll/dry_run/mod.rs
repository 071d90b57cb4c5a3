//! A poll that writes nothing: what it would write is recorded instead. The poll itself does not know.
//!
//! It works behind other implementations of the seams: [`RecordedPrefect`] for the Prefect API, [`RecordedEcs`] for ECS, and
//! a clock on which nothing waits. Reads are real; writes are recorded and answered as if they had succeeded.

mod ecs;
mod prefect;
#[cfg(test)]
mod tests;

use super::iteration::{Iteration, Rules};
use super::report_builder::ReportBuilder;
use super::seen_launches::SeenLaunches;
use crate::aws::ecs::Ecs;
use crate::clock::Clock;
use crate::model::SetupError;
use crate::orchestrator::DescribesWrites;
use crate::platform::AgentSetup;
use crate::platform::ecs::EcsPlatform;
use crate::platform::ecs::accounts::{AccountsLauncher, AwsConnect};
use crate::platform::ecs::platform::launch_rules;
use crate::platform::ecs::rate::LaunchRate;
use crate::redaction::Redaction;
use crate::sync::lock;
use ecs::RecordedEcs;
use prefect::RecordedPrefect;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use time::OffsetDateTime;

/// A request that would be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedRequest {
    /// The agent that would send it.
    pub agent: String,
    /// `prefect` or `ecs`.
    pub service: &'static str,
    /// `claim`, `record-task`, `give-back`, `fail`, `cancelled`, `log` and `announce` (Prefect); ECS's own names.
    pub operation: &'static str,
    /// The runs it belongs to are held until then; `null` = it would be sent at once.
    #[serde(with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    /// The body as it would be sent, with secrets replaced by `[redacted]`. Names that only the answer to an earlier
    /// request would tell (ARNs) stand in square brackets.
    pub body: Value,
}

/// Where the requests of a dry run are noted; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<PlannedRequest>>>);

impl Record {
    /// What was noted since the last call, by agent, in the order in which it would be sent.
    pub fn take(&self) -> Vec<PlannedRequest> {
        let mut requests = std::mem::take(&mut *lock(&self.0));
        requests.sort_by(|a, b| (&a.agent, a.not_before).cmp(&(&b.agent, b.not_before)));
        requests
    }

    fn push(&self, request: PlannedRequest) {
        lock(&self.0).push(request);
    }
}

/// Notes one agent's requests, without its secrets.
pub(super) struct Recorder {
    agent: String,
    record: Record,
    redaction: Redaction,
    /// Until when runs are held, by flow run id and by `clientToken`.
    held: Mutex<HashMap<String, OffsetDateTime>>,
}

impl Recorder {
    pub(super) fn new(agent: &str, record: Record, redaction: Redaction) -> Self {
        Self { agent: agent.to_owned(), record, redaction, held: Mutex::default() }
    }

    fn note(&self, service: &'static str, operation: &'static str, not_before: Option<OffsetDateTime>, body: Value) {
        let body = self.redaction.shown(body);
        self.record.push(PlannedRequest { agent: self.agent.clone(), service, operation, not_before, body });
    }

    fn hold(&self, name: &str, until: OffsetDateTime) {
        lock(&self.held).insert(name.to_owned(), until);
    }

    fn held_until(&self, name: &str) -> Option<OffsetDateTime> {
        lock(&self.held).get(name).copied()
    }
}

/// An agent's other side of the seams.
pub(super) struct DryRun<C: Clock + Clone> {
    recorder: Arc<Recorder>,
    platform: EcsPlatform<AccountsLauncher<RecordedConnect<C>, Unhurried<C>>>,
    clock: Unhurried<C>,
}

/// How ECS is reached in a dry run: through the record.
type RecordedConnect<C> = AwsConnect<Unhurried<C>, Box<dyn Fn(Ecs) -> RecordedEcs<Ecs> + Send + Sync>>;

impl<C: Clock + Clone> DryRun<C> {
    /// For this agent.
    pub(super) async fn new(
        agent: &AgentSetup<'_, C>,
        redaction: Redaction,
        record: Record,
    ) -> Result<Self, SetupError> {
        let AgentSetup { config, aws, .. } = agent;
        let recorder = Arc::new(Recorder::new(&config.agent, record, redaction));
        let clock = Unhurried(agent.clock.clone());
        let of_launches = Arc::clone(&recorder);
        let connect: RecordedConnect<C> = AwsConnect {
            aws: Arc::clone(aws),
            own: aws.for_agent(config.region_name.as_deref(), config.assume_role_arn.as_deref()).await,
            clock: clock.clone(),
            rate: Arc::new(LaunchRate::new(config.launch_rate)),
            wrap: Box::new(move |ecs| RecordedEcs::new(ecs, Arc::clone(&of_launches))),
        };
        let platform = EcsPlatform::new(AccountsLauncher::of_agent(connect), launch_rules(agent).await?);
        Ok(Self { recorder, platform, clock })
    }

    /// A whole turn, as a poll performs it.
    pub(super) async fn turn(&self, rules: Rules, prefect: &impl DescribesWrites, ledger: &ReportBuilder) {
        let recorded = RecordedPrefect::new(prefect, &self.recorder, self.clock.now());
        Iteration::new(rules, (&recorded, &self.platform, &self.clock), ledger, &SeenLaunches::default()).run().await;
    }
}

/// A clock on which waiting is over at once: a dry run shows held launches without holding them.
#[derive(Debug, Clone)]
struct Unhurried<C>(C);

impl<C: Clock> Clock for Unhurried<C> {
    fn now(&self) -> OffsetDateTime {
        self.0.now()
    }

    async fn sleep_until(&self, _instant: OffsetDateTime) {}
}
