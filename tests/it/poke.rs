//! The `poke` function: whoever knows the token starts a poll, and nobody gets anything else.

use crate::support::{DEADLINE, Deployment, ROOT, agent, ids, labels};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use world::lambda::Invoked;
use world::prefect1::FlowRunSpec;
use world::{Fault, FaultKind, LambdaOptions, LambdaProcess};

const TOKEN: &str = "the-token-of-the-story";

/// A `poke` function that knows which function to wake, and says all that it can.
pub(crate) fn poke_options(deployment: &Deployment) -> LambdaOptions {
    deployment.options("poke").env("POLL_FUNCTION_NAME", "world-poll").env("RUST_LOG", "trace")
}

async fn poke_function(deployment: &Deployment) -> LambdaProcess {
    poke_options(deployment).start().await.unwrap()
}

fn request(method: &str, path: &str, query: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": query, "headers": {"host": "example.lambda-url"},
        "isBase64Encoded": false,
        "requestContext": {"http": {"method": method, "path": path, "protocol": "HTTP/1.1"}},
    })
}

fn with_token(mut event: Value, token: &str) -> Value {
    event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    event
}

async fn ask(function: &LambdaProcess, event: Value) -> u64 {
    let answer = function.invoke(event, DEADLINE).await.unwrap();
    assert!(answer["headers"]["content-type"].is_string(), "{answer}");
    answer["statusCode"].as_u64().unwrap()
}

async fn poke(function: &LambdaProcess, query: &str) -> u64 {
    ask(function, with_token(request("POST", "/api/poke", query), TOKEN)).await
}

fn invoked(deployment: &Deployment) -> Vec<Invoked> {
    deployment.world.lock().lambda.invocations.clone()
}

async fn deployment() -> Deployment {
    let deployment = Deployment::with_agent(json!({"labels": ["prod"]})).await;
    deployment.world.put_secret(&format!("{ROOT}/secrets/poke-token"), TOKEN);
    deployment
}

#[tokio::test]
async fn a_poke_starts_a_poll_of_its_agent() {
    let deployment = deployment().await;
    deployment.agent("other", json!({}));
    let run = deployment.schedule(FlowRunSpec { labels: labels(&["prod"]), ..FlowRunSpec::default() });
    let function = poke_function(&deployment).await;
    assert_eq!(poke(&function, "agent=etl").await, 200);
    let invoked = invoked(&deployment);
    assert_eq!(invoked.len(), 1);
    assert_eq!((invoked[0].function.as_str(), invoked[0].invocation_type.as_str()), ("world-poll", "Event"));
    assert_eq!(invoked[0].payload, json!({"poke": true, "agents": ["etl"]}));

    let polling = deployment.poll_function().await;
    let answers = deployment.world.deliver_invocations(&polling, DEADLINE).await;
    let report = answers[0].as_ref().unwrap();
    assert_eq!(ids(agent(report, "etl"), "launched"), [run]);
    assert!(report["agents"].get("other").is_none(), "{report:#}");
}

#[tokio::test]
async fn a_poke_for_an_agent_that_is_gone_is_nobodys_failure() {
    let deployment = deployment().await;
    let function = poke_function(&deployment).await;
    assert_eq!(poke(&function, "agent=gone").await, 200);
    let polling = deployment.poll_function().await;
    let answers = deployment.world.deliver_invocations(&polling, DEADLINE).await;
    assert_eq!(answers[0].as_ref().unwrap(), &json!({"agents": {}}));
    assert!(polling.output().contains("connect --remove ends its pokes"), "{}", polling.output());
    // Whoever asks for it by hand is told of the mistake.
    let refused = polling.invoke(json!({"agents": ["gone"]}), DEADLINE).await.unwrap_err();
    assert_eq!(refused.error_type, "BadEvent");
}

#[tokio::test]
async fn pokes_that_come_together_lead_to_two_polls_and_the_second_waits() {
    let deployment = deployment().await;
    let function = poke_function(&deployment).await;
    let before = OffsetDateTime::now_utc();
    for _ in 0..10 {
        assert_eq!(poke(&function, "agent=etl").await, 200);
    }
    let polls = invoked(&deployment);
    let late = OffsetDateTime::now_utc() - before > time::Duration::milliseconds(800);
    assert!(polls.len() == 2 || (late && polls.len() <= 4), "{polls:?}");
    let not_before = polls[1].payload["not_before"].as_str().unwrap();
    let not_before = OffsetDateTime::parse(not_before, &Rfc3339).unwrap();
    assert!(not_before >= before + time::Duration::SECOND, "{not_before}");

    let polling = deployment.poll_function().await;
    polling.ready(DEADLINE).await.unwrap();
    polling.invoke(polls[1].payload.clone(), DEADLINE).await.unwrap();
    assert!(OffsetDateTime::now_utc() >= not_before, "it began too early");
}

#[tokio::test]
async fn a_poll_that_could_not_be_started_is_said_and_covers_no_other_poke() {
    let deployment = deployment().await;
    let function = poke_function(&deployment).await;
    let kind = FaultKind::AwsError { status: 429, code: "TooManyRequestsException".into(), message: "no".into() };
    deployment.world.fault(Fault::new("lambda", "Invoke", kind).always());
    assert_eq!(poke(&function, "").await, 502);
    deployment.world.lock().faults.clear();
    assert_eq!(poke(&function, "").await, 200);
    let polls = invoked(&deployment);
    assert_eq!(polls.iter().map(|poll| poll.payload.clone()).collect::<Vec<_>>(), [json!({"poke": true})]);
}

#[tokio::test]
async fn nothing_but_a_poke_with_the_token_is_answered() {
    let deployment = deployment().await;
    let function = poke_function(&deployment).await;
    for (method, path, code) in
        [("GET", "/api/poke", 405), ("PUT", "/api/poke", 405), ("GET", "/api/health", 404), ("POST", "/", 404)]
    {
        assert_eq!(ask(&function, with_token(request(method, path, ""), TOKEN)).await, code, "{method} {path}");
    }
    assert_eq!(ask(&function, request("POST", "/api/poke", "")).await, 403);
    let mut by_iam = request("POST", "/api/poke", "");
    by_iam["requestContext"]["authorizer"] = json!({"iam": {"accountId": "123456789012", "userId": "AIDA"}});
    assert_eq!(ask(&function, by_iam).await, 403, "the token and nothing else opens it");
    for query in ["agent=", "agent=a/b", "agent=etl&agent=other"] {
        assert_eq!(poke(&function, query).await, 400, "{query}");
    }
    assert!(
        function.invoke(json!({"agents": ["etl"]}), DEADLINE).await.unwrap_err().error_message.contains("URL only")
    );
    assert_eq!(invoked(&deployment).len(), 0);
}

#[tokio::test]
async fn a_wrong_token_is_not_looked_up_again_and_no_token_is_ever_said() {
    let deployment = deployment().await;
    let function = poke_function(&deployment).await;
    for wrong in ["", "the-token-of-the-stor", "the-token-of-the-story2", "THE-TOKEN-OF-THE-STORY"] {
        for _ in 0..10 {
            assert_eq!(ask(&function, with_token(request("POST", "/api/poke", ""), wrong)).await, 403, "{wrong}");
        }
    }
    let looked_up = deployment.world.count("ssm", "GetParameter");
    assert!(looked_up <= 2, "{looked_up}");
    assert_eq!(poke(&function, "").await, 200);
    assert!(!function.output().contains(TOKEN), "{}", function.output());
}

#[tokio::test]
async fn a_token_that_cannot_be_read_is_no_wrong_token() {
    let deployment = deployment().await;
    let kind = FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    deployment.world.fault(Fault::new("ssm", "GetParameter", kind).always());
    let function = poke_function(&deployment).await;
    assert_eq!(poke(&function, "").await, 502);
    deployment.world.lock().faults.clear();
    // This function asks again after five seconds.
    assert_eq!(poke(&poke_function(&deployment).await, "").await, 200);
}

#[tokio::test]
async fn a_poll_that_would_wait_for_long_is_refused() {
    let deployment = deployment().await;
    let polling = deployment.poll_function().await;
    let far = (OffsetDateTime::now_utc() + time::Duration::minutes(1)).format(&Rfc3339).unwrap();
    for wrong in [json!(far), json!("soon"), json!(7)] {
        let error = polling.invoke(json!({"not_before": wrong}), DEADLINE).await.unwrap_err();
        assert!(error.error_type == "BadEvent" && error.error_message.contains("not_before"), "{error:?}");
    }
}
