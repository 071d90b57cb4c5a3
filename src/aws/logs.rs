//! `CloudWatch` Logs: the last lines of a container.

use super::AwsError;
use super::endpoints::Service;
use super::raw::answer_error;
use super::signed::{Call, Signed};
use crate::transport::shape::at;
use serde_json::{Value, json};

#[cfg(test)]
mod tests;

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Logs {
    signed: Signed,
}

impl Logs {
    /// Calls `CloudWatch` Logs with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// `GetLogEvents`: the last `limit` lines of a stream, oldest first; none if there is no such stream. `region`: `None` =
    /// the client's own.
    pub async fn last_lines(
        &self,
        region: Option<&str>,
        group: &str,
        stream: &str,
        limit: u32,
    ) -> Result<Vec<String>, AwsError> {
        let signed = region.map_or_else(|| self.signed.clone(), |region| self.signed.in_region(region));
        let body = json!({"logGroupName": group, "logStreamName": stream, "limit": limit, "startFromHead": false});
        let call = Call {
            service: Service::Logs,
            method: http::Method::POST,
            url: format!("{}/", signed.endpoint(Service::Logs)?),
            headers: vec![
                ("content-type", "application/x-amz-json-1.1".into()),
                ("x-amz-target", "Logs_20140328.GetLogEvents".into()),
            ],
            body: body.to_string().into(),
        };
        let answer = signed.read(&call).await?;
        if answer.status != 200 {
            return match answer_error(&answer) {
                AwsError::Answer { code, .. } if code == "ResourceNotFoundException" => Ok(Vec::new()),
                error => Err(error),
            };
        }
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|error| AwsError::Malformed(error.to_string()))?;
        // An empty list is there too.
        let Some(events) = at(&body, &["events"]).and_then(Value::as_array) else {
            return Err(AwsError::Malformed("GetLogEvents answered no list of events".into()));
        };
        Ok(events.iter().filter_map(|event| event.get("message")?.as_str()).map(str::to_owned).collect())
    }
}
