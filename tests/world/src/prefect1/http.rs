//! From the HTTP request to the HTTP answer.

use super::{auth, auth::Caller, document, execute};
use crate::{State, World, answer};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::Response,
};
use serde_json::{Map, Value, json};

/// The server's limit of a body, bytes.
const MAX_BODY: usize = 5 * 1024 * 1024;

/// What a request asks for.
pub(super) struct Asked {
    pub(super) query: String,
    pub(super) variables: Map<String, Value>,
}

/// Answers one GraphQL request.
pub fn handle(world: &World, headers: &HeaderMap, body: &Bytes) -> Response {
    let asked = match read(headers, body) {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let (status, body) = respond(&mut world.lock(), headers, &asked);
    answer::answer(status, "application/json; charset=utf-8", body.to_string())
}

/// Status and body of the answer.
pub(super) fn respond(state: &mut State, headers: &HeaderMap, asked: &Asked) -> (u16, Value) {
    let now = state.now();
    let prefect1 = &mut state.prefect1;
    let Some(caller) = Caller::of(prefect1, headers) else {
        return auth::unauthenticated(&prefect1.switches);
    };
    match document::prepare(&prefect1.switches, asked) {
        Ok(document) => execute::execute(prefect1, &caller, now, &document),
        Err(error) => (400, json!({"errors": [error]})),
    }
}

fn html(status: u16, text: &str) -> Response {
    let text = answer::escape(text);
    let body = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Error</title>\n</head>\n<body>\n<pre>{text}</pre>\n</body>\n</html>\n"
    );
    bare(status, body)
}

fn bare(status: u16, body: impl Into<Body>) -> Response {
    answer::answer(status, "text/html; charset=utf-8", body)
}

fn read(headers: &HeaderMap, body: &[u8]) -> Result<Asked, Box<Response>> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !content_type.to_ascii_lowercase().starts_with("application/json") {
        let text = "POST body missing. Did you forget use body-parser middleware?";
        return Err(bare(500, text).into());
    }
    if body.len() > MAX_BODY {
        return Err(html(413, "PayloadTooLargeError: request entity too large").into());
    }
    let body: Value = serde_json::from_slice(body).map_err(|error| html(400, &format!("SyntaxError: {error}")))?;
    let Some(body) = body.as_object() else {
        return Err(html(400, "SyntaxError: Unexpected token in JSON at position 0").into());
    };
    let Some(query) = body.get("query").and_then(Value::as_str) else {
        return Err(bare(400, "Must provide query string.").into());
    };
    let variables = variables(body.get("variables")).ok_or_else(|| bare(400, "Variables are invalid JSON."))?;
    Ok(Asked { query: query.to_owned(), variables })
}

/// An object, JSON text of one (the Python client sends that), or nothing.
fn variables(given: Option<&Value>) -> Option<Map<String, Value>> {
    match given {
        None | Some(Value::Null) => Some(Map::new()),
        Some(Value::Object(object)) => Some(object.clone()),
        Some(Value::String(text)) => match serde_json::from_str(text).ok()? {
            Value::Null => Some(Map::new()),
            Value::Object(object) => Some(object),
            _ => None,
        },
        Some(_) => None,
    }
}
