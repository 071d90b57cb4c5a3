//! What happens, in order.

use crate::{
    Error,
    deployment::{Deployment, POKE_TOKEN},
    flow,
    runs::{self, Expected, Seed},
    verdict::Verdict,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use world::{LambdaProcess, Request, World, runtime_api::Invocation};

/// What the `poll` function has for an invocation, as in the template.
const DEADLINE: Duration = Duration::from_mins(2);
/// How long a function may take to start, and the tasks to begin and to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// What happened.
pub(crate) struct Story {
    /// Every invocation of `poll`.
    pub(crate) polls: Vec<Poll>,
    /// Every request to the `health` function's URL.
    pub(crate) urls: Vec<UrlCall>,
    /// What became of the flow runs.
    pub(crate) verdicts: Vec<Verdict>,
    /// The functions' requests, by service and operation.
    pub(crate) requests: BTreeMap<String, BTreeMap<String, usize>>,
    /// From the start of the `poll` process to its asking for an event.
    pub(crate) cold_start: Duration,
    /// The `poll` process's largest resident memory, KiB.
    pub(crate) peak_kib: Option<u64>,
    /// What the `poll` process wrote.
    pub(crate) log: String,
    pub(crate) took: Duration,
}

/// One invocation of `poll`.
pub(crate) struct Poll {
    pub(crate) what: &'static str,
    pub(crate) answer: Invocation,
    pub(crate) took: Duration,
    /// Requests it made; none where another invocation went on beside it.
    pub(crate) requests: Option<usize>,
    /// Agents that must be found stopped by their `max_polls`; all others must have polled.
    pub(crate) stopped: &'static [&'static str],
}

/// One request to the `health` function's URL.
pub(crate) struct UrlCall {
    pub(crate) what: &'static str,
    pub(crate) answer: Invocation,
    /// The status that is right.
    pub(crate) status: u16,
}

/// Plays it.
pub(crate) async fn tell(deployment: &Deployment) -> Result<Story, Error> {
    let begun = Instant::now();
    let none = BTreeMap::new();
    let (late, first): (Vec<Seed>, Vec<Seed>) = runs::all().into_iter().partition(|seed| seed.late);
    let mut seeded = deployment.create(first, &none)?;

    let function = deployment.start("poll").await?;
    let cold_start = function.ready(PATIENCE).await.map_err(|error| error.error_message)?;
    let (first, second) =
        tokio::join!(poll(&function, "EventBridge Scheduler, cold start", &[]), interrupt(deployment, &seeded),);
    let mut polls = vec![first, second?];
    tasks_end(&deployment.cloud, PATIENCE).await;
    let idle = poll(&function, "EventBridge Scheduler, warm, nothing due", &["reports"]);
    polls.push(counted(deployment, idle).await);

    seeded.extend(deployment.create(late, &none)?);
    let urls = ask_health(deployment).await?;
    polls.extend(deliver_pokes(deployment, &function).await);
    tasks_end(&deployment.cloud, PATIENCE).await;

    let peak_kib = function.peak_rss_kib();
    let verdicts = seeded.iter().map(|(seed, id)| Verdict::of(deployment, seed, id)).collect::<Result<_, _>>()?;
    let requests = requests(deployment);
    let log = function.output();
    function.stop().await;
    Ok(Story { polls, urls, verdicts, requests, cold_start, peak_kib, log, took: begun.elapsed() })
}

/// One invocation by the schedule.
pub(crate) async fn poll(function: &LambdaProcess, what: &'static str, stopped: &'static [&'static str]) -> Poll {
    invoke(function, scheduler_event(), what, stopped).await
}

async fn invoke(function: &LambdaProcess, event: Value, what: &'static str, stopped: &'static [&'static str]) -> Poll {
    let begun = Instant::now();
    let answer = function.invoke(event, DEADLINE).await;
    Poll { what, answer, took: begun.elapsed(), requests: None, stopped }
}

/// The poll, with how many requests there were meanwhile.
async fn counted(deployment: &Deployment, poll: impl Future<Output = Poll>) -> Poll {
    let so_far = || deployment.cloud.count("*", "*") + deployment.server.count("*", "*");
    let before = so_far();
    let poll = poll.await;
    Poll { requests: Some(so_far() - before), ..poll }
}

/// What `EventBridge` Scheduler sends when a schedule names no input of its own.
pub(crate) fn scheduler_event() -> Value {
    json!({
        "version": "0",
        "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
        "detail-type": "Scheduled Event",
        "source": "aws.scheduler",
        "account": world::ACCOUNT,
        "time": "2026-11-24T12:00:00Z",
        "region": world::REGION,
        "resources": [format!("arn:aws:scheduler:{}:{}:schedule/default/demo-poll", world::REGION, world::ACCOUNT)],
        "detail": "{}",
    })
}

/// While the first invocation holds launches: the user cancels one, and a second function process is invoked.
async fn interrupt(deployment: &Deployment, seeded: &[(Seed, String)]) -> Result<Poll, Error> {
    // It has seen the whole queue by the time it launches.
    deployment.cloud.wait_until(PATIENCE, |state| !state.ecs.tasks.is_empty()).await;
    for (seed, id) in seeded.iter().filter(|(seed, _)| matches!(seed.expected, Expected::Cancelled)) {
        deployment.prefect_of(seed.agent).cancel_flow_run(id)?;
    }
    let function = deployment.start("poll").await?;
    let poll = poll(&function, "the same, while the first still holds launches", &[]).await;
    function.stop().await;
    Ok(poll)
}

/// Waits until no task runs; one that goes on is told of later, with its flow run.
pub(crate) async fn tasks_end(aws: &World, patience: Duration) {
    aws.wait_until(patience, |state| state.ecs.tasks.iter().all(|task| task.last_status == "STOPPED")).await;
}

async fn ask_health(deployment: &Deployment) -> Result<Vec<UrlCall>, Error> {
    let function = deployment.start("health").await?;
    let (token, wrong) = (format!("Bearer {POKE_TOKEN}"), "Bearer guessed");
    let calls = [
        ("GET  /api/health, signed (IAM)", url_event("GET", "/api/health", None, true), 200),
        ("GET  /api/poke, a stranger", url_event("GET", "/api/poke", None, false), 403),
        ("POST /api/poke, a wrong token", url_event("POST", "/api/poke", Some(wrong), false), 403),
        ("POST /api/poke, the token", url_event("POST", "/api/poke", Some(&token), false), 200),
        ("GET  /api/poke, signed (IAM)", url_event("GET", "/api/poke", None, true), 200),
    ];
    let mut answers = Vec::new();
    for (what, event, status) in calls {
        answers.push(UrlCall { what, answer: function.invoke(event, PATIENCE).await, status });
    }
    function.stop().await;
    Ok(answers)
}

/// A Function URL's event, payload format 2.0.
fn url_event(method: &str, path: &str, authorization: Option<&str>, by_iam: bool) -> Value {
    let http = json!({"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"});
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "", "headers": {},
        "requestContext": {"http": http, "stage": "$default"}, "isBase64Encoded": false,
    });
    if let Some(authorization) = authorization {
        event["headers"]["authorization"] = json!(authorization);
    }
    if by_iam {
        event["requestContext"]["authorizer"] = json!({"iam": {"accountId": world::ACCOUNT}});
    }
    event
}

/// Hands the events of the pokes to the function.
async fn deliver_pokes(deployment: &Deployment, function: &LambdaProcess) -> Vec<Poll> {
    let pokes = std::mem::take(&mut deployment.cloud.lock().lambda.invocations);
    let mut polls = Vec::new();
    for poke in pokes {
        polls.push(counted(deployment, invoke(function, poke.payload, "a poke", &["reports"])).await);
    }
    polls
}

/// The functions' requests: without those of the flow runs.
fn requests(deployment: &Deployment) -> BTreeMap<String, BTreeMap<String, usize>> {
    let mut counts: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    let ours = |request: &Request| request.header("user-agent") != Some(flow::USER_AGENT);
    for (world, prefect) in [(&deployment.cloud, "Prefect Cloud"), (&deployment.server, "Prefect Server")] {
        for request in world.requests("*", "*").into_iter().filter(ours) {
            let service =
                if request.service == "prefect1" { prefect.to_owned() } else { request.service.to_uppercase() };
            *counts.entry(service).or_default().entry(request.operation).or_default() += 1;
        }
    }
    counts
}
