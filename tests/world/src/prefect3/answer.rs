//! Answers in the server's shapes.

use axum::response::Response;
use serde_json::{Value, json};

/// Status, body and headers of an answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// None: an empty body.
    pub(super) body: Option<Value>,
    pub(super) headers: Vec<(String, String)>,
}

/// What an operation comes to; errors are answers too.
pub(super) type Outcome<T = Answer> = Result<T, Refusal>;

/// An answer in place of the one that was asked for.
#[derive(Debug, Clone)]
pub(super) struct Refusal(Box<Answer>);

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        Self(answer.into())
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        *refusal.0
    }
}

impl Answer {
    /// Any status with a JSON body.
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self { status, body: Some(body), headers: Vec::new() }
    }

    /// 200.
    pub(super) fn ok(body: Value) -> Self {
        Self::json(200, body)
    }

    /// 204 without a body.
    pub(super) fn empty() -> Self {
        Self { status: 204, body: None, headers: Vec::new() }
    }

    /// With another header.
    pub(super) fn with(mut self, name: &str, value: String) -> Self {
        self.headers.push((name.to_owned(), value));
        self
    }

    /// As HTTP.
    pub(super) fn into_response(self) -> Response {
        let mut response = match self.body {
            Some(body) => crate::answer::json(self.status, &body),
            None => crate::answer::answer(self.status, "application/json", ""),
        };
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) =
                (axum::http::HeaderName::try_from(name), axum::http::HeaderValue::try_from(value))
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// An error that the endpoint itself raises.
pub(super) fn detail(status: u16, text: impl Into<String>) -> Refusal {
    Answer::json(status, json!({"detail": text.into()})).into()
}

/// An error that is caught further out.
pub(super) fn exception(status: u16, text: impl Into<String>) -> Refusal {
    Answer::json(status, json!({"exception_message": text.into()})).into()
}

/// A body or query that the server's schema does not allow. The real server lists every fault, this one the first.
pub(super) fn invalid(kind: &str, loc: &[Value], message: &str, input: &Value) -> Refusal {
    let fault = json!({"type": kind, "loc": loc, "msg": message, "input": input});
    let body =
        json!({"exception_message": "Invalid request received.", "exception_detail": [fault], "request_body": null});
    Answer::json(422, body).into()
}
