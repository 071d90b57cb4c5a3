//! The server: one port, every protocol, with the journal in front and the faults around.

use crate::{
    FaultKind, Request, World,
    answer::{ServiceError, answer, html, service_error},
    cloudformation, control, ec2, ecr, ecs, events, iam,
    io::{Connection, WorldListener},
    journal::headers_of,
    lambda, logs, monitoring,
    mutation::mutated,
    prefect1, prefect3,
    route::{self, Route, Scope},
    s3, sqs, ssm, sts,
};
use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{ConnectInfo, Request as HttpRequest, State},
    http::{HeaderValue, StatusCode, request::Parts},
    response::Response,
};
use futures_util::FutureExt;
use std::time::Duration;

/// The largest body a request may have, in bytes.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Serves until the task is aborted.
pub async fn serve(world: World, listener: WorldListener) {
    let app = Router::new().fallback(receive).with_state(world);
    let _ = axum::serve(listener, app.into_make_service_with_connect_info::<Connection>()).await;
}

async fn receive(
    State(world): State<World>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    request: HttpRequest,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else {
        return answer(413, "text/plain", "the body is too large or incomplete");
    };
    // In a task of its own: a server goes on with a request although its client gave up.
    let work = tokio::spawn(process(world, connection, parts, body));
    work.await.unwrap_or_else(|error| answer(500, "text/plain", format!("the fake itself failed: {error}")))
}

async fn process(world: World, connection: Connection, parts: Parts, body: Bytes) -> Response {
    let route = route::route(&parts.method, &parts.uri, &parts.headers, &body);
    if route.service == "_world" {
        return control::handle(&world, &parts, &body).await;
    }
    let text = String::from_utf8_lossy(&body).into_owned();
    let (number, hits, latency) = {
        let mut state = world.lock();
        let hits = state.faults.hit(route.service, &route.operation, &text);
        let number = state.journal.begin(Request {
            at_ms: 0.0,
            at_epoch_ms: 0.0,
            service: route.service.to_owned(),
            operation: route.operation.clone(),
            line: format!("{} {}", parts.method, parts.uri),
            headers: headers_of(&parts.headers),
            body: text,
            status: None,
            answered_ms: None,
            connection: connection.id,
        });
        (number, hits, state.faults.latency)
    };
    world.notify();
    let (mut response, cut) = perform(&world, &connection, &route, parts, body, &hits).await;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    tell_time(&world, &route, &mut response);
    // From here on a client may hold the answer: its next registration of the family is not a concurrent one.
    drop(response.extensions_mut().remove::<ecs::Registering>());
    world.lock().journal.finish(number, (!cut).then(|| response.status().as_u16()));
    world.notify();
    response
}

/// The answer, and whether the connection is cut instead of sending it.
async fn perform(
    world: &World,
    connection: &Connection,
    route: &route::Route,
    parts: Parts,
    body: Bytes,
    hits: &[FaultKind],
) -> (Response, bool) {
    for hit in hits {
        if let FaultKind::DelayBefore { ms } = hit {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
        }
    }
    if hits.contains(&FaultKind::DropBefore) {
        connection.cut();
        return (Response::new(Body::empty()), true);
    }
    if let Some(instead) = hits.iter().find_map(|hit| instead(route.service, hit)) {
        return (instead, false);
    }
    let mut response = dispatch(world, route, parts, body).await;
    let mut cut = false;
    for hit in hits {
        match hit {
            FaultKind::DelayAfter { ms } => tokio::time::sleep(Duration::from_millis(*ms)).await,
            FaultKind::DropAfter => {
                connection.cut();
                cut = true;
            }
            FaultKind::StatusAfter { status, body, content_type } => {
                response = answer(*status, content_type, body.clone());
            }
            FaultKind::MalformedBody => {
                *response.status_mut() = StatusCode::OK;
                *response.body_mut() = Body::from("{\"data\": {\"oops");
            }
            FaultKind::TruncatedBody => connection.truncate(),
            FaultKind::Mutated { seed } => response = changed(response, *seed).await,
            _ => {}
        }
    }
    (response, cut)
}

/// A Prefect whose clock is not the machine's says so in `Date`.
fn tell_time(world: &World, route: &Route, response: &mut Response) {
    let state = world.lock();
    if state.clock_ahead.is_zero() || !route.service.starts_with("prefect") {
        return;
    }
    let told = state.now().format(&time::format_description::well_known::Rfc2822).unwrap_or_default();
    if let Ok(date) = HeaderValue::from_str(&told.replace("+0000", "GMT")) {
        response.headers_mut().insert(axum::http::header::DATE, date);
    }
}

/// Where a request was sent to.
fn own_address(parts: &Parts) -> String {
    let host = parts.headers.get(axum::http::header::HOST).and_then(|host| host.to_str().ok());
    format!("http://{}", host.unwrap_or("localhost"))
}

/// The same answer, its body changed.
async fn changed(response: Response, seed: u64) -> Response {
    let (mut head, body) = response.into_parts();
    let body = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    head.headers.remove(axum::http::header::CONTENT_LENGTH);
    Response::from_parts(head, Body::from(mutated(&body, seed)))
}

/// The answer that a fault gives in place of the service's own.
fn instead(service: &str, hit: &FaultKind) -> Option<Response> {
    match hit {
        FaultKind::Status { status, body, content_type } => Some(answer(*status, content_type, body.clone())),
        FaultKind::AwsError { status, code, message } => {
            Some(service_error(service, ServiceError::new(code, message.clone()).status(*status)))
        }
        FaultKind::Html { status } => Some(html(*status)),
        FaultKind::ComeAgain { status, retry_after, maintenance } => {
            let body = r#"{"exception_message": "Service Unavailable"}"#;
            let maintenance = maintenance.then_some(("prefect-maintenance", "true"));
            let retry_after = retry_after.as_deref().map(|text| ("retry-after", text));
            Some(with_headers(answer(*status, "application/json", body), retry_after.into_iter().chain(maintenance)))
        }
        FaultKind::Redirect { status, location } => {
            Some(with_headers(answer(*status, "text/plain", ""), [("location", location.as_str())]))
        }
        _ => None,
    }
}

fn with_headers<'a>(mut response: Response, headers: impl IntoIterator<Item = (&'static str, &'a str)>) -> Response {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

impl World {
    /// Answers a request at once, in the world's own time: without a server, faults, latency and journal.
    pub fn answer(&self, route: &Route, parts: &Parts, body: &Bytes) -> Response<Bytes> {
        let scope = self.lock().sts.scope(&parts.headers);
        let (head, body) = at_once(self, &scope, route, parts, body).into_parts();
        // All of it is there already.
        let body = to_bytes(body, BODY_LIMIT).now_or_never().and_then(Result::ok).unwrap_or_default();
        Response::from_parts(head, body)
    }
}

async fn dispatch(world: &World, route: &route::Route, parts: Parts, body: Bytes) -> Response {
    let scope = world.lock().sts.scope(&parts.headers);
    match route.service {
        "prefect3" => prefect3::handle(world.clone(), &parts, body).await,
        "ecs" => ecs::handle(world, &scope, &route.operation, &body).await,
        _ => at_once(world, &scope, route, &parts, &body),
    }
}

/// The answer of a service that takes no time.
fn at_once(world: &World, scope: &Scope, route: &Route, parts: &Parts, body: &Bytes) -> Response {
    match route.service {
        "prefect1" => prefect1::handle(world, &parts.headers, body),
        "prefect3" => prefect3::answer_at_once(world, parts, body),
        "ecs" => ecs::answer(world, scope, &route.operation, body),
        "ssm" => ssm::handle(world, scope, &route.operation, body),
        "logs" => logs::handle(world, scope, &route.operation, body),
        "sqs" => sqs::handle(world, &route.operation, body),
        "cloudformation" => cloudformation::handle(world, scope, &route.operation, body),
        "events" => events::handle(world, scope, &route.operation, body),
        "scheduler" => events::scheduler(world, scope, parts),
        "ec2" => ec2::handle(world, scope, &route.operation, body),
        "sts" => sts::handle(world, &parts.headers, &route.operation, body),
        "s3" => s3::handle(world, &parts.uri),
        "lambda" if route.operation != "Invoke" => lambda::settings(world, parts, &route.operation),
        "lambda" => lambda::handle(world, parts, body),
        "iam" => iam::handle(world, scope, &route.operation, body),
        "ecr" if route.operation == "GetLayer" => ecr::layer(&parts.uri),
        "ecr" => ecr::handle(world, &own_address(parts), &route.operation, body),
        "quotas" => ecr::quotas(world, &route.operation, body),
        "monitoring" => monitoring::handle(world, &route.operation, body),
        _ => answer(404, "text/plain", format!("no fake serves {}", route.operation)),
    }
}
