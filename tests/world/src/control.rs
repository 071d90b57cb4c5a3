//! The control API under `/_world/…`, for scripts and the demo. Bodies and answers are JSON; lists are taken where one
//! thing is.
//!
//! | request | does |
//! |---|---|
//! | GET `journal?service=&operation=` | the requests so far, all or some |
//! | GET `counts` | how many of each service and operation |
//! | GET `ecs`, `ssm`, `sts`, `ec2`, `lambda`, `faults` | what the fake knows |
//! | POST `reset` | forgets everything but the options of ECS |
//! | POST `journal/clear`, `faults/clear` | forgets requests, or faults |
//! | POST `fault` | adds a [`Fault`], e.g. `{"service": "ecs", "operation": "RunTask", "kind": "drop_after"}` |
//! | POST `latency` `{"ms"}` | adds so much to every answer |
//! | POST `advance` `{"seconds"}` | moves the world's clock forward |
//! | POST `ssm` `{"name", "value", "type"}` | writes a parameter |
//! | POST `s3` `{"bucket", "key", "body"}` | stores an object |
//! | POST `ec2` `{"vpcs", "subnets"}` | replaces the networks |
//! | POST `lambda/take` `{"seconds"}` | waits until something was invoked, and takes all of it |
//! | POST `cloudformation/deploy` | makes a stack ([`Deployed`]) |
//! | POST `ecs/options` | replaces the options it names ([`crate::ecs::Options`]) |
//! | POST `ecs/cluster` `{"name"}` | makes a cluster |
//! | POST `ecs/refuse` | refuses the next `RunTask` calls ([`crate::ecs::Refusal`]) |
//! | POST `ecs/status` `{"task", "status"}`, `ecs/stop` `{"task", "code", "reason", "exit_code"}` | moves a task on, or ends it |
//! | GET or POST `prefect1/{command}` | Prefect 1's own commands ([`mod@crate::prefect1::control`]) |
//! | GET or POST `prefect3/{command}` | Prefect 2's and 3's own commands ([`mod@crate::prefect3::control`]) |

use crate::{
    Fault, State, World,
    answer::json,
    cloudformation::Deployed,
    ecs::{Refusal, Stop, Task},
    iam::Role,
    prefect1, prefect3,
    route::{Form, Scope},
    ssm::Put,
};
use axum::{
    body::Bytes,
    http::{Method, request::Parts},
    response::Response,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Answers one control request: 200 with the result, or 400 with `{"error"}`.
pub async fn handle(world: &World, parts: &Parts, body: &Bytes) -> Response {
    let path = parts.uri.path().trim_start_matches("/_world").trim_matches('/');
    let input = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(body) };
    let result = match input {
        Err(error) => Err(format!("the body is no JSON: {error}")),
        Ok(input) => match path.split_once('/') {
            Some(("prefect1", command)) => prefect1::control(&mut world.lock(), command, input),
            Some(("prefect3", command)) => prefect3::control(&mut world.lock(), command, input),
            Some(("lambda", "take")) => take(world, &input).await,
            _ if parts.method == Method::GET => look(&world.lock(), path, parts.uri.query().unwrap_or_default()),
            _ => change(world, path, &input),
        },
    };
    world.notify();
    match result {
        Ok(value) => json(200, &value),
        Err(error) => json(400, &json!({"error": error})),
    }
}

fn look(state: &State, path: &str, query: &str) -> Result<Value, String> {
    let query = Form::parse(query.as_bytes());
    match path {
        "journal" => {
            let requests = state.journal.matching(query.get("service").unwrap_or("*"), query.get("operation").unwrap_or("*"));
            Ok(json!({"requests": requests}))
        }
        "counts" => Ok(counts(state)),
        "ecs" => Ok(ecs(state)),
        "ssm" => Ok(state
            .ssm
            .all()
            .map(|(scope, name, version)| json!({"account": scope.account, "region": scope.region, "name": name, "latest": version}))
            .collect()),
        "sts" => Ok(json!({"sessions": state.sts.sessions})),
        "ec2" => Ok(json!(state.ec2)),
        "lambda" => Ok(json!({"invocations": state.lambda.invocations})),
        "faults" => Ok(json!({"waiting": state.faults.waiting(), "latency_ms": state.faults.latency.as_millis()})),
        other => Err(format!("nothing to look at under {other:?}")),
    }
}

fn counts(state: &State) -> Value {
    let mut counts = Map::new();
    for request in state.journal.all() {
        let of_service = counts.entry(request.service.clone()).or_insert_with(|| json!({}));
        let count = of_service[&request.operation].as_u64().unwrap_or(0) + 1;
        of_service[&request.operation] = json!(count);
    }
    Value::Object(counts)
}

fn ecs(state: &State) -> Value {
    let task = |task: &Task| {
        let mut described = task.describe(true);
        described["clientToken"] = json!(task.client_token);
        described["request"] = task.request.clone();
        described["output"] = json!(task.output);
        described["event"] = task.event();
        described
    };
    let definitions = state.ecs.definitions.iter().map(|definition| {
        let mut described = definition.description.clone();
        described["tags"] = json!(definition.tags);
        described
    });
    json!({
        "tasks": state.ecs.tasks.iter().map(task).collect::<Vec<_>>(),
        "definitions": definitions.collect::<Vec<_>>(),
        "options": state.ecs.options,
        "refusals": state.ecs.refusals,
    })
}

fn change(world: &World, path: &str, input: &Value) -> Result<Value, String> {
    match path {
        "reset" => world.reset(),
        "journal/clear" => world.lock().journal.clear(),
        "faults/clear" => world.lock().faults.clear(),
        "fault" => each(input, |one| {
            world.fault(read::<Fault>(one)?);
            Ok(())
        })?,
        "latency" => world.latency(Duration::from_millis(input["ms"].as_u64().ok_or("`ms` is missing")?)),
        "advance" => world.advance(Duration::from_secs(input["seconds"].as_u64().ok_or("`seconds` is missing")?)),
        "ssm" => each(input, |one| put_parameter(world, one))?,
        "s3" => each(input, |one| {
            world.lock().s3.put(text(one, "bucket")?, text(one, "key")?, text(one, "body")?);
            Ok(())
        })?,
        "ec2" => world.lock().ec2 = read(input)?,
        "cloudformation/deploy" => read::<Deployed>(input)?.make(&mut world.lock()),
        "ecs/options" => return ecs_options(world, input),
        "iam/role" => each(input, |one| {
            let role =
                Role { trust: one["trust"].clone(), policies: one["policies"].as_array().cloned().unwrap_or_default() };
            world.lock().iam.roles.insert(text(one, "name")?.to_owned(), role);
            Ok(())
        })?,
        "ecs/cluster" => return Ok(json!({"clusterArn": world.ecs_cluster(text(input, "name")?)})),
        "ecs/refuse" => each(input, |one| {
            world.ecs_refuse(read::<Refusal>(one)?);
            Ok(())
        })?,
        "ecs/status" => found(world.ecs_set_status(text(input, "task")?, text(input, "status")?))?,
        "ecs/stop" => found(world.ecs_stop(text(input, "task")?, &read::<Stop>(input)?))?,
        other => return Err(format!("nothing to change under {other:?}")),
    }
    Ok(json!({}))
}

/// The invocations that nobody has taken, oldest first; none: there was none for so long.
async fn take(world: &World, input: &Value) -> Result<Value, String> {
    let limit = Duration::from_secs(input["seconds"].as_u64().ok_or("`seconds` is missing")?);
    world.wait_until(limit, |state| !state.lambda.invocations.is_empty()).await;
    Ok(json!(std::mem::take(&mut world.lock().lambda.invocations)))
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|error| error.to_string())
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str, String> {
    value[key].as_str().ok_or_else(|| format!("`{key}` is missing"))
}

fn found(found: bool) -> Result<(), String> {
    if found { Ok(()) } else { Err("no such task".to_owned()) }
}

fn each(input: &Value, mut act: impl FnMut(&Value) -> Result<(), String>) -> Result<(), String> {
    match input.as_array() {
        Some(all) => all.iter().try_for_each(act),
        None => act(input),
    }
}

fn put_parameter(world: &World, one: &Value) -> Result<(), String> {
    let mut state = world.lock();
    let now = state.now();
    let value = text(one, "value")?;
    let tier = if value.len() > 4096 { "Advanced" } else { "Standard" };
    let kind = one["type"].as_str().unwrap_or("String");
    let put = Put { name: text(one, "name")?, value, kind: Some(kind), tier: Some(tier), overwrite: true };
    let written = state.ssm.put(&Scope::default(), &put, now);
    written.map(|_| ()).map_err(|error| format!("{}: {}", error.code, error.message))
}

/// The options that are named are replaced; the others stay.
fn ecs_options(world: &World, input: &Value) -> Result<Value, String> {
    let mut state = world.lock();
    let mut all = serde_json::to_value(&state.ecs.options).map_err(|error| error.to_string())?;
    if let (Some(all), Some(given)) = (all.as_object_mut(), input.as_object()) {
        if let Some(unknown) = given.keys().find(|key| !all.contains_key(*key)) {
            return Err(format!("no such option: {unknown}"));
        }
        all.extend(given.clone());
    }
    state.ecs.options = read(&all)?;
    Ok(all)
}
