use crate::aws::AwsClients;
use crate::clock::SystemClock;
use crate::config::Root;
use crate::http::{Answer, Exchange, Http, Request, SendError};
use crate::model::ErrorKind;
use crate::platform::ecs::AgentEcs;
use crate::poll::{Deployment, Invocation, Selection, Source};
use crate::redaction::Redaction;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use time::OffsetDateTime;

/// A Parameter Store with one agent, wrongly configured, that takes no write.
#[derive(Debug, Clone, Default)]
struct Throttling {
    writes: Arc<AtomicUsize>,
}

impl Exchange for Throttling {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Answer, SendError>> {
        let Some(body) = request.body else { return Box::pin(async { Ok(opened()) }) };
        let body: Value = serde_json::from_slice(&body).unwrap();
        let (status, answer) = match request.headers["x-amz-target"].to_str().unwrap() {
            "AmazonSSM.GetParametersByPath" if body["Path"] == "/r/config" => {
                let parameter = json!({"Name": "/r/config/etl", "Type": "String", "Value": "prefect: 9", "Version": 1});
                (200, json!({"Parameters": [parameter]}))
            }
            "AmazonSSM.GetParametersByPath" => (200, json!({"Parameters": []})),
            "AmazonSSM.GetParameter" => (400, json!({"__type": "ParameterNotFound"})),
            "AmazonSSM.PutParameter" => {
                self.writes.fetch_add(1, Ordering::SeqCst);
                (400, json!({"__type": "ThrottlingException", "message": "Rate exceeded"}))
            }
            other => panic!("unexpected {other}"),
        };
        let body = answer.to_string().into();
        Box::pin(async move { Ok(Answer { status, headers: http::HeaderMap::new(), body }) })
    }
}

/// To the request without a body, which a warm poll sends only to open the connection.
fn opened() -> Answer {
    Answer { status: 404, headers: http::HeaderMap::new(), body: bytes::Bytes::new() }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_never_taken_keeps_no_invocation_beyond_its_time() {
    let store = Throttling::default();
    let environment = [("AWS_REGION", "eu-west-1"), ("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret")];
    let environment: crate::config::Environment =
        environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let aws = Arc::new(AwsClients::over(Http::over(store.clone()), &environment).unwrap());
    let source = Source::Parameters(Root::new("/r"));
    let deployment: Deployment<AgentEcs<SystemClock>, _> =
        Deployment::new(source, environment, aws, SystemClock, Redaction::default());
    let deadline = OffsetDateTime::now_utc() + Duration::from_secs(10);
    let begun = tokio::time::Instant::now();
    let invocation = Invocation { request_id: "request".into(), deadline, is_poked: false };
    let report = deployment.poll(&Selection::All, &invocation).await.unwrap();
    assert_eq!(report.agents["etl"].error_kind, Some(ErrorKind::Configuration), "{report:?}");
    let (took, writes) = (begun.elapsed(), store.writes.load(Ordering::SeqCst));
    assert!((Duration::from_secs(8)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert!((5..15).contains(&writes), "{writes} writes in {took:?}");
}
