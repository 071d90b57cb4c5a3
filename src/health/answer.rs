//! Answers, as a Function URL of payload format 2.0 wants them.

use super::status::{Health, Overall};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// An answer to a request. All of these fields are always there: emulators of the Function URL insist on them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthAnswer {
    /// HTTP status.
    pub status_code: u16,
    /// Headers.
    pub headers: BTreeMap<&'static str, &'static str>,
    /// Body text.
    pub body: String,
    /// Always false.
    pub is_base64_encoded: bool,
    /// Always empty.
    pub cookies: Vec<String>,
}

impl HealthAnswer {
    /// The agents' health: 200 unless something is failing.
    pub fn health(health: &Health) -> Self {
        let status_code = if health.status == Overall::Ok { 200 } else { 503 };
        Self::json(status_code, &json!(health))
    }

    /// Health cannot be told because Parameter Store does not answer.
    pub fn health_unknown() -> Self {
        Self::json(503, &json!({"status": "failing", "agents": {}, "error": "parameter-store"}))
    }

    /// Poked: an empty page, as the Python agent answers.
    pub fn poked() -> Self {
        Self::html(200, "")
    }

    /// The poll could not be invoked.
    pub fn poke_failed() -> Self {
        Self::html(502, "<html><title>502: Bad Gateway</title><body>502: Bad Gateway</body></html>")
    }

    /// The caller may not poke.
    pub fn forbidden() -> Self {
        Self::html(403, "<html><title>403: Forbidden</title><body>403: Forbidden</body></html>")
    }

    /// Another method than the route has.
    pub fn method_not_allowed() -> Self {
        Self::html(405, "<html><title>405: Method Not Allowed</title><body>405: Method Not Allowed</body></html>")
    }

    /// No such path.
    pub fn not_found() -> Self {
        Self::html(404, "<html><title>404: Not Found</title><body>404: Not Found</body></html>")
    }

    fn json(status_code: u16, body: &Value) -> Self {
        Self::new(status_code, "application/json; charset=UTF-8", body.to_string())
    }

    fn html(status_code: u16, body: &str) -> Self {
        Self::new(status_code, "text/html; charset=UTF-8", body.to_owned())
    }

    fn new(status_code: u16, content_type: &'static str, body: String) -> Self {
        let headers = BTreeMap::from([("cache-control", "no-store"), ("content-type", content_type)]);
        Self { status_code, headers, body, is_base64_encoded: false, cookies: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn answers_carry_everything_a_function_url_wants() {
        let health = Health::of(&BTreeMap::new(), datetime!(2026-11-24 12:00:00 UTC));
        assert_eq!(
            json!(HealthAnswer::health(&health)),
            json!({
                "statusCode": 503,
                "headers": {"cache-control": "no-store", "content-type": "application/json; charset=UTF-8"},
                "body": r#"{"status":"failing","agents":{}}"#,
                "isBase64Encoded": false,
                "cookies": [],
            })
        );
        assert_eq!((HealthAnswer::poked().status_code, HealthAnswer::poked().body.as_str()), (200, ""));
    }
}
