//! The values that the tests of this module start from. Their server is the one of the AWS adapters' tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::names::Names;
use super::states::{Author, Row};
use super::{Config, Detail, Prefect3, Setup};
use crate::aws::test_server::{Reply, Request, Server, json};
use crate::config::{AgentSecrets, ApiKeyDelivery, Prefect3Config, StoredSecret, WorkerRules};
use crate::ecs_model::UnknownMembers;
use crate::orchestrator::{DueRun, Mark, Window};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

pub(super) const KEY: &str = "pnu_fakekey";
pub(super) const MARKED_AS: &str = "/root/etl";
pub(super) const IDENTITY: &str = "123456789012/eu-west-1/root/etl";
pub(super) const AUTHOR: Author<'static> = Author { identity: IDENTITY, session: "1" };
pub(super) const POOL: &str = "ecs pool";
pub(super) const RUN: &str = "8449522c-244c-499e-8a08-131a70e53c42";
pub(super) const STATE: &str = "01a20411-6240-7d37-a705-fa8bc3845180";
pub(super) const DEPLOYMENT: &str = "72f45ca8-3507-4807-b78c-8afe5397f970";
pub(super) const FLOW: &str = "0816db67-c7f7-4e7e-8070-77a3f8b753bb";
pub(super) const CLUSTER: &str = "arn:aws:ecs:eu-west-1:123456789012:cluster/etl";
pub(super) const TASK: &str = "arn:aws:ecs:eu-west-1:123456789012:task/etl/0123";
pub(super) const NOW: OffsetDateTime = datetime!(2026-11-22 16:23:00.488868 UTC);

pub(super) fn config(api: &str) -> Config {
    Config {
        agent: "etl".into(),
        enabled: true,
        api: api.into(),
        ca_bundle: None,
        name: "My worker".into(),
        poll_interval: Duration::from_mins(1),
        prefetch: Duration::from_secs(10),
        launch_rate: None,
        env_vars: vec![("TEAM".into(), "data".into())],
        region_name: None,
        assume_role_arn: None,
        assume_role_external_id: None,
        api_key_delivery: ApiKeyDelivery::Environment,
        unknown_members: UnknownMembers::Refuse,
        orphan_after: Duration::from_mins(2),
        max_launch_attempts: 5,
        spot_fallback_after: Some(3),
        max_polls: None,
        cancel_grace: Duration::from_secs(90),
        forward_log_lines: 50,
        prices: None,
        guardrails: None,
        allowed_hosts: crate::http::hosts::AllowedHosts::default(),
        generation: Prefect3Config {
            rules: WorkerRules::Three,
            work_pool: POOL.into(),
            work_queues: Vec::new(),
            limit: None,
            image: "prefecthq/prefect:3-latest".into(),
            worker_env: vec![("PREFECT_LOGGING_LEVEL".into(), "DEBUG".into())],
            prefect_labels: true,
        },
    }
}

pub(super) fn secret(value: &str) -> StoredSecret {
    StoredSecret { value: SecretString::from(value), arn: None }
}

pub(super) fn setup(api: &str) -> Setup {
    Setup {
        config: config(api),
        secrets: AgentSecrets { api_key: Some(secret(KEY)), ..AgentSecrets::default() },
        marked_as: MARKED_AS.into(),
        identity: IDENTITY.into(),
        session: "1".into(),
        region: "eu-west-1".into(),
        pool_type: crate::platform::ecs::platform::WORK_POOL,
        redaction: crate::redaction::Redaction::default(),
        now: Arc::new(|| NOW),
        read_only: false,
    }
}

pub(super) fn with(setup: Setup) -> Prefect3 {
    Prefect3::new(setup, crate::http::Http::network(crate::http::Options::PREFECT3, None).unwrap()).unwrap()
}

pub(super) fn agent(server: &Server) -> Prefect3 {
    with(setup(&server.url()))
}

/// The same agent of another deployment.
pub(super) fn stranger() -> Names {
    Names::new("123456789012/eu-west-1/other/etl".into())
}

pub(super) fn names() -> Names {
    Names::new(IDENTITY.into())
}

pub(super) fn window() -> Window {
    Window { now: NOW, before: NOW + Duration::from_secs(10) }
}

/// `METHOD path` of each request so far, without the API's address.
pub(super) fn calls(server: &Server) -> Vec<String> {
    server.requests().iter().map(call).collect()
}

pub(super) fn call(request: &Request) -> String {
    format!("{} {}", request.method, request.target)
}

/// An answer for each request in turn; the last one for all that come after.
pub(super) async fn replying(replies: Vec<Reply>) -> Server {
    let number = AtomicUsize::new(0);
    Server::start(move |_| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        replies[number.min(replies.len() - 1)].clone()
    })
    .await
}

pub(super) fn ok(body: Value) -> Reply {
    json(200, &body)
}

pub(super) fn no_content() -> Reply {
    Reply::Answer(204, Vec::new(), String::new())
}

pub(super) fn unavailable() -> Reply {
    json(503, &json!({"exception_message": "Service Unavailable"}))
}

pub(super) fn pool_row() -> Value {
    json!({
        "id": "f039f9e1-a6dc-4b4f-a890-b5a9a08d0369", "name": POOL, "type": "ecs", "is_paused": false,
        "base_job_template": serde_json::from_str::<Value>((crate::platform::ecs::platform::WORK_POOL.template)(crate::config::WorkerRules::Three)).unwrap(),
    })
}

/// A flow run in the words of a poll.
pub(super) fn due_row() -> Value {
    json!({
        "id": RUN, "name": "utopian-lemming", "flow_id": FLOW, "state_id": STATE, "deployment_id": DEPLOYMENT,
        "parameters": {"x": 1}, "tags": ["nightly"], "labels": {"prefect.flow.id": FLOW},
        "state_type": "SCHEDULED", "state_name": "Scheduled", "run_count": 0,
        "expected_start_time": "2026-11-22T16:22:56.744869Z", "next_scheduled_start_time": "2026-11-22T16:22:56.744869Z",
        "start_time": null, "end_time": null, "infrastructure_pid": null, "state": null, "job_variables": {},
        "empirical_policy": {"retries": null, "retry_type": null},
    })
}

/// A flow run in the words of a filter, in this state.
pub(super) fn row_in(state: Value) -> Value {
    let mut row = due_row();
    row["state_id"] = state["id"].clone();
    row["state_type"] = state["type"].clone();
    row["state_name"] = state["name"].clone();
    row["state"] = state;
    row
}

pub(super) fn state(kind: &str, name: &str) -> Value {
    json!({
        "id": "01a20411-6d0c-760b-8b01-723facfa932a", "type": kind, "name": name,
        "timestamp": "2026-11-22T16:20:00.000000Z", "message": null, "data": null,
        "state_details": {"transition_id": null, "scheduled_time": "2026-11-22T16:22:56.744869Z"},
    })
}

/// PENDING, as our own claim of the run in [`due_row`] leaves it.
pub(super) fn claimed_state() -> Value {
    let mut state = state("PENDING", "Pending");
    state["data"] = AUTHOR.data(&mark());
    state["state_details"]["transition_id"] = json!(claim_id());
    state
}

pub(super) fn flow_row() -> Value {
    json!({"id": FLOW, "name": "hello", "tags": [], "labels": {}})
}

pub(super) fn deployment_row() -> Value {
    json!({"id": DEPLOYMENT, "name": "daily", "updated": "2026-11-22T16:22:57.710186Z", "job_variables": {},
           "tags": ["team-a", "nightly"]})
}

pub(super) fn read(row: Value) -> Row {
    Row::read(row).expect("readable")
}

pub(super) fn due() -> DueRun<Detail> {
    read(due_row()).turn(claim_id(), NOW, (0, 0))
}

pub(super) fn claim_id() -> String {
    names().claim(RUN, STATE)
}

pub(super) fn mark() -> Mark {
    Mark {
        agent: MARKED_AS.into(),
        epoch: claim_id(),
        attempt: 1,
        capacity_refusals: 0,
        token: claim_id(),
        place: "etl".into(),
    }
}

/// `infrastructure_pid` of a task.
pub(super) fn pid() -> String {
    format!("{CLUSTER}::{TASK}")
}
