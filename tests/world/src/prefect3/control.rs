//! Prefect 2's and 3's part of the control API: one command per path, JSON in and out.
//!
//! | command | body | answer |
//! |---|---|---|
//! | `pool` | a [`PoolSpec`](super::PoolSpec) | `{}` |
//! | `queue` | `{"work_pool"}` and a [`QueueSpec`](super::QueueSpec) | `{}` |
//! | `deployment` | a [`DeploymentSpec`](super::DeploymentSpec) | `{"id"}` |
//! | `run` | a [`RunSpec`](super::RunSpec) | `{"id"}` |
//! | `runs` (POST) | a list of them | `{"ids"}` |
//! | `block` | a [`BlockSpec`](super::BlockSpec) | `{"id"}` |
//! | `variable` | `{"name", "value"}` | `{}` |
//! | `cancel`, `retry` | `{"id"}` | `{"status"}` |
//! | `set_state` | `{"id", "state"}`: forced | `{"status"}` |
//! | `schedule` | `{"id", "start_in_seconds"}`, default now | `{"status"}` |
//! | `pause` | `{"work_pool", "work_queue", "paused"}`, default the whole pool, and true | `{}` |
//! | `delete_deployment` | `{"id"}` | `{"deleted"}` |
//! | `start` | `{"id"}`: a container begins | `{"started", "wait_seconds", "reason"}` |
//! | `finish` | `{"id", "state", "message"}`: it ends, default `COMPLETED` | `{}` |
//! | `services` | | `{}` |
//! | `runs` (GET, or no list) | `{"id"}` or nothing | flow runs as their rows, with `states` and `starts` |
//! | `logs`, `events` | | what was sent |
//! | `pools` | | pools, with their queues and workers |
//! | `switches` | some [`super::Switches`] | all of them |

use super::{FlowRun, Prefect3, StateType, container::Started, times};
use crate::State;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Performs one command.
pub fn control(state: &mut State, command: &str, body: Value) -> Result<Value, String> {
    let now = times::micros(state.now());
    let prefect3 = &mut state.prefect3;
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let id = || text("id").ok_or("`id` is missing");
    match command {
        "pool" => done(prefect3.seed_pool(read(body)?, now)),
        "queue" => queue(prefect3, body, now),
        "deployment" => Ok(json!({"id": prefect3.seed_deployment(read(body)?, now)?})),
        "run" => Ok(json!({"id": prefect3.seed_run(read(body)?, now)?})),
        "runs" if body.is_array() => seed_runs(prefect3, read(body)?, now),
        "block" => Ok(json!({"id": prefect3.seed_block(read(body)?, now)?})),
        "variable" => {
            prefect3.seed_variable(&text("name").ok_or("`name` is missing")?, body["value"].clone(), now);
            Ok(json!({}))
        }
        "cancel" => status(prefect3.force_state(&id()?, &json!("CANCELLING"), now)),
        "retry" => status(prefect3.force_state(&id()?, &json!({"type": "SCHEDULED", "name": "AwaitingRetry"}), now)),
        "set_state" => status(prefect3.force_state(&id()?, &body["state"], now)),
        "schedule" => status(prefect3.schedule(&id()?, body["start_in_seconds"].as_f64().unwrap_or_default(), now)),
        "pause" => {
            let pool = text("work_pool").ok_or("`work_pool` is missing")?;
            let paused = body["paused"].as_bool().unwrap_or(true);
            done(prefect3.pause(&pool, text("work_queue").as_deref(), paused, now))
        }
        "delete_deployment" => Ok(json!({"deleted": prefect3.remove_deployment(&id()?)})),
        "start" => start(prefect3, &id()?, now),
        "finish" => finish(prefect3, &id()?, &body, now),
        "services" => {
            prefect3.services(now);
            Ok(json!({}))
        }
        "runs" => runs(prefect3, text("id").as_deref(), now),
        "logs" => Ok(Value::Array(prefect3.logs.clone())),
        "events" => Ok(Value::Array(prefect3.events.clone())),
        "pools" => Ok(pools(prefect3)),
        "switches" => switches(prefect3, body),
        other => Err(format!("no such command: {other}")),
    }
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_json::from_value(body).map_err(|error| error.to_string())
}

fn done(result: Result<(), String>) -> Result<Value, String> {
    result.map(|()| json!({}))
}

fn status(result: Result<&'static str, String>) -> Result<Value, String> {
    result.map(|status| json!({"status": status}))
}

fn queue(prefect3: &mut Prefect3, mut body: Value, now: OffsetDateTime) -> Result<Value, String> {
    let pool = body.as_object_mut().and_then(|body| body.remove("work_pool"));
    let pool = pool.as_ref().and_then(Value::as_str).ok_or("`work_pool` is missing")?;
    done(prefect3.seed_queue(pool, &read(body)?, now))
}

fn seed_runs(prefect3: &mut Prefect3, specs: Vec<super::RunSpec>, now: OffsetDateTime) -> Result<Value, String> {
    let ids = specs.into_iter().map(|spec| prefect3.seed_run(spec, now)).collect::<Result<Vec<String>, _>>()?;
    Ok(json!({"ids": ids}))
}

fn start(prefect3: &mut Prefect3, id: &str, now: OffsetDateTime) -> Result<Value, String> {
    Ok(match prefect3.start_container(id, now)? {
        Started::Yes => json!({"started": true, "wait_seconds": null, "reason": null}),
        Started::Wait(seconds) => json!({"started": false, "wait_seconds": seconds, "reason": null}),
        Started::No(reason) => json!({"started": false, "wait_seconds": null, "reason": reason}),
    })
}

fn finish(prefect3: &mut Prefect3, id: &str, body: &Value, now: OffsetDateTime) -> Result<Value, String> {
    let name = body["state"].as_str().unwrap_or("COMPLETED");
    let kind = StateType::named(name).ok_or_else(|| format!("no type of states: {name}"))?;
    done(prefect3.finish_container(id, kind, body["message"].as_str(), now))
}

fn runs(prefect3: &Prefect3, id: Option<&str>, now: OffsetDateTime) -> Result<Value, String> {
    let dump = |run: &FlowRun| {
        let mut row = prefect3.flow_run_row(run, now);
        row["starts"] = run.starts.into();
        row["states"] = run.states.iter().map(|state| state.row(prefect3.switches.generation)).collect();
        row
    };
    match id {
        None => Ok(prefect3.flow_runs.iter().map(dump).collect()),
        Some(id) => prefect3.flow_run(id).map(|run| json!([dump(run)])).ok_or_else(|| format!("no flow run {id}")),
    }
}

fn pools(prefect3: &Prefect3) -> Value {
    let dump = |pool: &super::WorkPool| {
        let mut row = prefect3.work_pool_row(pool);
        let queues = prefect3.work_queues.iter().filter(|queue| queue.work_pool_id == pool.id);
        row["queues"] = queues.map(|queue| prefect3.work_queue_row(queue)).collect();
        let workers = prefect3.workers.iter().filter(|worker| worker.work_pool_id == pool.id);
        row["workers"] = workers.map(|worker| prefect3.worker_row(worker)).collect();
        row
    };
    prefect3.work_pools.iter().map(dump).collect()
}

/// Those that are named are replaced; the others stay.
fn switches(prefect3: &mut Prefect3, body: Value) -> Result<Value, String> {
    let mut all = serde_json::to_value(&prefect3.switches).map_err(|error| error.to_string())?;
    if let (Some(all), Value::Object(given)) = (all.as_object_mut(), body) {
        all.extend(given);
    }
    prefect3.switches = read(all.clone())?;
    Ok(all)
}
