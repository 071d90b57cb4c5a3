//! The `health` function: tells the truth about every agent, and passes pokes on.

use crate::support::{DEADLINE, Deployment, ROOT, agent, ids, labels};
use serde_json::{Value, json};
use world::LambdaProcess;
use world::prefect1::FlowRunSpec;
use world::route::Scope;
use world::ssm::Put;

/// A `health` function that knows which function to poke, and says all that it can.
pub(crate) async fn health_function(deployment: &Deployment) -> LambdaProcess {
    let options = deployment.options("health").env("POLL_FUNCTION_NAME", "world-poll");
    options.env("RUST_LOG", "trace").start().await.unwrap()
}

/// What API Gateway's payload format 2.0 says of a request.
pub(crate) fn request(method: &str, path: &str) -> Value {
    json!({
        "version": "2.0", "rawPath": path, "rawQueryString": "", "headers": {"host": "example.lambda-url"},
        "isBase64Encoded": false,
        "requestContext": {"http": {"method": method, "path": path, "protocol": "HTTP/1.1"}},
    })
}

pub(crate) fn by_iam(mut event: Value) -> Value {
    event["requestContext"]["authorizer"] = json!({"iam": {"accountId": "123456789012", "userId": "AIDA"}});
    event
}

pub(crate) fn with_token(mut event: Value, token: &str) -> Value {
    event["headers"]["authorization"] = json!(format!("Bearer {token}"));
    event
}

async fn ask(function: &LambdaProcess, event: Value) -> Value {
    let answer = function.invoke(event, DEADLINE).await.unwrap();
    assert_eq!(answer["isBase64Encoded"], false, "{answer}");
    assert_eq!(answer["cookies"], json!([]), "{answer}");
    assert!(answer["headers"]["content-type"].is_string(), "{answer}");
    answer
}

/// Status code and body of the health page, for whoever signs.
pub(crate) async fn health(deployment: &Deployment) -> (Value, Value) {
    let function = health_function(deployment).await;
    let answer = ask(&function, by_iam(request("GET", "/api/health"))).await;
    let body = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    (answer["statusCode"].clone(), body)
}

/// An agent whose configuration was written two hours ago.
fn old_agent(deployment: &Deployment, name: &str, extra: Value) {
    let mut config = json!({"prefect": 1, "api": deployment.world.prefect1_url()});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    let (name, value) = (format!("{ROOT}/config/{name}"), config.to_string());
    let put = Put { name: &name, value: &value, kind: Some("String"), tier: None, overwrite: true };
    let mut state = deployment.world.lock();
    let then = state.now() - time::Duration::hours(2);
    state.ssm.put(&Scope::default(), &put, then).unwrap();
}

#[tokio::test]
async fn a_new_agent_is_starting_and_after_its_first_poll_ok() {
    let deployment = Deployment::with_agent(json!({})).await;
    let (code, body) = health(&deployment).await;
    assert_eq!((code, &body["status"]), (json!(200), &json!("ok")), "{body:#}");
    let unknown = json!({"status": "starting", "last_poll": null, "last_success": null, "polls": 0, "error": null});
    assert_eq!(body["agents"]["etl"], unknown);

    deployment.poll().await;
    let (code, body) = health(&deployment).await;
    let etl = &body["agents"]["etl"];
    assert_eq!((code, &etl["status"], &etl["polls"]), (json!(200), &json!("ok"), &json!(1)), "{body:#}");
    assert!(etl["last_poll"].is_string() && etl["last_poll"] == etl["last_success"], "{body:#}");
}

#[tokio::test]
async fn every_agent_is_told_for_itself_and_one_failing_fails_the_page() {
    let deployment = Deployment::empty().await;
    deployment.agent("fine", json!({}));
    deployment.agent("off", json!({"enabled": false}));
    deployment.agent("done", json!({"max_polls": 1}));
    let function = deployment.poll_function().await;
    function.invoke(json!({}), DEADLINE).await.unwrap();
    let (code, body) = health(&deployment).await;
    let status = |name: &str| body["agents"][name]["status"].clone();
    assert_eq!((status("fine"), status("off"), status("done")), (json!("ok"), json!("disabled"), json!("stopped")));
    assert_eq!((code, &body["status"]), (json!(200), &json!("ok")), "{body:#}");

    old_agent(&deployment, "never-polled", json!({}));
    let (code, body) = health(&deployment).await;
    assert_eq!((code, &body["status"]), (json!(503), &json!("failing")));
    assert_eq!(body["agents"]["never-polled"]["status"], "failing", "{body:#}");
    assert_eq!(body["agents"]["fine"]["status"], "ok", "{body:#}");
}

#[tokio::test]
async fn a_last_success_too_long_ago_is_failing() {
    let deployment = Deployment::with_agent(json!({"poll_interval_seconds": 1, "prefetch_seconds": 0})).await;
    deployment.poll().await;
    assert_eq!(health(&deployment).await.0, 200);
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    let (code, body) = health(&deployment).await;
    assert_eq!((code, &body["agents"]["etl"]["status"]), (json!(503), &json!("failing")), "{body:#}");
}

#[tokio::test]
async fn trouble_is_told_by_its_kind_and_never_by_its_text() {
    let deployment = Deployment::empty().await;
    old_agent(&deployment, "refused", json!({}));
    deployment.secret("refused", "api-key", "an-unknown-key");
    old_agent(&deployment, "wrong", json!({"lables": ["prod"]}));
    deployment.poll_fails().await;
    let (code, body) = health(&deployment).await;
    assert_eq!(code, 503);
    let error = |name: &str| (body["agents"][name]["status"].clone(), body["agents"][name]["error"].clone());
    assert_eq!(error("refused"), (json!("failing"), json!("unauthorised")), "{body:#}");
    assert_eq!(error("wrong"), (json!("failing"), json!("configuration")), "{body:#}");
    assert!(!body.to_string().contains("lables") && !body.to_string().contains("an-unknown-key"), "{body:#}");
}

#[tokio::test]
async fn a_deployment_without_agents_is_failing() {
    let deployment = Deployment::empty().await;
    let (code, body) = health(&deployment).await;
    assert_eq!((code, body), (json!(503), json!({"status": "failing", "agents": {}})));
}

#[tokio::test]
async fn other_methods_and_paths_are_answered_as_the_python_agent_does() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = health_function(&deployment).await;
    for (method, path, code) in
        [("POST", "/api/health", 405), ("DELETE", "/api/poke", 405), ("PUT", "/", 405), ("GET", "/api", 404)]
    {
        assert_eq!(ask(&function, request(method, path)).await["statusCode"], code, "{method} {path}");
    }
}

fn invocations(deployment: &Deployment) -> usize {
    deployment.world.lock().lambda.invocations.len()
}

#[tokio::test]
async fn a_poke_by_iam_wakes_the_poll_function_which_then_polls() {
    let deployment = Deployment::with_agent(json!({"labels": ["prod"]})).await;
    let run = deployment.schedule(FlowRunSpec { labels: labels(&["prod"]), ..FlowRunSpec::default() });
    let function = health_function(&deployment).await;
    for method in ["GET", "POST"] {
        let answer = ask(&function, by_iam(request(method, "/api/poke"))).await;
        assert_eq!((&answer["statusCode"], &answer["body"]), (&json!(200), &json!("")), "{answer}");
    }
    let invoked = deployment.world.lock().lambda.invocations.clone();
    assert_eq!(invoked.len(), 2);
    assert_eq!((invoked[0].function.as_str(), invoked[0].invocation_type.as_str()), ("world-poll", "Event"));

    let polling = deployment.poll_function().await;
    let answers = deployment.world.deliver_invocations(&polling, DEADLINE).await;
    assert_eq!(ids(agent(answers[0].as_ref().unwrap(), "etl"), "launched"), [run]);
}

#[tokio::test]
async fn pokes_at_the_health_url_name_their_agent_and_are_coalesced_as_at_their_own() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = health_function(&deployment).await;
    let poke = |query: &str| {
        let mut event = by_iam(request("POST", "/api/poke"));
        event["rawQueryString"] = json!(query);
        event
    };
    assert_eq!(ask(&function, poke("agent=a/b")).await["statusCode"], 400);
    let began = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(ask(&function, poke("agent=etl")).await["statusCode"], 200);
    }
    let polls = deployment.world.lock().lambda.invocations.clone();
    assert_eq!(polls[0].payload, json!({"poke": true, "agents": ["etl"]}));
    let most = 2 + usize::try_from(began.elapsed().as_secs()).unwrap() * 2;
    assert!(polls.len() <= most && polls[1].payload["not_before"].is_string(), "{polls:?}");
}

#[tokio::test]
async fn a_poke_by_token_needs_the_right_one() {
    let deployment = Deployment::with_agent(json!({})).await;
    let function = health_function(&deployment).await;
    let poke = |token: &str| with_token(request("POST", "/api/poke"), token);
    assert_eq!(ask(&function, poke("s3cret")).await["statusCode"], 403, "no token is configured");

    // What was read a moment ago holds for ten seconds.
    deployment.world.put_secret(&format!("{ROOT}/secrets/poke-token"), "s3cret");
    let function = health_function(&deployment).await;
    assert_eq!(ask(&function, request("POST", "/api/poke")).await["statusCode"], 403, "none is shown");
    for wrong in ["", "s3cre", "s3cret2", "S3CRET"] {
        assert_eq!(ask(&function, poke(wrong)).await["statusCode"], 403, "{wrong:?}");
    }
    assert_eq!(invocations(&deployment), 0);
    assert_eq!(ask(&function, poke("s3cret")).await["statusCode"], 200);
    assert_eq!(invocations(&deployment), 1);
    assert!(!function.output().contains("s3cret"), "{}", function.output());
}

#[tokio::test]
async fn however_many_ask_parameter_store_is_read_once_in_ten_seconds() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.world.put_secret(&format!("{ROOT}/secrets/poke-token"), "s3cret");
    let function = health_function(&deployment).await;
    let before = deployment.world.count("ssm", "*");
    let began = std::time::Instant::now();
    for stranger in 0..1000 {
        let event = match stranger % 4 {
            0 => with_token(request("POST", "/api/poke"), &format!("guess {stranger}")),
            1 => request("POST", "/api/poke"),
            _ => request("GET", "/api/health"),
        };
        ask(&function, event).await;
    }
    let refreshes = 1 + usize::try_from(began.elapsed().as_secs() / 10).unwrap();
    let asked = deployment.world.count("ssm", "*") - before;
    // The configuration and the states of the agents, and the token.
    assert!(asked <= 3 * refreshes, "{asked} requests for {refreshes} refreshes");
    assert_eq!(invocations(&deployment), 0);
}

#[tokio::test]
async fn a_poke_that_wakes_nobody_says_so() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.world.lock().lambda.functions = vec!["another".into()];
    let function = health_function(&deployment).await;
    assert_eq!(ask(&function, by_iam(request("GET", "/api/poke"))).await["statusCode"], 502);
}

#[tokio::test]
async fn health_without_parameter_store_is_failing() {
    let deployment = Deployment::with_agent(json!({})).await;
    let denied = world::FaultKind::AwsError {
        status: 400,
        code: "AccessDeniedException".into(),
        message: "not authorized to perform ssm:GetParametersByPath".into(),
    };
    deployment.world.fault(world::Fault::new("ssm", "*", denied).always());
    let (code, body) = health(&deployment).await;
    assert_eq!((code, &body["status"]), (json!(503), &json!("failing")), "{body:#}");
    assert!(!body.to_string().contains("authorized"), "kinds, never texts: {body:#}");
}
