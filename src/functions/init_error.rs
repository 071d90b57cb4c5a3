//! A function that cannot start says so to Lambda, whose own words would be "exit status 1".

use crate::http_client;
use serde_json::json;
use std::time::Duration;

/// What Lambda calls such an error.
const ERROR_TYPE: &str = "Runtime.ConfigurationError";

/// Init has ten seconds, and Lambda answers at once.
const LIMIT: Duration = Duration::from_secs(1);

/// Tells Lambda's runtime API (`host:port`) why there is no function. Best effort: the log has the sentence too.
pub async fn tell(runtime_api: &str, message: &str) {
    let Ok(client) = http_client::client(None) else { return };
    let body = json!({"errorType": ERROR_TYPE, "errorMessage": message, "stackTrace": []});
    let request = client.post(format!("http://{runtime_api}/2018-06-01/runtime/init/error"));
    let request = request.header("lambda-runtime-function-error-type", ERROR_TYPE).json(&body).timeout(LIMIT);
    if let Err(error) = request.send().await {
        tracing::debug!(%error, "Lambda was not told");
    }
}
