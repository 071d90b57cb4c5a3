//! From the HTTP request to the HTTP answer.

use super::{
    Prefect3, Switches,
    answer::{Answer, Outcome, detail, exception, invalid},
    auth, csrf,
    routes::{self, Call, Found},
    slots::Version,
    times,
};
use crate::{World, route::Form};
use axum::{
    body::Bytes,
    http::{HeaderMap, Method, header, request::Parts},
    response::Response,
};
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;

/// Answers one request.
pub async fn handle(world: World, parts: &Parts, body: Bytes) -> Response {
    let writes = parts.method != Method::GET;
    if writes && let Err(refusal) = begin_write(&world).await {
        return Answer::from(refusal).into_response();
    }
    if writes {
        let prefect3 = &mut world.lock().prefect3;
        prefect3.writing = prefect3.writing.saturating_sub(usize::from(prefect3.switches.busy.is_some()));
    }
    let answered = answer(&world, parts, &body);
    super::webhooks::call_all(&world);
    answered
}

/// Answers one request at once, however busy the database is.
pub(crate) fn answer(world: &World, parts: &Parts, body: &Bytes) -> Response {
    let mut state = world.lock();
    let now = times::micros(state.now());
    respond(&mut state.prefect3, parts, body, now).into_response()
}

/// Takes part in the writes under way for as long as a write takes; refuses as a locked database does.
async fn begin_write(world: &World) -> Outcome<()> {
    let ms = {
        let prefect3 = &mut world.lock().prefect3;
        let Some(busy) = prefect3.switches.busy else { return Ok(()) };
        if prefect3.writing >= busy.at_once {
            return Err(exception(503, "Service Unavailable"));
        }
        prefect3.writing += 1;
        busy.ms
    };
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(())
}

fn respond(prefect3: &mut Prefect3, parts: &Parts, body: &Bytes, now: OffsetDateTime) -> Answer {
    if prefect3.switches.services {
        prefect3.services(now);
    }
    let path = routes::api_path(parts.uri.path()).unwrap_or_default();
    match perform(prefect3, parts, path, body, now) {
        Ok(answer) => answer,
        Err(refusal) => {
            let mut answer = Answer::from(refusal);
            if let Some(shown) = answer.body.as_mut().and_then(|body| body.get_mut("request_body"))
                && !body.is_empty()
            {
                let text = || Value::from(String::from_utf8_lossy(body).into_owned());
                *shown = serde_json::from_slice(body).unwrap_or_else(|_| text());
            }
            answer
        }
    }
}

fn perform(prefect3: &mut Prefect3, parts: &Parts, path: &str, body: &Bytes, now: OffsetDateTime) -> Outcome {
    let (method, headers) = (&parts.method, &parts.headers);
    // In this order: without a token, a write is refused before anybody asks who writes.
    csrf::check(prefect3, method, headers, now)?;
    auth::check(&prefect3.switches, method, path, headers)?;
    let (name, handler, parameters) = match routes::find(method, path) {
        Found::Handler(name, handler, parameters) => (name, handler, parameters),
        Found::OtherMethod => return Err(detail(405, "Method Not Allowed")),
        Found::OtherSlash(other) => return Ok(redirect(parts, path, &other)),
        Found::Nothing => return Err(detail(404, "Not Found")),
    };
    if prefect3.switches.late.as_ref().is_some_and(|late| late.is_before(name, &shown(parts, body))) {
        prefect3.mark_late_from(now, now);
    }
    ruled_out(&mut prefect3.switches, name, parts, body)?;
    if !matches!(name, "health" | "ready" | "version") {
        check_version(headers)?;
    }
    let body = read(body)?;
    let query = Form::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let client = text(headers, header::USER_AGENT.as_str()).and_then(Version::of);
    handler(&mut Call { prefect3, now, path: parameters, query, body: &body, client })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The same address with a slash more or less.
fn redirect(parts: &Parts, path: &str, other: &str) -> Answer {
    let prefix = parts.uri.path().strip_suffix(path).unwrap_or_default();
    let host = text(&parts.headers, "host").unwrap_or("127.0.0.1");
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("http://{host}{prefix}{other}{query}");
    Answer { status: 307, body: None, headers: Vec::new() }.with("location", location)
}

/// Refuses versions of the API that the server does not speak.
fn check_version(headers: &HeaderMap) -> Outcome<()> {
    let Some(given) = text(headers, "x-prefect-api-version") else { return Ok(()) };
    let parts: Option<Vec<u32>> = given.split('.').map(|part| part.parse().ok()).collect();
    match parts.as_deref() {
        Some([major, minor, _]) if (*major, *minor) >= (0, 8) => Ok(()),
        Some([_, _, _]) => Err(detail(
            400,
            format!("The request specified API version {given} but this server requires version 0.8.0 or higher."),
        )),
        _ => Err(detail(
            400,
            format!(
                "Invalid X-PREFECT-API-VERSION header format.Expected header in format 'x.y.z' but received {given}"
            ),
        )),
    }
}

fn read(body: &[u8]) -> Outcome<Value> {
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(body).map_err(|error| {
        let loc = ["body".into(), json!(error.column().saturating_sub(1))];
        invalid("json_invalid", &loc, "JSON decode error", &json!({}))
    })
}

/// What rules look for their words in.
fn shown(parts: &Parts, body: &Bytes) -> String {
    format!("{} {}", parts.uri, String::from_utf8_lossy(body))
}

/// Fails what the switches say must fail.
fn ruled_out(switches: &mut Switches, name: &str, parts: &Parts, body: &Bytes) -> Outcome<()> {
    if switches.fail.is_empty() {
        return Ok(());
    }
    let text = shown(parts, body);
    let matches = |rule: &super::FailRule| rule.operation == "*" || rule.operation == name;
    let Some(rule) = switches.fail.iter_mut().find(|rule| matches(rule) && text.contains(&rule.contains)) else {
        return Ok(());
    };
    rule.times = rule.times.saturating_sub(1);
    let headers = rule.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let answer = Answer { status: rule.status, body: Some(rule.body.clone()), headers };
    switches.fail.retain(|rule| rule.times > 0);
    Err(answer.into())
}
