//! Lambda: asking for an invocation without waiting for it.

use super::AwsError;
use super::endpoints::Service;
use super::raw::answer_error;
use super::signed::{Call, Signed};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

#[cfg(test)]
mod tests;

/// What a part of a path is encoded to is signed, so it must be encoded as AWS does: without the unreserved characters.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Lambda {
    signed: Signed,
}

impl Lambda {
    /// Calls Lambda with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// `Invoke` with `InvocationType: Event`: returns once the event is queued. Function: name or ARN, with or
    /// without a qualifier. Sent once; a repetition may queue a second event.
    pub async fn invoke_event(&self, function: &str, payload: Bytes) -> Result<(), AwsError> {
        let function = utf8_percent_encode(function, IN_PATH);
        let endpoint = self.signed.endpoint(Service::Lambda)?;
        let call = Call {
            service: Service::Lambda,
            method: http::Method::POST,
            url: format!("{endpoint}/2015-03-31/functions/{function}/invocations"),
            headers: vec![("x-amz-invocation-type", "Event".into()), ("content-type", "application/json".into())],
            body: payload,
        };
        let answer = self.signed.send(&call).await?;
        match answer.status {
            200..300 => Ok(()),
            _ => Err(answer_error(&answer)),
        }
    }
}
