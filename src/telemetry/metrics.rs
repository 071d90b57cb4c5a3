//! `CloudWatch` embedded metrics: lines of the log that `CloudWatch` turns into metrics. Pure.
//!
//! Ten per deployment, however many agents it has, since each costs by the month. With `AGENT_METRICS=ENABLED` each agent
//! has the ten once more under a dimension of its own. What else is worth knowing of a poll is a field of the same line,
//! for Logs Insights.

use crate::config::Environment;
use crate::poll::report::LateRun;
use crate::poll::{AgentReport, Report};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// Namespace of the metrics.
pub const NAMESPACE: &str = "PrefectServerlessAgent";

/// The variable that asks for metrics of each agent.
const AGENT_METRICS: &str = "AGENT_METRICS";

/// So many values of a metric `CloudWatch` takes from one line.
const VALUES: usize = 100;

/// Everything that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Agents whose own poll failed; 1 when not even the configuration could be read.
    PollFailures,
    /// Agents that health calls failing.
    FailingAgents,
    /// Agents that were not failing at the poll before: a pulse, so that one that fails does not hide the next.
    NewlyFailingAgents,
    /// How late the oldest due run is that is not launched; 0 when none waits, and no value when nobody could ask.
    Late,
    /// From the time a run was due until ECS had taken its task, one value per run.
    DueToLaunched,
    /// From the time a run was due until the containers of its task had started, one value per run. Told by
    /// `task-events` when the task has stopped, and dated back to its start.
    DueToRunning,
    /// Runs that got a task.
    Launched,
    /// Runs that could not be launched, for good.
    Failed,
    /// Answers of Prefect or AWS that asked for fewer requests.
    Throttled,
    /// What a task that stopped has cost, estimated, in USD.
    EstimatedCost,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::PollFailures,
        Self::FailingAgents,
        Self::NewlyFailingAgents,
        Self::Late,
        Self::DueToLaunched,
        Self::DueToRunning,
        Self::Launched,
        Self::Failed,
        Self::Throttled,
        Self::EstimatedCost,
    ];

    /// Its name in `CloudWatch`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PollFailures => "PollFailures",
            Self::FailingAgents => "FailingAgents",
            Self::NewlyFailingAgents => "NewlyFailingAgents",
            Self::Late => "Late",
            Self::DueToLaunched => "DueToLaunched",
            Self::DueToRunning => "DueToRunning",
            Self::Launched => "Launched",
            Self::Failed => "Failed",
            Self::Throttled => "Throttled",
            Self::EstimatedCost => "EstimatedCost",
        }
    }

    /// Its unit, as `CloudWatch` spells it.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Late | Self::DueToLaunched | Self::DueToRunning => "Seconds",
            // There is no unit for money.
            Self::EstimatedCost => "None",
            _ => "Count",
        }
    }
}

/// Values by metric; a metric without any says nothing.
type Values = BTreeMap<Metric, Vec<Value>>;

/// Whose metrics they are, and in which dimensions they are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricScope {
    deployment: String,
    by_agent: bool,
}

impl MetricScope {
    /// Of a deployment, which is named by its parameter root.
    pub fn new(deployment: &str, environment: &Environment) -> Self {
        let by_agent = environment.get(AGENT_METRICS).is_some_and(|state| state.eq_ignore_ascii_case("ENABLED"));
        Self { deployment: deployment.to_owned(), by_agent }
    }

    /// What one poll of all agents came to.
    pub fn of_poll(&self, report: &Report, now: OffsetDateTime) -> Vec<Value> {
        let all: Vec<&AgentReport> = report.agents.values().collect();
        let mut lines = self.lines(None, values(&all), fields(report), now);
        if self.by_agent {
            for (name, agent) in &report.agents {
                lines.extend(self.lines(Some(name), values(&[agent]), Map::new(), now));
            }
        }
        lines
    }

    /// Nothing was polled, for want of a configuration that can be read.
    pub fn of_no_poll(&self, now: OffsetDateTime) -> Vec<Value> {
        self.lines(None, Values::from([(Metric::PollFailures, vec![json!(1)])]), Map::new(), now)
    }

    /// What `task-events` measured of one task. `agent`: whose run it was; `at`: what the value is dated to (`CloudWatch`
    /// takes none that is older than two weeks).
    pub fn of_task(&self, agent: Option<&str>, metric: Metric, value: f64, at: OffsetDateTime) -> Vec<Value> {
        let values = || Values::from([(metric, vec![json!(value)])]);
        let mut lines = self.lines(None, values(), Map::new(), at);
        if let Some(agent) = agent.filter(|_| self.by_agent) {
            lines.extend(self.lines(Some(agent), values(), Map::new(), at));
        }
        lines
    }

    /// One line, or as many as the longest list of values takes. `fields`: what else the first one says.
    fn lines(
        &self,
        agent: Option<&str>,
        mut values: Values,
        fields: Map<String, Value>,
        at: OffsetDateTime,
    ) -> Vec<Value> {
        let mut lines = Vec::new();
        let mut fields = Some(fields);
        values.retain(|_, values| !values.is_empty());
        while !values.is_empty() {
            let part: Vec<(Metric, Vec<Value>)> = values
                .iter_mut()
                .map(|(metric, values)| (*metric, values.drain(..values.len().min(VALUES)).collect()))
                .collect();
            values.retain(|_, values| !values.is_empty());
            lines.push(self.line(agent, part, fields.take().unwrap_or_default(), at));
        }
        lines
    }

    fn line(
        &self,
        agent: Option<&str>,
        values: Vec<(Metric, Vec<Value>)>,
        mut line: Map<String, Value>,
        at: OffsetDateTime,
    ) -> Value {
        let metrics: Vec<Value> =
            values.iter().map(|(metric, _)| json!({"Name": metric.name(), "Unit": metric.unit()})).collect();
        let mut dimensions = vec![("Deployment", self.deployment.as_str())];
        dimensions.extend(agent.map(|agent| ("Agent", agent)));
        let names: Vec<&str> = dimensions.iter().map(|(name, _)| *name).collect();
        let directive = json!({"Namespace": NAMESPACE, "Dimensions": [names], "Metrics": metrics});
        let milliseconds = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        line.insert("_aws".into(), json!({"Timestamp": milliseconds, "CloudWatchMetrics": [directive]}));
        line.extend(dimensions.into_iter().map(|(name, value)| (name.to_owned(), Value::from(value))));
        line.extend(values.into_iter().map(|(metric, mut values)| {
            let value = if values.len() == 1 { values.remove(0) } else { Value::from(values) };
            (metric.name().to_owned(), value)
        }));
        Value::from(line)
    }
}

/// Milliseconds as seconds.
fn seconds(milliseconds: u64) -> Value {
    json!(Duration::from_millis(milliseconds).as_secs_f64())
}

/// What the polls of some agents came to.
fn values(agents: &[&AgentReport]) -> Values {
    let count = |counted: fn(&AgentReport) -> bool| agents.iter().filter(|agent| counted(agent)).count();
    let sum = |number: fn(&AgentReport) -> usize| agents.iter().map(|agent| number(agent)).sum::<usize>();
    let asked = agents.iter().filter(|agent| agent.is_queue_known);
    let late = asked.map(|agent| agent.oldest_late.as_ref().map_or(0, |run| run.late_ms)).max();
    // What existed already was launched by an earlier poll, which measured it.
    let launched = agents.iter().flat_map(|agent| &agent.launched).filter(|run| !run.adopted);
    Values::from([
        (Metric::PollFailures, vec![json!(count(AgentReport::failed_itself))]),
        (Metric::FailingAgents, vec![json!(count(|agent| agent.is_failing))]),
        (Metric::NewlyFailingAgents, vec![json!(count(|agent| agent.is_newly_failing))]),
        (Metric::Late, late.map(seconds).into_iter().collect()),
        (Metric::DueToLaunched, launched.filter_map(|run| run.late_ms).map(seconds).collect()),
        (Metric::Launched, vec![json!(sum(|agent| agent.launched.len()))]),
        (Metric::Failed, vec![json!(sum(|agent| agent.failed.len()))]),
        (Metric::Throttled, vec![json!(sum(|agent| agent.throttled))]),
    ])
}

/// What else is worth a query.
fn fields(report: &Report) -> Map<String, Value> {
    let agents = || report.agents.values();
    let sum = |number: fn(&AgentReport) -> usize| agents().map(number).sum::<usize>();
    let mut fields = Map::new();
    let mut say = |name: &str, value: Value| {
        if !value.is_null() {
            fields.insert(name.to_owned(), value);
        }
    };
    say("agents", json!(report.agents.len()));
    say("ready", json!(sum(|agent| agent.ready)));
    say("deferred", json!(sum(|agent| agent.deferred.len())));
    say("recovered", json!(sum(|agent| agent.recovered.len())));
    // `null` when no agent could ask.
    say("claims_outstanding", json!(agents().filter_map(|agent| agent.outstanding).reduce(|all, more| all + more)));
    say("poll_duration_ms", json!(agents().map(|agent| agent.duration_ms).max()));
    say("api_latency_ms", json!(agents().filter_map(|agent| agent.api_latency_ms).max()));
    let late = report.agents.iter().filter_map(|(name, agent)| Some((name, agent.oldest_late.as_ref()?)));
    if let Some((agent, LateRun { flow_run_id, late_ms, reason })) = late.max_by_key(|(_, run)| run.late_ms) {
        say("oldest_due", json!({"agent": agent, "flow_run_id": flow_run_id, "late_ms": late_ms, "reason": reason}));
    }
    fields
}

#[cfg(test)]
mod tests;
