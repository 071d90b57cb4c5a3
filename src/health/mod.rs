//! The agents' health and the poke, as their Function URL (or the local `--agent-address`) answers them.
//!
//! Requests and answers are plain data here; `bin/lambda.rs` and the command line carry them.

pub mod status;

use crate::page::html;
use aws_smithy_types::base64;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use status::Overall;
pub use status::{AgentFacts, Health};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use subtle::ConstantTimeEq;

// Answers, as a Function URL of payload format 2.0 wants them.

/// An answer to a request. All of these fields are always there: emulators of the Function URL insist on them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthAnswer {
    /// HTTP status.
    pub status_code: u16,
    /// Headers.
    pub headers: BTreeMap<&'static str, Cow<'static, str>>,
    /// Body text.
    pub body: String,
    /// Always false.
    pub is_base64_encoded: bool,
    /// `Set-Cookie`s.
    pub cookies: Vec<String>,
}

impl HealthAnswer {
    /// The agents' health: 200 unless something is failing.
    pub fn health(health: &Health) -> Self {
        let status_code = if health.status == Overall::Ok { 200 } else { 503 };
        Self::json(status_code, &json!(health))
    }

    /// What strangers are told of it.
    pub fn health_for_strangers(health: &Health) -> Self {
        let status_code = if health.status == Overall::Ok { 200 } else { 503 };
        Self::json(status_code, &json!({"status": health.status}))
    }

    /// Health cannot be told because Parameter Store does not answer.
    pub fn health_unknown() -> Self {
        Self::json(503, &json!({"status": "failing", "agents": {}, "error": "parameter-store"}))
    }

    /// The same for strangers, who are not told why.
    pub fn health_unknown_to_strangers() -> Self {
        Self::json(503, &json!({"status": "failing"}))
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

    /// The request cannot be understood, and why: words of our own, without what was sent.
    pub fn bad_request(why: &str) -> Self {
        Self::json(400, &json!({"error": why}))
    }

    /// Another method than the route has.
    pub fn method_not_allowed() -> Self {
        Self::html(405, "<html><title>405: Method Not Allowed</title><body>405: Method Not Allowed</body></html>")
    }

    /// No such path.
    pub fn not_found() -> Self {
        Self::html(404, "<html><title>404: Not Found</title><body>404: Not Found</body></html>")
    }

    /// A document for a browser, which may do nothing with it but show it.
    pub fn document(status_code: u16, document: String) -> Self {
        let mut answer = Self::new(status_code, "text/html; charset=UTF-8", document);
        answer.headers.extend([
            ("content-security-policy", html::content_security_policy().into()),
            ("referrer-policy", "no-referrer".into()),
            ("x-content-type-options", "nosniff".into()),
            ("x-frame-options", "DENY".into()),
        ]);
        answer
    }

    /// Sends a browser to the page, which it asks for anew.
    pub fn to_page(cookie: String) -> Self {
        let mut answer = Self::html(303, "");
        answer.headers.insert("location", "/".into());
        answer.cookies.push(cookie);
        answer
    }

    fn json(status_code: u16, body: &Value) -> Self {
        Self::new(status_code, "application/json; charset=UTF-8", body.to_string())
    }

    fn html(status_code: u16, body: &str) -> Self {
        Self::new(status_code, "text/html; charset=UTF-8", body.to_owned())
    }

    fn new(status_code: u16, content_type: &'static str, body: String) -> Self {
        let headers = BTreeMap::from([("cache-control", "no-store".into()), ("content-type", content_type.into())]);
        Self { status_code, headers, body, is_base64_encoded: false, cookies: Vec::new() }
    }
}

// What was asked: Function URL events of payload format 2.0, reduced to what matters.

/// A request to the health page.
#[derive(Debug, Clone)]
pub struct HealthRequest {
    /// Upper case.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// What stood behind the `?`; empty without one.
    pub query: String,
    /// The bearer token shown, if any.
    pub bearer: Option<SecretString>,
    /// AWS IAM has authorised the caller.
    pub by_iam: bool,
    /// `name=value` each.
    pub cookies: Vec<String>,
    /// What a form was sent with.
    pub body: Vec<u8>,
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// `GET /api/health`
    Health,
    /// `GET` or `POST /api/poke`
    Poke,
    /// `GET /`
    Page,
    /// `POST /`
    Form,
    /// One of these paths with another method.
    MethodNotAllowed,
    /// Any other path.
    NotFound,
}

/// The parts of a Function URL event that matter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UrlEvent {
    raw_path: String,
    raw_query_string: Option<String>,
    #[serde(default)]
    headers: HashMap<String, String>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
    request_context: RequestContext,
}

#[derive(Debug, Deserialize)]
struct RequestContext {
    http: HttpContext,
    authorizer: Option<Authorizer>,
}

#[derive(Debug, Deserialize)]
struct HttpContext {
    method: String,
}

#[derive(Debug, Deserialize)]
struct Authorizer {
    iam: Option<serde::de::IgnoredAny>,
}

impl From<UrlEvent> for HealthRequest {
    fn from(event: UrlEvent) -> Self {
        let header = |wanted: &str| {
            let found = event.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.as_str())
        };
        // Lambda takes them out of the headers; emulators of the Function URL may not.
        let cookies = event.cookies.clone().unwrap_or_else(|| {
            header("cookie").map(|all| all.split(';').map(str::to_owned).collect()).unwrap_or_default()
        });
        let body = event.body.as_deref().unwrap_or_default();
        // Forms are sent in base64: whatever is not text or JSON is.
        let body = if event.is_base64_encoded { base64::decode(body).unwrap_or_default() } else { body.into() };
        Self {
            method: event.request_context.http.method.to_ascii_uppercase(),
            path: event.raw_path.clone(),
            query: event.raw_query_string.clone().unwrap_or_default(),
            bearer: header("authorization").and_then(bearer_of),
            cookies,
            body,
            by_iam: event.request_context.authorizer.is_some_and(|authorizer| authorizer.iam.is_some()),
        }
    }
}

/// The token of an `Authorization: Bearer …` header.
pub fn bearer_of(authorization: &str) -> Option<SecretString> {
    let (scheme, token) = authorization.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| SecretString::from(token.trim()))
}

impl HealthRequest {
    /// Where the request goes.
    pub fn route(&self) -> Route {
        match (self.path.as_str(), self.method.as_str()) {
            ("/api/health", "GET") => Route::Health,
            ("/api/poke", "GET" | "POST") => Route::Poke,
            ("/", "GET") => Route::Page,
            ("/", "POST") => Route::Form,
            ("/" | "/api/health" | "/api/poke", _) => Route::MethodNotAllowed,
            _ => Route::NotFound,
        }
    }

    /// Whether the caller may poke: authorised by IAM, or knows the token. Without a configured token nobody knows it.
    pub fn may_poke(&self, token: Option<&SecretString>) -> bool {
        let shows_token = || match (&self.bearer, token) {
            (Some(shown), Some(token)) if !token.expose_secret().is_empty() => {
                // In constant time: how long a comparison takes must not tell how much of the token was right.
                shown.expose_secret().as_bytes().ct_eq(token.expose_secret().as_bytes()).into()
            }
            _ => false,
        };
        self.by_iam || shows_token()
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

#[cfg(test)]
mod request_tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn request(method: &str, path: &str, headers: &serde_json::Value, iam: bool) -> HealthRequest {
        let mut event = json!({
            "version": "2.0", "rawPath": path, "headers": headers, "isBase64Encoded": false,
            "requestContext": {"http": {"method": method, "path": path, "protocol": "HTTP/1.1"}},
        });
        if iam {
            event["requestContext"]["authorizer"] = json!({"iam": {"accountId": "123456789012"}});
        }
        serde_json::from_value::<UrlEvent>(event).unwrap().into()
    }

    #[test]
    fn routes_are_those_of_the_python_agent() {
        for (method, path, route) in [
            ("GET", "/api/health", Route::Health),
            ("get", "/api/health", Route::Health),
            ("POST", "/api/health", Route::MethodNotAllowed),
            ("HEAD", "/api/health", Route::MethodNotAllowed),
            ("GET", "/api/poke", Route::Poke),
            ("POST", "/api/poke", Route::Poke),
            ("DELETE", "/api/poke", Route::MethodNotAllowed),
            ("GET", "/", Route::Page),
            ("POST", "/", Route::Form),
            ("PUT", "/", Route::MethodNotAllowed),
            ("GET", "/api", Route::NotFound),
            ("GET", "/api/health/", Route::NotFound),
        ] {
            assert_eq!(request(method, path, &json!({}), false).route(), route, "{method} {path}");
        }
    }

    #[test]
    fn cookies_and_forms_come_in_the_ways_of_function_urls_and_of_emulators() {
        let read = |more: serde_json::Value| {
            let mut event = json!({"rawPath": "/", "headers": {}, "requestContext": {"http": {"method": "POST"}}});
            event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let request = HealthRequest::from(serde_json::from_value::<UrlEvent>(event).unwrap());
            (request.cookies, String::from_utf8(request.body).unwrap())
        };
        let url = read(json!({"cookies": ["a=1", "b=2"], "body": "dG9rZW49YQ==", "isBase64Encoded": true}));
        assert_eq!(url, (vec!["a=1".to_owned(), "b=2".to_owned()], "token=a".to_owned()));
        let emulator = read(json!({"headers": {"Cookie": "a=1; b=2"}, "body": "token=a", "isBase64Encoded": false}));
        assert_eq!(emulator, (vec!["a=1".to_owned(), " b=2".to_owned()], "token=a".to_owned()));
        assert_eq!(read(json!({"body": "%%", "isBase64Encoded": true})).1, "");
    }

    #[test]
    fn poking_needs_iam_or_the_token() {
        let token = SecretString::from("s3cret");
        let with = |authorization: &str| request("GET", "/api/poke", &json!({"Authorization": authorization}), false);
        assert!(request("GET", "/api/poke", &json!({}), true).may_poke(None));
        assert!(with("Bearer s3cret").may_poke(Some(&token)));
        assert!(with("bearer s3cret ").may_poke(Some(&token)));
        assert!(!with("Bearer s3cret").may_poke(None), "no token is configured");
        assert!(!with("Bearer s3cre").may_poke(Some(&token)));
        assert!(!with("Bearer ").may_poke(Some(&SecretString::from(""))), "an empty token opens nothing");
        assert!(!with("Basic s3cret").may_poke(Some(&token)));
        assert!(!request("GET", "/api/poke", &json!({}), false).may_poke(Some(&token)));
    }
}
