//! Answers in the formats of the services.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::Response,
};
use serde_json::{Value, json};

/// Any answer.
pub fn answer(status: u16, content_type: &str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_str(content_type).unwrap_or_else(|_| HeaderValue::from_static("text/plain"));
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// Plain JSON.
pub fn json(status: u16, body: &Value) -> Response {
    answer(status, "application/json", body.to_string())
}

/// An error of a service, before it has a format.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceError {
    /// The HTTP status.
    pub status: u16,
    /// The code, e.g. `ClusterNotFoundException`.
    pub code: String,
    /// The message.
    pub message: String,
    /// What the error carries beside the message, e.g. `resourceIds`.
    pub more: Vec<(String, Value)>,
}

impl ServiceError {
    /// A client error: status 400.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { status: 400, code: code.to_owned(), message: message.into(), more: Vec::new() }
    }

    /// With another status.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// With another member.
    #[must_use]
    pub fn with(mut self, key: &str, value: Value) -> Self {
        self.more.push((key.to_owned(), value));
        self
    }
}

fn request_id() -> String {
    crate::ids::uuid().to_string()
}

fn with_request_id(mut response: Response, id: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert("x-amzn-requestid", value);
    }
    response
}

/// An answer of the protocol JSON 1.1 (ECS, SSM).
pub fn aws_json(result: Result<Value, ServiceError>) -> Response {
    let (status, body) = match result {
        Ok(body) => (200, body),
        Err(error) => {
            let mut body = json!({"__type": error.code, "message": error.message});
            for (key, value) in error.more {
                body[key] = value;
            }
            (error.status, body)
        }
    };
    with_request_id(answer(status, "application/x-amz-json-1.1", body.to_string()), &request_id())
}

/// An error in the format of a service.
pub fn service_error(service: &str, error: ServiceError) -> Response {
    let id = request_id();
    match service {
        "ec2" => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors><RequestID>{id}</RequestID></Response>",
                escape(&error.code),
                escape(&error.message)
            );
            with_request_id(answer(error.status, "text/xml;charset=UTF-8", body), &id)
        }
        "sts" | "iam" | "cloudformation" | "monitoring" => {
            let body = format!(
                "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>{}</Code><Message>{}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>",
                escape(&error.code),
                escape(&error.message)
            );
            with_request_id(answer(error.status, "text/xml", body), &id)
        }
        "s3" => {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{}</Code><Message>{}</Message><RequestId>{id}</RequestId></Error>",
                escape(&error.code),
                escape(&error.message)
            );
            with_request_id(answer(error.status, "application/xml", body), &id)
        }
        "lambda" | "scheduler" => {
            let body = json!({"Type": "User", "Message": error.message}).to_string();
            let mut response = with_request_id(answer(error.status, "application/json", body), &id);
            if let Ok(code) = HeaderValue::from_str(&error.code) {
                response.headers_mut().insert("x-amzn-errortype", code);
            }
            response
        }
        _ => aws_json(Err(error)),
    }
}

/// An XML answer.
pub fn xml(body: String) -> Response {
    with_request_id(answer(200, "text/xml;charset=UTF-8", body), &request_id())
}

/// A proxy's error page.
pub fn html(status: u16) -> Response {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error");
    let body = format!(
        "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
    );
    answer(status, "text/html", body)
}

/// Text for an XML element.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
