//! One agent's bug is that agent's failure.

use crate::aws::test_server::{Reply, Request, Server, json};
use crate::clock::{Clock, SystemClock};
use crate::config::{Environment, Root};
use crate::model::ErrorKind;
use crate::platform::ecs::AgentEcs;
use crate::poll::{Deployment, Invocation, Report, Selection, Source};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use time::{Duration, OffsetDateTime};

const ROOT: &str = "/psa/test";
const AGENTS: [&str; 3] = ["etl", "ml", "web"];

/// A clock with a bug: the next one who asks it after `broken` was set panics.
#[derive(Clone)]
struct BrokenClock {
    broken: Arc<AtomicBool>,
}

impl Clock for BrokenClock {
    fn now(&self) -> OffsetDateTime {
        assert!(!self.broken.swap(false, Ordering::Relaxed), "the clock broke");
        SystemClock.now()
    }

    async fn sleep_until(&self, instant: OffsetDateTime) {
        SystemClock.sleep_until(instant).await;
    }
}

/// Parameter Store with three agents, and the Prefect server of all of them, which has nothing to do. At its first
/// request for due runs since `armed` was set it breaks the clock.
async fn server(armed: Arc<AtomicBool>, broken: Arc<AtomicBool>, api: String) -> Server {
    Server::start(move |request: &Request| {
        if request.target.ends_with("get_scheduled_flow_runs") && armed.swap(false, Ordering::Relaxed) {
            broken.store(true, Ordering::Relaxed);
        }
        answer(request, &api)
    })
    .await
}

fn answer(request: &Request, api: &str) -> Reply {
    if request.operation() == "GetParametersByPath" {
        let is_config = request.json()["Path"] == json!(format!("{ROOT}/config"));
        let parameter = |name: &str| {
            let value = json!({"prefect": 3, "api": api, "work_pool": "ecs"}).to_string();
            let arn = format!("arn:aws:ssm:eu-west-1:123456789012:parameter{ROOT}/config/{name}");
            json!({"Name": format!("{ROOT}/config/{name}"), "ARN": arn, "Type": "String", "Value": value, "Version": 1})
        };
        let parameters: Vec<Value> = AGENTS.iter().filter(|_| is_config).map(|name| parameter(name)).collect();
        return json(200, &json!({"Parameters": parameters}));
    }
    match request.target.as_str() {
        "/work_pools/ecs" => json(
            200,
            &json!({"id": "p", "name": "ecs", "type": "ecs", "base_job_template": {"job_configuration": {}, "variables": {}}}),
        ),
        other if other.contains("filter") || other.contains("get_scheduled") => json(200, &json!([])),
        _ => json(200, &json!({})),
    }
}

async fn poll(deployment: &Deployment<AgentEcs<BrokenClock>, BrokenClock>) -> Report {
    let deadline = OffsetDateTime::now_utc() + Duration::minutes(1);
    let invocation = Invocation { request_id: "1".into(), deadline, is_poked: false };
    deployment.poll(&Selection::All, &invocation).await.unwrap()
}

#[tokio::test]
async fn one_agents_panic_is_its_failure_and_the_others_poll_on() {
    let (armed, broken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let prefect = server(Arc::clone(&armed), Arc::clone(&broken), String::new()).await;
    let store = server(Arc::default(), Arc::default(), prefect.url()).await;
    let clock = BrokenClock { broken };
    let root = Source::Parameters(Root::new(ROOT));
    let deployment = Deployment::new(
        root,
        Environment::default(),
        Arc::new(store.clients().await),
        clock,
        crate::redaction::Redaction::default(),
    );

    let report = poll(&deployment).await;
    assert!(report.ok() && report.agents.len() == AGENTS.len(), "{report:?}");
    let asked = prefect.requests().len();

    armed.store(true, Ordering::Relaxed);
    let report = poll(&deployment).await;
    let (failed, well): (Vec<_>, Vec<_>) = report.agents.values().partition(|agent| !agent.ok);
    assert_eq!((failed.len(), well.len()), (1, AGENTS.len() - 1), "{report:?}");
    assert_eq!(failed[0].error_kind, Some(ErrorKind::Internal));
    let said = failed[0].error.as_deref().unwrap_or_default();
    assert!(said.contains("a bug of this program") && said.contains("the clock broke"), "{said}");
    assert!(prefect.requests().len() > asked);
    let statuses = store.requests();
    let failing = statuses.iter().filter(|request| request.body.contains("\\\"error\\\":\\\"internal\\\""));
    assert_eq!(failing.count(), 1, "health knows of it");

    let read = || store.requests().iter().filter(|request| request.operation() == "GetParametersByPath").count();
    let before = read();
    let report = poll(&deployment).await;
    assert!(report.ok() && report.agents.len() == AGENTS.len(), "{report:?}");
    assert!(read() > before, "what panicked is assembled anew");
}
