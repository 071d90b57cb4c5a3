//! The ways in which a request goes wrong.

use serde_json::json;
use world::prefect1::FailRule;
use world::{Fault, FaultKind, World};

/// How a request goes wrong.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// For people, and for the lists of what is expected.
    pub(crate) name: &'static str,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    /// On the wire.
    Wire(FaultKind),
    /// One field of a GraphQL document, the others are not disturbed.
    Field { message: &'static str, code: &'static str },
}

impl Kind {
    /// Lets the `occurrence`-th (from 0) request of this operation go wrong, or every one from there on.
    pub(crate) fn inject(&self, world: &World, service: &str, operation: &str, occurrence: u32, always: bool) {
        let count = if always { u32::MAX } else { 1 };
        match &self.how {
            How::Wire(kind) => {
                world.fault(Fault::new(service, operation, kind.clone()).skip(occurrence).times(count));
            }
            How::Field { message, code } => world.prefect1(|prefect1| {
                let rule = FailRule::new(operation, message);
                prefect1.switches.fail.push(FailRule { code: (*code).to_owned(), times: count, ..rule });
            }),
        }
    }

    /// The world is well again.
    pub(crate) fn clear(world: &World) {
        world.lock().faults.clear();
        world.prefect1(|prefect1| prefect1.switches.fail.clear());
    }

    /// Whether the answer is only late.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self.how, How::Wire(FaultKind::DelayBefore { .. } | FaultKind::DelayAfter { .. }))
    }

    /// Whether it can hit another occurrence than the first.
    pub(crate) fn can_skip(&self) -> bool {
        matches!(self.how, How::Wire(_))
    }
}

fn wire(name: &'static str, kind: FaultKind) -> Kind {
    Kind { name, how: How::Wire(kind) }
}

fn status(name: &'static str, status: u16, body: &str, content_type: &str) -> Kind {
    wire(name, FaultKind::Status { status, body: body.to_owned(), content_type: content_type.to_owned() })
}

fn status_after(name: &'static str, status: u16, body: &str, content_type: &str) -> Kind {
    wire(name, FaultKind::StatusAfter { status, body: body.to_owned(), content_type: content_type.to_owned() })
}

fn aws(name: &'static str, status: u16, code: &str, message: &str) -> Kind {
    wire(name, FaultKind::AwsError { status, code: code.to_owned(), message: message.to_owned() })
}

/// All ways in which a request of this operation goes wrong.
pub(crate) fn kinds(service: &str, operation: &str) -> Vec<Kind> {
    let mut kinds = vec![
        wire("closed before", FaultKind::DropBefore),
        wire("closed after", FaultKind::DropAfter),
        status("429", 429, "Too Many Requests", "text/plain"),
        wire("500 html", FaultKind::Html { status: 500 }),
        wire("502 html", FaultKind::Html { status: 502 }),
        wire("503 html", FaultKind::Html { status: 503 }),
        status_after("502 html after", 502, "<html><h1>502 Bad Gateway</h1></html>", "text/html"),
        status_after("504 html after", 504, "<html><h1>504 Gateway Time-out</h1></html>", "text/html"),
        status("200 html", 200, "<html><h1>Sign in</h1></html>", "text/html"),
        wire("malformed", FaultKind::MalformedBody),
        wire("truncated", FaultKind::TruncatedBody),
        status_after("empty body", 200, "", "application/json"),
        wire("slow before", FaultKind::DelayBefore { ms: 300 }),
        wire("slow after", FaultKind::DelayAfter { ms: 300 }),
    ];
    kinds.extend(if service == "prefect1" { of_prefect(operation) } else { of_aws(service, operation) });
    kinds
}

fn of_prefect(operation: &str) -> Vec<Kind> {
    let field = |name, message, code| Kind { name, how: How::Field { message, code } };
    let error = json!({"errors": [{"message": "An internal API error occurred.", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]});
    let null_field = json!({"data": {operation: null}});
    vec![
        status("401", 401, r#"{"errors":[{"message":"UNAUTHENTICATED"}]}"#, "application/json"),
        status("errors without data", 200, &error.to_string(), "application/json"),
        status("null data", 200, r#"{"data":null}"#, "application/json"),
        status("null field", 200, &null_field.to_string(), "application/json"),
        status_after("null data after", 200, r#"{"data":null}"#, "application/json"),
        field(
            "service down",
            "request to http://graphql:4201 failed, reason: connect ECONNREFUSED",
            "INTERNAL_SERVER_ERROR",
        ),
        field("API_ERROR", "Unable to complete operation. An internal API error occurred.", "API_ERROR"),
    ]
}

fn of_aws(service: &str, operation: &str) -> Vec<Kind> {
    let denied = format!(
        "User: arn:aws:sts::123456789012:assumed-role/poll/poll is not authorized to perform: {service}:{operation} on resource: *"
    );
    let (throttling, denied_code) = match service {
        "ec2" => ("RequestLimitExceeded", "UnauthorizedOperation"),
        _ => ("ThrottlingException", "AccessDeniedException"),
    };
    let mut kinds = vec![
        aws("throttled", 400, throttling, "Rate exceeded"),
        aws("denied", if service == "ec2" { 403 } else { 400 }, denied_code, &denied),
        aws(
            "server error",
            500,
            if service == "ssm" { "InternalServerError" } else { "ServerException" },
            "Service Unavailable.",
        ),
        aws("expired token", 400, "ExpiredTokenException", "The security token included in the request is expired"),
    ];
    match operation {
        "RunTask" => kinds.push(aws("rate in disguise", 400, "InvalidParameterException", "Rate exceeded")),
        "RegisterTaskDefinition" => kinds.push(aws(
            "concurrent revision",
            400,
            "ClientException",
            "Too many concurrent attempts to create a new revision of the specified family.",
        )),
        "PutParameter" => kinds.push(aws("too many updates", 400, "TooManyUpdates", "Too many updates.")),
        _ => {}
    }
    kinds
}
