//! A tiny HTTP server that answers as a test says, and the values that tests start from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::{Config, Detail, Prefect1, Setup};
use crate::config::{AgentSecrets, ApiKeyDelivery, Backend, Prefect1Config, Rules, StoredSecret};
use crate::ecs_model::UnknownMembers;
use crate::orchestrator::{DueRun, Mark, Window};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time::OffsetDateTime;
use time::macros::datetime;

pub(super) const KEY: &str = "pcu_fakekey";
pub(super) const TENANT: &str = "6f1b2c3d-0000-4000-8000-000000000001";
pub(super) const AGENT_ID: &str = "3b401037-eff4-4870-a6be-1666a98163a3";
pub(super) const RUN_ID: &str = "51f0038a-6f3d-4d73-9dba-54d2342adbaf";
pub(super) const TASK_RUN_ID: &str = "c5b923e4-c6ff-4828-ba2a-8334b8f5aefd";
pub(super) const NOW: OffsetDateTime = datetime!(2026-11-22 16:41:05.123899 UTC);

/// What a test server says.
pub(super) enum Reply {
    /// Status and JSON body.
    Json(u16, Value),
    /// Status, one header, text body.
    Text(u16, (&'static str, &'static str), &'static str),
    /// The connection is closed without an answer.
    Drop,
    /// No answer for a minute.
    Silence,
}

pub(super) fn ok(data: Value) -> Reply {
    Reply::Json(200, json!({ "data": data }))
}

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub headers: http::HeaderMap,
    pub query: String,
    pub variables: Value,
}

impl Seen {
    /// The root fields that the tests tell requests apart by.
    pub(super) fn operation(&self) -> &'static str {
        [
            "get_runs_in_queue(",
            "register_agent(",
            "agent_config(",
            "write_run_logs(",
            "set_flow_run_states(",
            "set_task_run_states(",
            "auth_info",
            "flow_run(",
            "tenant {",
        ]
        .into_iter()
        .find(|name| self.query.contains(name))
        .map_or("?", |name| name.trim_end_matches(['(', '{', ' ']))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A server on a free port of the loopback; it ends with the test's runtime.
pub(super) struct Server {
    pub api: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// `answer` gets the request and its number, from 0.
    pub(super) async fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let api = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, answer) = (seen.clone(), Arc::new(answer));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (log, answer) = (log.clone(), answer.clone());
                let service = service_fn(move |request| respond(request, log.clone(), answer.clone()));
                let connection =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(async move { drop(connection.await) });
            }
        });
        Self { api, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn operations(&self) -> Vec<&'static str> {
        self.seen().iter().map(Seen::operation).collect()
    }
}

async fn respond(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Seen>>>,
    answer: Arc<impl Fn(&Seen, usize) -> Reply>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/"));
    let headers = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert!(body["variables"].is_object(), "variables must be an object: {body}");
    let seen = Seen { headers, query: body["query"].as_str().unwrap().into(), variables: body["variables"].clone() };
    let number = {
        let mut log = log.lock().unwrap();
        log.push(seen.clone());
        log.len() - 1
    };
    let (status, (name, value), body) = match answer(&seen, number) {
        Reply::Json(status, body) => (status, ("content-type", "application/json"), body.to_string()),
        Reply::Text(status, header, body) => (status, header, body.to_owned()),
        Reply::Drop => return Err(std::io::Error::other("dropped")),
        Reply::Silence => {
            tokio::time::sleep(Duration::from_mins(1)).await;
            return Err(std::io::Error::other("silent"));
        }
    };
    Ok(Response::builder().status(status).header(name, value).body(Full::from(body)).unwrap())
}

pub(super) fn config(api: &str) -> Config {
    Config {
        agent: "etl".into(),
        enabled: true,
        api: api.into(),
        ca_bundle: None,
        name: "agent".into(),
        poll_interval: Duration::from_mins(1),
        prefetch: Duration::from_mins(1),
        launch_rate: None,
        env_vars: Vec::new(),
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
        generation: Prefect1Config {
            rules: Rules::V1,
            backend: Backend::Cloud,
            tenant_id: Some(TENANT.into()),
            labels: vec!["prod".into()],
            agent_config_id: None,
            no_cloud_logs: false,
            logging_level: "INFO".into(),
            cluster: None,
            launch_type: None,
            task_role_arn: None,
            execution_role_arn: None,
            task_definition: None,
            run_task_kwargs: None,
        },
    }
}

pub(super) fn one(config: &mut Config) -> &mut Prefect1Config {
    &mut config.generation
}

pub(super) fn secret(value: &str) -> StoredSecret {
    StoredSecret { value: SecretString::from(value), arn: None }
}

pub(super) fn setup(api: &str) -> Setup {
    Setup {
        config: config(api),
        secrets: AgentSecrets { api_key: Some(secret(KEY)), ..AgentSecrets::default() },
        marked_as: "/root/etl".into(),
        apply_settings: |config, settings| {
            if let Some(name) = settings["name"].as_str() {
                config.name = name.into();
            }
            if let Some(labels) = settings["labels"].as_array() {
                one(config).labels = labels.iter().map(|label| label.as_str().unwrap().into()).collect();
            }
            settings.get("zzz").map(|_| "unknown setting zzz".to_owned()).into_iter().collect()
        },
        now: std::sync::Arc::new(|| NOW),
        redaction: crate::redaction::Redaction::default(),
        read_only: false,
    }
}

pub(super) fn prefect(setup: Setup) -> Prefect1 {
    Prefect1::new(setup, crate::http::Http::network(crate::http::Options::PREFECT1, None).unwrap()).unwrap()
}

pub(super) fn window() -> Window {
    Window { now: NOW, before: NOW + Duration::from_mins(1) }
}

pub(super) fn times() -> super::queries::Times {
    super::queries::Times::from(&window())
}

/// A Scheduled run, as Prefect Server wrote it.
pub(super) fn scheduled_row() -> Value {
    json!({
        "id": RUN_ID, "version": 1, "state": "Scheduled",
        "serialized_state": {
            "type": "Scheduled", "message": "Flow run scheduled.", "context": {"tags": []},
            "_result": {"type": "NoResultType", "__version__": "0.15.0"}, "cached_inputs": {},
            "__version__": "0.15.0", "start_time": "2026-11-22T16:41:02.881859+00:00"
        },
        "parameters": {"x": 1}, "scheduled_start_time": "2026-11-22T16:41:02.881859+00:00",
        "run_config": {"type": "ECSRun", "__version__": "0.15.0", "env": null, "labels": []},
        "name": "pretend-parrot",
        "flow": {
            "id": "aa533825-34d9-4ee5-af63-db050c95f160", "version": 3, "name": "My Flow é", "environment": null,
            "storage": {"type": "Local", "path": "/opt/prefect/flow.py"}, "core_version": "0.15.0"
        },
        "task_runs": []
    })
}

/// A Running run with a task that is due to be retried.
pub(super) fn retry_row() -> Value {
    let mut row = scheduled_row();
    row["version"] = json!(4);
    row["state"] = json!("Running");
    row["serialized_state"] = json!({"type": "Running", "message": "Running flow."});
    row["task_runs"] = json!([task_row(TASK_RUN_ID, 1)]);
    row
}

pub(super) fn task_row(id: &str, version: i64) -> Value {
    json!({
        "id": id, "version": version, "task_id": "ebdc1349-0f12-40be-8a65-d32f3eb5d1ca",
        "serialized_state": {
            "type": "Retrying", "message": "Retrying.", "start_time": "2026-11-22T16:40:00+00:00", "run_count": 1,
            "context": {"tags": []}
        }
    })
}

pub(super) fn due(row: &Value) -> DueRun<Detail> {
    super::states::due_run(row, &times()).expect("readable").expect("due")
}

pub(super) fn mark_for(run: &DueRun<Detail>) -> Mark {
    Mark {
        agent: "/root/etl".into(),
        epoch: run.epoch.clone(),
        attempt: run.attempts + 1,
        capacity_refusals: run.capacity_refusals,
        token: run.token.clone(),
        place: String::new(),
    }
}
