//! Golden cases: what the observer of a real Prefect worker (prefect-aws 0.7.12) made of a task's change of state, against
//! ours. The tasks are a worker's: they have no `startedBy`, only tags.
//!
//! Deliberate deviations, each by a rule of [`adjusted`] and none by the name of a case:
//!
//! - All containers that count exited with 0 and the run is PENDING or RUNNING: the observer leaves the run so for ever;
//!   here it is CRASHED after a second look.
//! - The task stopped before it had containers, with another stop code than `TaskFailedToStart`: the observer leaves the
//!   run so; here it is CRASHED.
//! - The run is CANCELLING: the observer proposes CRASHED, which the server rejects, or nothing; here it becomes CANCELLED.
//! - The task waits for its start while the run is SCHEDULED or CANCELLING: the observer proposes PENDING, which would
//!   claim a run that has no task, or is refused; here nothing is proposed.
//! - It is not known which container ran the flow, and only some failed: the observer ends the run at once; here after a
//!   second look.

use crate::golden_prefect3::compare;
use prefect_serverless_agent::model::{ClaimedBy, Generation, Phase, Run};
use prefect_serverless_agent::orchestrator::LogLevel;
use prefect_serverless_agent::task_events::decision::{Action, DecisionRules, Look, Observation, decide};
use prefect_serverless_agent::task_events::event::TaskEvent;
use prefect_serverless_agent::task_events::task_owner::{self, Owner, OwnerCandidate, Tags};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v3-observer");
const AGENTS: [OwnerCandidate<'_>; 2] =
    [OwnerCandidate { agent: "old", work_pool: None }, OwnerCandidate { agent: "new", work_pool: Some("my-pool") }];
/// As the observer is configured when nobody configures it.
const RULES: DecisionRules<'_> = DecisionRules {
    generation: Generation::TwoOrThree,
    max_launch_attempts: 5,
    forward_log_lines: 500,
    prefect_version: "3.8.8",
};

#[test]
fn tasks_are_observed_as_by_prefects_worker() {
    let mut paths: Vec<_> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 19, "only {} cases in {FOLDER}", paths.len());
    let mut report = String::new();
    let mut failed = 0;
    for path in &paths {
        let case: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let mut differences = Vec::new();
        let ours = Play::of(&case);
        compare(&mut differences, "expected", &adjusted(&case, &ours), &ours);
        if !differences.is_empty() {
            failed += 1;
            writeln!(report, "{}: {}\n    {}", case["id"], case["description"], differences.join("\n    ")).unwrap();
        }
    }
    assert!(failed == 0, "{failed} of {} cases differ:\n{report}", paths.len());
}

/// What happens in a case.
#[derive(Default)]
struct Play {
    set_state: Vec<Value>,
    events: Vec<Value>,
    flow_run_logs: Vec<Value>,
    forward_cloudwatch_logs: Value,
    refused: bool,
    looks: usize,
}

impl Play {
    fn of(case: &Value) -> Value {
        let mut play = Self::default();
        let tags: Tags = serde_json::from_value(case["task_tags"].clone()).unwrap();
        let deregistered = TaskEvent::read(&case["event"]).ok().and_then(|event| play.event(case, &event, &tags));
        json!({
            "set_state": play.set_state,
            "events": play.events,
            "flow_run_logs": play.flow_run_logs,
            "forward_cloudwatch_logs": play.forward_cloudwatch_logs,
            "deregister_task_definition": deregistered,
            "looks": play.looks,
        })
    }

    fn event(&mut self, case: &Value, event: &TaskEvent, tags: &Tags) -> Option<String> {
        assert_eq!(task_owner::by_started_by(event, &AGENTS), Ok(None), "a worker's task has no startedBy");
        if let Ok(owner) = task_owner::by_tags(tags, &AGENTS) {
            assert_eq!(owner.agents, ["new"]);
            self.look(case, event, tags, &owner, Look::First);
        }
        task_owner::definition_to_deregister(event, tags, &AGENTS).map(ToOwned::to_owned)
    }

    fn look(&mut self, case: &Value, event: &TaskEvent, tags: &Tags, owner: &Owner, look: Look) {
        self.looks += 1;
        let run = run(case);
        let now = OffsetDateTime::UNIX_EPOCH;
        let seen = Observation { now, tags, run: run.as_ref(), task_version: None, look };
        for action in decide(event, owner, &seen, &RULES).actions {
            self.perform(case, action, &|play| play.look(case, event, tags, owner, Look::Second));
        }
    }

    fn perform(&mut self, case: &Value, action: Action, look_again: &dyn Fn(&mut Self)) {
        match action {
            Action::PostEvent(event) => self.events.push(event),
            Action::ProposePending { message } => self.propose(case, "PENDING", "InfrastructurePending", &message),
            Action::End { message } => self.propose(case, "CRASHED", "Crashed", &message),
            Action::Cancelled { message } => self.propose(case, "CANCELLED", "Cancelled", &message),
            Action::GiveBack { .. } => panic!("a worker's claim is not ours to give back"),
            Action::LookAgain(_) => look_again(self),
            Action::Log { level, message } => {
                let level = match level {
                    LogLevel::Info => 20,
                    LogLevel::Warning => 30,
                    LogLevel::Error => 40,
                };
                self.flow_run_logs.push(json!({"level": level, "message": message}));
            }
            Action::ForwardLogs { .. } if self.refused => {}
            Action::ForwardLogs { container, max_lines } => {
                self.forward_cloudwatch_logs = json!({"container_name": container, "max_events": max_lines});
            }
        }
    }

    fn propose(&mut self, case: &Value, kind: &str, name: &str, message: &str) {
        self.set_state.push(json!({"type": kind, "name": name, "message": message}));
        self.refused = case["set_state_answer"] == "ABORT";
    }
}

fn run(case: &Value) -> Option<Run> {
    let state = case["flow_run_state"].as_object()?;
    let text = |key: &str| state[key].as_str().unwrap();
    let since = OffsetDateTime::parse(text("timestamp"), &Rfc3339).unwrap();
    Some(Run {
        phase: Phase::of_prefect_3(text("type")),
        claimed_at: (text("name") == "Pending").then_some(since),
        infrastructure_pid: None,
        attempt: None,
        has_run: false,
        waits_for_task_runs: false,
        claimed_by: ClaimedBy::Unknown,
    })
}

/// What is expected, by the deviations above. The words are ours where the observer has none. What it does inside itself
/// (`handlers`, `error`) is its own.
fn adjusted(case: &Value, ours: &Value) -> Value {
    let mut expected = case["expected"].clone();
    let detail = &case["event"]["detail"];
    let state = case["flow_run_state"]["type"].as_str().unwrap_or_default();
    let containers = detail["containers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let flow = containers.iter().find(|container| container["name"] == "prefect" || containers.len() == 1);
    let counting: Vec<&Value> = flow.map_or_else(|| containers.iter().collect(), |flow| vec![flow]);
    let ended_well = counting.iter().filter(|container| container["exitCode"] == 0).count();
    let all_well = !counting.is_empty() && ended_well == counting.len();
    let unclear = flow.is_none() && ended_well > 0;
    let never_had_any = containers.is_empty() && detail["stopCode"] != "TaskFailedToStart";
    let is_known = expected["handlers"].as_array().unwrap().contains(&json!("replicate_ecs_event"));
    let stopped = detail["lastStatus"] == "STOPPED" && is_known;
    let lives = state == "PENDING" || state == "RUNNING";
    let with_our_words = |kind, name| json!([{"type": kind, "name": name, "message": ours["set_state"][0]["message"]}]);

    if stopped && lives && (all_well || never_had_any) {
        expected["set_state"] = with_our_words("CRASHED", "Crashed");
        if expected["flow_run_logs"] == json!([]) {
            expected["flow_run_logs"] = json!([ours["flow_run_logs"][0]]);
        }
        let name = flow.map(|flow| &flow["name"]);
        let is_forwarded =
            state == "PENDING" && (flow.is_some() || never_had_any) && case["set_state_answer"] != "ABORT";
        expected["forward_cloudwatch_logs"] =
            if is_forwarded { json!({"container_name": name, "max_events": 500}) } else { Value::Null };
    } else if stopped && state == "CANCELLING" {
        expected["set_state"] = with_our_words("CANCELLED", "Cancelled");
        if case["set_state_answer"] == "ABORT" {
            expected["forward_cloudwatch_logs"] = Value::Null;
        }
    } else if !stopped && !lives {
        expected["set_state"] = json!([]);
    }
    let looks = if stopped && lives && (all_well || unclear) { 2 } else { usize::from(is_known) };
    let object = expected.as_object_mut().unwrap();
    object.retain(|key, _| key != "handlers" && key != "error");
    object.insert("looks".into(), json!(looks));
    expected
}
