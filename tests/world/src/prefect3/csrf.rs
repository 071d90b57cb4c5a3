//! CSRF tokens, which writes need on servers that were told so.

use super::{
    Prefect3,
    answer::{Answer, Outcome, detail},
    routes::Call,
    times,
};
use axum::http::{HeaderMap, Method};
use serde_json::json;
use std::collections::BTreeMap;
use time::{Duration, OffsetDateTime};

/// Tokens by client, and until when they hold.
pub(super) type Tokens = BTreeMap<String, (String, OffsetDateTime)>;

/// `GET /csrf-token?client=`
pub(super) fn create_token(call: &mut Call<'_>) -> Outcome {
    let client = call.query_parameter("client")?;
    if !call.prefect3.switches.csrf || call.prefect3.switches.cloud {
        return Err(detail(422, "CSRF protection is disabled."));
    }
    let token = format!("{}{}", times::new_id(), times::new_id()).replace('-', "");
    let expiration = call.now + Duration::hours(1);
    call.prefect3.csrf_tokens.insert(client.clone(), (token.clone(), expiration));
    let now = call.prefect3.show(call.now);
    Ok(Answer::ok(json!({
        "id": times::new_id(), "created": now, "updated": now, "token": token, "client": client,
        "expiration": call.prefect3.show(expiration),
    })))
}

/// Refuses a write without a valid token.
pub(super) fn check(prefect3: &Prefect3, method: &Method, headers: &HeaderMap, now: OffsetDateTime) -> Outcome<()> {
    if !prefect3.switches.csrf || prefect3.switches.cloud || *method == Method::GET {
        return Ok(());
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let token = header("prefect-csrf-token").ok_or_else(|| detail(403, "Missing CSRF token."))?;
    let client = header("prefect-csrf-client").ok_or_else(|| detail(403, "Missing client identifier."))?;
    match prefect3.csrf_tokens.get(client) {
        Some((known, expiration)) if known == token && *expiration > now => Ok(()),
        _ => Err(detail(403, "Invalid CSRF token or client identifier.")),
    }
}
