//! A Python agent or worker on the same queue: it knows neither marks nor tokens, and fails what it cannot launch.

use crate::call::{Call, Generation};
use crate::config::REGION;
use crate::gate::{ActorId, Side};
use crate::port::Shared;
use crate::run::{Phase, RunId};
use crate::world::World;
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use world::prefect1::API_KEY;
use world::prefect3::POOL;

/// One poll: others may come between its steps.
pub async fn poll(shared: &Shared, actor: ActorId) {
    step(shared, actor).await;
    let now = shared.timeline.now();
    let due = shared.world().due(now);
    for run in due {
        step(shared, actor).await;
        if shared.world().is_claimed_by_python(run, actor) {
            step(shared, actor).await;
            let now = shared.timeline.now();
            shared.world().is_launched_by_python(run, actor, now);
        }
    }
}

async fn step(shared: &Shared, actor: ActorId) {
    let (_, millis) = shared.gate.pass(actor, Call::Other, Side::Before).await;
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

impl World {
    fn due(&self, now: OffsetDateTime) -> Vec<RunId> {
        let is_due = |run: &RunId| matches!(self.phase(*run), Some(Phase::Scheduled(at)) if at <= now);
        self.runs().filter(is_due).collect()
    }

    /// Whether the server takes its claim.
    fn is_claimed_by_python(&self, run: RunId, actor: ActorId) -> bool {
        if self.generation == Generation::One {
            let version = self.version(run);
            return self.is_set1(run, &json!({"type": "Submitted", "message": "Submitted for execution"}), version);
        }
        // A random one, as the worker's are.
        let transition = format!("{:08}-{:04}-4000-8000-000000000000", run.0 % 100_000_000, actor.0 % 10_000);
        let state = json!({"type": "PENDING", "name": "Pending", "state_details": {"transition_id": transition}});
        self.is_set3(run, &state) && self.is_set3(run, &json!({"type": "PENDING", "name": "Submitting"}))
    }

    /// Starts a task as Python does: with neither token nor `startedBy`, of a definition for it alone.
    fn is_launched_by_python(&mut self, run: RunId, actor: ActorId, now: OffsetDateTime) {
        let definition = json!({
            "family": "prefect-python", "networkMode": "awsvpc", "cpu": "256", "memory": "512",
            "containerDefinitions": [{"name": "flow", "image": "python"}],
        });
        let (variable, tags) = match self.generation {
            Generation::One => ("PREFECT__CONTEXT__FLOW_RUN_ID", json!([])),
            Generation::Three => {
                let tag = |key: &str, value: String| json!({"key": key, "value": value});
                let pool = tag("prefect.io/work-pool-name", POOL.to_owned());
                ("PREFECT__FLOW_RUN_ID", json!([tag("prefect.io/flow-run-id", run.to_string()), pool]))
            }
        };
        let variables = json!([{"name": variable, "value": run.to_string()}]);
        // Python refuses a run that it cannot render, or ECS does.
        let started = if self.flavour(run).is_bad() {
            Value::Null
        } else {
            let registered = self.ask_ecs("RegisterTaskDefinition", &definition);
            let request = json!({
                "taskDefinition": registered["taskDefinition"]["taskDefinitionArn"], "cluster": "blue", "tags": tags,
                "launchType": "FARGATE",
                "overrides": {"containerOverrides": [{"name": "flow", "environment": variables}]},
                "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-default-a"]}},
            });
            self.ask_ecs("RunTask", &request)
        };
        self.take_in_new_tasks(actor, now);
        match self.generation {
            _ if started["tasks"][0]["taskArn"].is_string() => {}
            Generation::One => {
                self.is_set1(run, &json!({"type": "Failed", "message": "Rate exceeded"}), self.version(run));
            }
            Generation::Three => {
                self.is_set3(run, &json!({"type": "CRASHED", "name": "Crashed"}));
            }
        }
    }

    fn is_set1(&self, run: RunId, state: &Value, version: u64) -> bool {
        let query = "mutation($i: set_flow_run_states_input!) \
            { set_flow_run_states(input: $i) { states { id status message } } }";
        let states = json!([{"flow_run_id": run.to_string(), "version": version, "state": state}]);
        let body = json!({"query": query, "variables": {"i": {"states": states}}});
        let key = format!("Bearer {API_KEY}");
        let answer = self.ask("/prefect1", &[("authorization", &key)], &body);
        answer["data"]["set_flow_run_states"]["states"][0]["status"] == "SUCCESS"
    }

    fn is_set3(&self, run: RunId, state: &Value) -> bool {
        let path = format!("/prefect3/api/flow_runs/{run}/set_state");
        self.ask(&path, &[], &json!({"state": state, "force": false}))["status"] == "ACCEPT"
    }

    /// What ECS answers to somebody who is no process of ours.
    pub(crate) fn ask_ecs(&self, operation: &str, body: &Value) -> Value {
        let target = format!("AmazonEC2ContainerServiceV20141113.{operation}");
        let signed = format!("AWS4-HMAC-SHA256 Credential=AKIAPYTHON/20261124/{REGION}/ecs/aws4_request, Signature=x");
        self.ask("/", &[("x-amz-target", &target), ("authorization", &signed)], body)
    }
}
