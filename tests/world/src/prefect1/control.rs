//! Prefect 1's part of the control API: one command per path, JSON in and out.
//!
//! | command | body | answer |
//! |---|---|---|
//! | `create_flow_run` | a [`FlowRunSpec`] | `{"id"}` |
//! | `create_flow_runs` | a list of them | `{"ids"}` |
//! | `cancel` | `{"id"}` | `{}` |
//! | `set_state` | `{"id", "state"}` | `{}` |
//! | `start` | `{"id"}`: a container begins | `{"started", "reason"}` |
//! | `finish` | `{"id", "state", "message"}`: it ends, default Success | `{}` |
//! | `runs` | `{"id"}` or nothing | flow runs as their rows, with states and logs, and how often they were started |
//! | `logs` | `{"id"}` or nothing | log lines |
//! | `agents` | | registered agents |
//! | `tenants` | a list of `{"id", "name", "slug"}` | `{}` |
//! | `api_key` | `{"key", "tenants"}`, a list of ids | `{}` |
//! | `token` | `{"token", "tenant_id", "scope"}` | `{}` |
//! | `agent_config` | `{"id", "tenant_id", "name", "settings"}` | `{"id"}` |
//! | `switches` | some [`super::Switches`] | all of them |
//! | `lazarus` | | `{"ids"}` |

use super::{AgentConfig, FlowRun, FlowRunSpec, Prefect1, TENANT, Tenant, Token, container::Started, rows, times};
use crate::State;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// Performs one command.
pub fn control(state: &mut State, command: &str, body: Value) -> Result<Value, String> {
    let now = state.now();
    let prefect1 = &mut state.prefect1;
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let id = || text("id").ok_or("`id` is missing");
    match command {
        "create_flow_run" => Ok(json!({"id": prefect1.create_flow_run(read(body)?, now)?})),
        "create_flow_runs" => create(prefect1, read(body)?, now),
        "cancel" => {
            done(prefect1.force_state(&id()?, &json!({"type": "Cancelled", "message": "Flow run cancelled."}), now))
        }
        "set_state" => done(prefect1.force_state(&id()?, &body["state"], now)),
        "start" => start(prefect1, &id()?, now),
        "finish" => {
            let kind = text("state").unwrap_or_else(|| "Success".to_owned());
            done(prefect1.finish_container(&id()?, &kind, body["message"].as_str(), now))
        }
        "runs" => runs(prefect1, text("id").as_deref()),
        "logs" => Ok(logs(prefect1, text("id").as_deref())),
        "agents" => Ok(prefect1.agents.iter().map(rows::agent).collect()),
        "tenants" => tenants(prefect1, &body),
        "api_key" => api_key(prefect1, &body),
        "token" => token(prefect1, &body),
        "agent_config" => agent_config(prefect1, &body),
        "switches" => switches(prefect1, body),
        "lazarus" => Ok(json!({"ids": prefect1.lazarus(now)})),
        other => Err(format!("no such command: {other}")),
    }
}

fn read<T: DeserializeOwned>(body: Value) -> Result<T, String> {
    serde_json::from_value(body).map_err(|error| error.to_string())
}

fn done(result: Result<(), String>) -> Result<Value, String> {
    result.map(|()| json!({}))
}

fn create(prefect1: &mut Prefect1, specs: Vec<FlowRunSpec>, now: OffsetDateTime) -> Result<Value, String> {
    let ids = specs.into_iter().map(|spec| prefect1.create_flow_run(spec, now)).collect::<Result<Vec<String>, _>>()?;
    Ok(json!({"ids": ids}))
}

fn start(prefect1: &mut Prefect1, id: &str, now: OffsetDateTime) -> Result<Value, String> {
    Ok(match prefect1.start_container(id, now)? {
        Started::Yes => json!({"started": true, "reason": null}),
        Started::No(reason) => json!({"started": false, "reason": reason}),
    })
}

fn runs(prefect1: &Prefect1, id: Option<&str>) -> Result<Value, String> {
    let dump = |run: &FlowRun| {
        let mut row = rows::flow_run(prefect1, run);
        row["starts"] = run.starts.into();
        row
    };
    match id {
        None => Ok(prefect1.flow_runs.iter().map(dump).collect()),
        Some(id) => prefect1.flow_run(id).map(|run| json!([dump(run)])).ok_or_else(|| format!("no flow run {id}")),
    }
}

fn logs(prefect1: &Prefect1, id: Option<&str>) -> Value {
    match id {
        None => prefect1.logs.iter().map(rows::log).collect(),
        Some(id) => prefect1.flow_run_logs(id).map(rows::log).collect(),
    }
}

fn uuid(body: &Value, key: &str) -> Result<String, String> {
    body[key].as_str().and_then(times::uuid).ok_or_else(|| format!("`{key}` is no UUID: {}", body[key]))
}

fn tenants(prefect1: &mut Prefect1, body: &Value) -> Result<Value, String> {
    let one = |tenant: &Value| {
        let text = |key: &str| tenant[key].as_str().unwrap_or("default").to_owned();
        Ok(Tenant { id: uuid(tenant, "id")?, name: text("name"), slug: text("slug") })
    };
    prefect1.tenants = body.as_array().ok_or("a list is wanted")?.iter().map(one).collect::<Result<_, String>>()?;
    Ok(json!({}))
}

fn api_key(prefect1: &mut Prefect1, body: &Value) -> Result<Value, String> {
    let key = body["key"].as_str().ok_or("`key` is missing")?.to_owned();
    prefect1.api_keys.insert(key, read(body["tenants"].clone())?);
    Ok(json!({}))
}

fn token(prefect1: &mut Prefect1, body: &Value) -> Result<Value, String> {
    let token = body["token"].as_str().ok_or("`token` is missing")?.to_owned();
    let text = |key: &str, default: &str| body[key].as_str().unwrap_or(default).to_owned();
    prefect1.tokens.insert(token, Token { tenant_id: text("tenant_id", TENANT), scope: text("scope", "RUNNER") });
    Ok(json!({}))
}

fn agent_config(prefect1: &mut Prefect1, body: &Value) -> Result<Value, String> {
    let id = if body["id"].is_null() { times::new_id() } else { uuid(body, "id")? };
    prefect1.agent_configs.retain(|config| config.id != id);
    prefect1.agent_configs.push(AgentConfig {
        id: id.clone(),
        tenant_id: body["tenant_id"].as_str().unwrap_or(TENANT).to_owned(),
        name: body["name"].as_str().map(str::to_owned),
        settings: body["settings"].clone(),
    });
    Ok(json!({"id": id}))
}

/// Those that are named are replaced; the others stay.
fn switches(prefect1: &mut Prefect1, body: Value) -> Result<Value, String> {
    let mut all = serde_json::to_value(&prefect1.switches).map_err(|error| error.to_string())?;
    if let (Some(all), Value::Object(given)) = (all.as_object_mut(), body) {
        all.extend(given);
    }
    prefect1.switches = read(all.clone())?;
    Ok(all)
}
