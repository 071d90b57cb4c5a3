//! The ways in which a request goes wrong.

use serde_json::json;
use world::prefect1::FailRule;
use world::{Fault, FaultKind, Request, World};

/// What a poll asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Asked {
    pub(crate) operation: String,
    /// Where one operation serves several purposes: what the body contains for this one.
    pub(crate) about: &'static str,
}

/// Operations that serve several purposes, and what tells them in a body. The first that is there counts.
const ABOUT: [(&str, &[&str]); 3] = [
    // Runs that were cancelled a while ago, that stand, that have run for long, that are read by their ids.
    ("flow_runs/filter", &["end_time", "CANCELLING", "RUNNING", "\"id\""]),
    ("set_state", &["\"PENDING\"", "\"SCHEDULED\"", "\"CANCELLED\""]),
    ("PutParameter", &["/polls", "/status"]),
];

impl Asked {
    pub(crate) fn of(request: &Request) -> Self {
        let known = ABOUT.iter().find(|(operation, _)| *operation == request.operation);
        let told = known.and_then(|(_, texts)| texts.iter().find(|text| request.body.contains(**text)));
        Self { operation: request.operation.clone(), about: told.copied().unwrap_or_default() }
    }

    /// For people, and for the lists of what is expected.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.operation, self.about.replace('"', "")).trim_end().to_owned()
    }
}

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
    /// Lets the `occurrence`-th (from 0) such request go wrong, or every one from there on.
    pub(crate) fn inject(&self, world: &World, service: &str, asked: &Asked, occurrence: u32, always: bool) {
        let count = if always { u32::MAX } else { 1 };
        match &self.how {
            How::Wire(kind) => {
                let fault = Fault::new(service, &asked.operation, kind.clone()).skip(occurrence).times(count);
                world.fault(if asked.about.is_empty() { fault } else { fault.when_body_contains(asked.about) });
            }
            How::Field { message, code } => world.prefect1(|prefect1| {
                let rule = FailRule::new(&asked.operation, message);
                prefect1.switches.fail.push(FailRule { code: (*code).to_owned(), times: count, ..rule });
            }),
        }
    }

    /// The world is well again. Says whether a request went wrong before.
    pub(crate) fn clear(world: &World) -> bool {
        let mut state = world.lock();
        let untouched = |count: u32| count == u32::MAX || count == 1;
        let waits = state.faults.waiting().iter().any(|fault| untouched(fault.count))
            || state.prefect1.switches.fail.iter().any(|rule| untouched(rule.times));
        state.faults.clear();
        state.prefect1.switches.fail.clear();
        !waits
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name
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
    kinds.extend(match service {
        "prefect1" => [of_prefect1(operation), of_any_prefect()].concat(),
        "prefect3" => [of_prefect3(), of_any_prefect()].concat(),
        _ => of_aws(service, operation),
    });
    kinds
}

/// Prefect asks to come again later: soon, so that it is waited for, and when this poll is over.
fn of_any_prefect() -> Vec<Kind> {
    let again = |name, status, asked: &str, maintenance| {
        wire(name, FaultKind::ComeAgain { status, retry_after: Some(asked.to_owned()), maintenance })
    };
    vec![again("503 again", 503, "0.2", false), again("maintenance", 503, "600", true)]
}

fn of_prefect1(operation: &str) -> Vec<Kind> {
    let field = |name, message, code| Kind { name, how: How::Field { message, code } };
    let error = json!({"errors": [{"message": "An internal API error occurred.", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]});
    let null_field = json!({"data": {operation: null}});
    let mut kinds = vec![
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
    ];
    // Its fields are those of other reads: one alone does not fail.
    kinds.retain(|kind| operation != "standing" || !matches!(kind.how, How::Field { .. }));
    kinds
}

fn of_prefect3() -> Vec<Kind> {
    let busy = json!({"exception_message": "Service Unavailable"}).to_string();
    let json = "application/json";
    vec![
        status("401", 401, &json!({"exception_message": "Unauthorized"}).to_string(), json),
        // A database that is locked, before its write and after.
        status("503 busy", 503, &busy, json),
        status_after("503 busy after", 503, &busy, json),
        status("500 json", 500, &json!({"exception_message": "Internal Server Error"}).to_string(), json),
        status("404 json", 404, &json!({"detail": "Not found."}).to_string(), json),
        status("422", 422, &json!({"detail": [{"loc": ["body"], "msg": "Field required"}]}).to_string(), json),
        status("null", 200, "null", json),
        status("other shape", 200, &json!({"state": null, "status": "WHAT"}).to_string(), json),
        status_after("other shape after", 200, &json!({"ok": true}).to_string(), json),
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
        "RunTask" => {
            let json = "application/x-amz-json-1.1";
            let nothing = r#"{"tasks": [], "failures": []}"#;
            kinds.extend([
                aws("rate in disguise", 400, "InvalidParameterException", "Rate exceeded"),
                status("neither tasks nor failures", 200, nothing, json),
                status_after("neither tasks nor failures after", 200, nothing, json),
                status_after("without tasks after", 200, r#"{"failures": []}"#, json),
                status_after("tasks without ARNs after", 200, r#"{"tasks": [{"lastStatus": "PENDING"}]}"#, json),
                status_after("tasks of another shape after", 200, r#"{"tasks": "arn", "failures": []}"#, json),
            ]);
        }
        // Neither says that there is none.
        "ListTasks" => kinds.push(status("without taskArns", 200, "{}", "application/x-amz-json-1.1")),
        "DescribeTasks" => kinds.push(status("without tasks", 200, "{}", "application/x-amz-json-1.1")),
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
