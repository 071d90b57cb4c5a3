//! A function that cannot start says so to Lambda, whose own words would be "exit status 1".

use crate::http::network::Options;
use crate::http::{Http, Request};
use http::{HeaderMap, HeaderValue, Method, header};
use serde_json::json;
use std::time::Duration;

/// What Lambda calls such an error.
const ERROR_TYPE: &str = "Runtime.ConfigurationError";

/// Init has ten seconds, and Lambda answers at once.
const LIMIT: Duration = Duration::from_secs(1);

/// Tells Lambda's runtime API (`host:port`) why there is no function. Best effort: the log has the sentence too.
pub async fn tell(runtime_api: &str, message: &str) {
    let Ok(http) = Http::network(Options::AWS, None) else { return };
    let body = json!({"errorType": ERROR_TYPE, "errorMessage": message, "stackTrace": []}).to_string();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert("lambda-runtime-function-error-type", HeaderValue::from_static(ERROR_TYPE));
    let url = format!("http://{runtime_api}/2018-06-01/runtime/init/error");
    let request = Request { method: Method::POST, url, headers, body: Some(body.into()), timeout: LIMIT };
    if let Err(error) = http.send(request).await {
        tracing::debug!(%error, "Lambda was not told");
    }
}
