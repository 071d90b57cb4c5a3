//! The world over HTTP: protocols, journal, faults, the control API, containers and the Runtime API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use world::{
    Fault, FaultKind, LambdaOptions, RunningWorld, RuntimeApi, World,
    ecs::{ContainerOptions, Lifecycle},
};

const SIGNATURE: &str = "AWS4-HMAC-SHA256 Credential=AKIAWORLD0000000001/20260101/eu-west-1/any/aws4_request, SignedHeaders=host, Signature=0";

/// One request on a connection of its own; everything that came back, head and body.
async fn raw(world: &RunningWorld, request: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut stream = TcpStream::connect(world.addr()).await.unwrap();
    let mut text =
        format!("{request} HTTP/1.1\r\nhost: world\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

fn split(answer: &str) -> (u16, &str) {
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1)
}

async fn aws(world: &RunningWorld, target: &str, input: &Value) -> (u16, Value) {
    let headers =
        [("x-amz-target", target), ("authorization", SIGNATURE), ("content-type", "application/x-amz-json-1.1")];
    let answer = raw(world, "POST /", &headers, &input.to_string()).await;
    let (status, body) = split(&answer);
    (status, serde_json::from_str(body).unwrap())
}

async fn ssm(world: &RunningWorld, operation: &str, input: &Value) -> (u16, Value) {
    aws(world, &format!("AmazonSSM.{operation}"), input).await
}

async fn form(world: &RunningWorld, body: &str) -> (u16, String) {
    let answer = raw(
        world,
        "POST /",
        &[("authorization", SIGNATURE), ("content-type", "application/x-www-form-urlencoded")],
        body,
    )
    .await;
    let (status, body) = split(&answer);
    (status, body.to_owned())
}

async fn control(world: &RunningWorld, request: &str, input: &Value) -> Value {
    let answer = raw(world, request, &[], &if input.is_null() { String::new() } else { input.to_string() }).await;
    let (status, body) = split(&answer);
    assert_eq!(status, 200, "{request}: {body}");
    serde_json::from_str(body).unwrap()
}

fn put(name: &str) -> Value {
    json!({"Name": name, "Value": "x", "Type": "String", "Overwrite": true})
}

#[tokio::test]
async fn ec2_and_sts_speak_the_query_protocol() {
    let world = World::start().await;
    let (status, vpcs) =
        form(&world, "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=isDefault&Filter.1.Value.1=true").await;
    assert!(status == 200 && vpcs.contains("<vpcId>vpc-default</vpcId>"), "{vpcs}");
    let (_, none) =
        form(&world, "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=isDefault&Filter.1.Value.1=false").await;
    assert!(!none.contains("<item>"), "{none}");
    let (_, subnets) =
        form(&world, "Action=DescribeSubnets&Version=2016-11-15&Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-default")
            .await;
    assert_eq!(subnets.matches("<item>").count(), 3, "{subnets}");
    let (status, error) =
        form(&world, "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Name=colour&Filter.1.Value.1=red").await;
    assert!(status == 400 && error.contains("<Code>InvalidParameterValue</Code>"), "{error}");

    let role = "arn%3Aaws%3Aiam%3A%3A999999999999%3Arole%2Flauncher";
    let (_, assumed) =
        form(&world, &format!("Action=AssumeRole&Version=2011-06-15&RoleArn={role}&RoleSessionName=me")).await;
    assert!(assumed.contains("<Arn>arn:aws:sts::999999999999:assumed-role/launcher/me</Arn>"), "{assumed}");
    let key = world.lock().sts.sessions[0].access_key_id.clone();
    let signed = SIGNATURE.replace("AKIAWORLD0000000001", &key);
    let answer =
        raw(&world, "POST /", &[("authorization", &signed)], "Action=GetCallerIdentity&Version=2011-06-15").await;
    assert!(answer.contains("<Account>999999999999</Account>"), "{answer}");
}

#[tokio::test]
async fn s3_gives_objects_by_path_and_lambda_writes_invocations_down() {
    let world = World::start().await;
    world.lock().s3.put("templates", "a b/task.yaml", "family: x");
    let signed = [("authorization", SIGNATURE)];
    assert_eq!(split(&raw(&world, "GET /templates/a%20b/task.yaml", &signed, "").await), (200, "family: x"));
    let missing = raw(&world, "GET /templates/none", &signed, "").await;
    assert!(split(&missing).0 == 404 && missing.contains("<Code>NoSuchKey</Code>"), "{missing}");
    let invoke = [("authorization", SIGNATURE), ("x-amz-invocation-type", "Event")];
    let answer = raw(&world, "POST /2015-03-31/functions/poll/invocations", &invoke, "{\"n\":1}").await;
    assert_eq!(split(&answer).0, 202);
    let invoked = world.lock().lambda.invocations[0].clone();
    assert_eq!((invoked.function.as_str(), invoked.payload), ("poll", json!({"n": 1})));
}

#[tokio::test]
async fn the_journal_names_every_request() {
    let world = World::start().await;
    ssm(&world, "PutParameter", &put("/a")).await;
    let query = json!({"query": "mutation { a0: write_run_logs(input: {}) { success } a1: write_run_logs(input: {}) { success } me: auth_info { id } }"});
    raw(&world, "POST /prefect1/graphql", &[], &query.to_string()).await;
    let put = &world.requests("ssm", "PutParameter")[0];
    assert_eq!((put.status, put.json()["Name"].as_str()), (Some(200), Some("/a")));
    assert!(put.header("authorization").unwrap().contains("eu-west-1"));
    assert_eq!(world.requests("prefect1", "write_run_logs")[0].operation, "write_run_logs,auth_info");
    assert_eq!(world.count("*", "*"), 2);
    assert_eq!(control(&world, "GET /_world/counts", &Value::Null).await["ssm"]["PutParameter"], 1);
}

#[tokio::test]
async fn parameters_belong_to_the_region_of_the_signature() {
    let world = World::start().await;
    world.put_parameter("/here", "us-east-1");
    assert_eq!(ssm(&world, "GetParameter", &json!({"Name": "/here"})).await.1["__type"], "ParameterNotFound");
    ssm(&world, "PutParameter", &put("/there")).await;
    let (_, there) = ssm(&world, "GetParameter", &json!({"Name": "/there"})).await;
    assert_eq!(there["Parameter"]["ARN"], "arn:aws:ssm:eu-west-1:123456789012:parameter/there");
}

#[tokio::test]
async fn a_dropped_connection_answers_nothing_with_or_without_effect() {
    let world = World::start().await;
    for (kind, versions) in [(FaultKind::DropBefore, 0), (FaultKind::DropAfter, 1)] {
        world.fault(Fault::new("ssm", "PutParameter", kind.clone()));
        let headers = [("x-amz-target", "AmazonSSM.PutParameter")];
        let answer = raw(&world, "POST /", &headers, &put("/a").to_string()).await;
        assert_eq!(answer, "", "{kind:?}");
        assert_eq!(world.parameter("/a").map_or(0, |parameter| parameter.version), versions, "{kind:?}");
        assert_eq!(world.requests("ssm", "*").last().unwrap().status, None, "{kind:?}");
    }
    let answer = raw(&world, "POST /", &[("x-amz-target", "AmazonSSM.PutParameter")], &put("/a").to_string()).await;
    assert_eq!(split(&answer), (200, "{\"Version\":2,\"Tier\":\"Standard\"}"));
}

#[tokio::test]
async fn faults_hit_the_requests_they_count_and_no_others() {
    let world = World::start().await;
    let throttled =
        FaultKind::AwsError { status: 400, code: "ThrottlingException".into(), message: "Rate exceeded".into() };
    world.fault(Fault::new("ssm", "PutParameter", throttled).skip(1).times(2).when_body_contains("/b"));
    let mut seen = Vec::new();
    for name in ["/b", "/a", "/b", "/b", "/a", "/b"] {
        seen.push(ssm(&world, "PutParameter", &put(name)).await.0);
    }
    assert_eq!(seen, [200, 200, 400, 400, 200, 200]);
    assert_eq!(world.lock().faults.waiting().len(), 0);
}

#[tokio::test]
async fn answers_can_be_html_malformed_cut_short_and_late() {
    let world = World::start().await;
    let target = [("x-amz-target", "AmazonSSM.PutParameter")];
    let body = put("/a").to_string();
    control(&world, "POST /_world/fault", &json!({"service": "ssm", "kind": "html", "status": 502})).await;
    let html = raw(&world, "POST /", &target, &body).await;
    assert!(split(&html).0 == 502 && html.contains("<h1>502 Bad Gateway</h1>"), "{html}");
    world.fault(Fault::new("*", "*", FaultKind::MalformedBody));
    let malformed = raw(&world, "POST /", &target, &body).await;
    assert!(split(&malformed).0 == 200 && serde_json::from_str::<Value>(split(&malformed).1).is_err(), "{malformed}");
    world.fault(Fault::new("*", "*", FaultKind::TruncatedBody));
    let cut = raw(&world, "POST /", &target, &body).await;
    assert_eq!(split(&cut), (200, "{\"Version\":2,\"T"), "{cut}");
    world.latency(Duration::from_millis(30));
    world.fault(Fault::new("*", "*", FaultKind::DelayBefore { ms: 30 }));
    world.fault(Fault::new("*", "*", FaultKind::DelayAfter { ms: 30 }));
    let start = Instant::now();
    assert_eq!(split(&raw(&world, "POST /", &target, &body).await).0, 200);
    assert!(start.elapsed() >= Duration::from_millis(90), "{:?}", start.elapsed());
}

/// A Fargate definition whose container runs `command`.
async fn run_container(world: &RunningWorld, command: &str, secrets: &Value) -> String {
    let definition = json!({
        "family": "f", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "executionRoleArn": "arn:aws:iam::123456789012:role/e",
        "containerDefinitions": [{"name": "side", "image": "x"}, {"name": "flow", "image": "x", "command": ["/bin/sh", "-c", command],
            "environment": [{"name": "A", "value": "definition"}, {"name": "B", "value": "definition"}], "secrets": secrets}],
    });
    let (status, answer) = aws(world, "AmazonEC2ContainerServiceV20141113.RegisterTaskDefinition", &definition).await;
    assert_eq!(status, 200, "{answer}");
    let run = json!({"taskDefinition": "f", "launchType": "FARGATE",
        "networkConfiguration": {"awsvpcConfiguration": {"subnets": ["s"]}},
        "overrides": {"containerOverrides": [{"name": "flow", "environment": [{"name": "A", "value": "override"}]}]}});
    let (status, answer) = aws(world, "AmazonEC2ContainerServiceV20141113.RunTask", &run).await;
    assert_eq!(status, 200, "{answer}");
    answer["tasks"][0]["taskArn"].as_str().unwrap().to_owned()
}

async fn stopped(world: &RunningWorld, arn: &str) -> world::ecs::Task {
    let stopped =
        |state: &world::State| state.ecs.tasks.iter().any(|task| task.arn == arn && task.last_status == "STOPPED");
    let in_time = world.wait_until(Duration::from_secs(10), stopped).await;
    let task = world.ecs_tasks().into_iter().find(|task| task.arn == arn).unwrap();
    assert!(in_time, "still {}", task.last_status);
    task
}

#[tokio::test]
async fn containers_run_as_processes_with_overrides_and_secrets() {
    let world = World::start().await;
    world.lock().ecs.options.containers = Some(ContainerOptions::default());
    ssm(&world, "PutParameter", &json!({"Name": "/r/key", "Value": "hush", "Type": "SecureString"})).await;
    let secret = json!([{"name": "K", "valueFrom": "arn:aws:ssm:eu-west-1:123456789012:parameter/r/key"}]);
    let arn = run_container(&world, "echo $A $B $K $HOME; exit 3", &secret).await;
    let task = stopped(&world, &arn).await;
    assert_eq!(task.output, "override definition hush\n");
    assert_eq!(task.containers[1].exit_code, Some(3));
    assert_eq!(task.stop_code.as_deref(), Some("EssentialContainerExited"));

    let missing = json!([{"name": "K", "valueFrom": "/none"}]);
    let arn = run_container(&world, "true", &missing).await;
    let task = stopped(&world, &arn).await;
    assert_eq!(task.stop_code.as_deref(), Some("TaskFailedToStart"));
    assert!(task.stopped_reason.unwrap().starts_with("ResourceInitializationError"));
}

#[tokio::test]
async fn a_container_is_killed_with_all_it_started_when_its_task_is_stopped_or_takes_too_long() {
    let world = World::start().await;
    world.lock().ecs.options.containers = Some(ContainerOptions { max_seconds: 1, ..ContainerOptions::default() });
    // What has a session of its own keeps the output open until it ends.
    let arn = run_container(&world, "setsid sleep 30; echo late", &json!([])).await;
    let start = Instant::now();
    let task = stopped(&world, &arn).await;
    assert_eq!(task.containers[1].exit_code, Some(137), "{task:?}");
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());

    world.lock().ecs.options.containers = Some(ContainerOptions::default());
    let arn = run_container(&world, "sleep 30; echo late", &json!([])).await;
    assert!(
        world
            .wait_until(Duration::from_secs(5), |state| state
                .ecs
                .tasks
                .last()
                .is_some_and(|task| task.last_status == "RUNNING"))
            .await
    );
    aws(&world, "AmazonEC2ContainerServiceV20141113.StopTask", &json!({"task": arn})).await;
    assert_eq!(stopped(&world, &arn).await.stop_code.as_deref(), Some("UserInitiated"));
}

#[tokio::test]
async fn tasks_live_by_themselves_when_asked_to() {
    let world = World::start().await;
    world.lock().ecs.options.lifecycle = Some(Lifecycle { step_ms: 1, run_ms: Some(1) });
    let arn = run_container(&world, "never run", &json!([])).await;
    let task = stopped(&world, &arn).await;
    assert_eq!((task.containers[0].exit_code, task.started_at.is_some()), (Some(0), true));
}

#[tokio::test]
async fn the_control_api_changes_options_and_says_what_it_does_not_know() {
    let world = World::start().await;
    let options = control(&world, "POST /_world/ecs/options", &json!({"client_tokens": false})).await;
    assert_eq!((&options["client_tokens"], &options["reorder_environment"]), (&json!(false), &json!(true)));
    let unknown = raw(&world, "POST /_world/ecs/options", &[], "{\"colour\": 1}").await;
    assert_eq!(split(&unknown), (400, "{\"error\":\"no such option: colour\"}"));
    control(
        &world,
        "POST /_world/ssm",
        &json!([{"name": "/a", "value": "x"}, {"name": "/b", "value": "y", "type": "SecureString"}]),
    )
    .await;
    assert_eq!(world.parameter("/b").unwrap().kind, "SecureString");
    control(&world, "POST /_world/reset", &Value::Null).await;
    assert!(world.parameter("/b").is_none() && !world.lock().ecs.options.client_tokens);
}

/// One request of a function to its Runtime API; everything that came back.
async fn runtime(api: &RuntimeApi, request: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(api.address()).await.unwrap();
    let text =
        format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_runtime_api_hands_out_events_and_takes_answers_and_errors() {
    let api = RuntimeApi::start().await.unwrap();
    for (path, body, expected) in [
        ("response", "{\"ok\":true}", Ok(json!({"ok": true}))),
        (
            "error",
            "{\"errorType\":\"PollFailed\",\"errorMessage\":\"why\"}",
            Err(world::InvokeError::new("PollFailed", "why")),
        ),
    ] {
        let function = async {
            let next = runtime(&api, "GET /2018-06-01/runtime/invocation/next", "").await;
            assert_eq!(split(&next), (200, "{\"n\":1}"));
            let header = |name: &str| {
                next.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name} in {next}"))
            };
            assert!(header("lambda-runtime-deadline-ms: ").parse::<u64>().unwrap() > 1_700_000_000_000);
            let id = header("lambda-runtime-aws-request-id: ");
            runtime(&api, &format!("POST /2018-06-01/runtime/invocation/{id}/{path}"), body).await
        };
        let (answer, accepted) = tokio::join!(api.invoke(json!({"n": 1}), Duration::from_secs(5)), function);
        assert_eq!(answer, expected);
        assert_eq!(split(&accepted).0, 202);
    }
    assert!(api.ready(Duration::ZERO).await.is_some());
    runtime(&api, "POST /2018-06-01/runtime/init/error", "{\"errorType\":\"Init\",\"errorMessage\":\"no\"}").await;
    assert_eq!(api.invoke(json!({}), Duration::from_secs(5)).await, Err(world::InvokeError::new("Init", "no")));
}

#[tokio::test]
async fn a_function_process_that_ends_early_is_reported_with_its_output() {
    let world = World::start().await;
    let process = LambdaOptions::new("/bin/ls", &world.url()).env("LC_ALL", "C").start().await.unwrap();
    let error = process.invoke(json!({}), Duration::from_secs(10)).await.unwrap_err();
    assert_eq!(error.error_type, "Runtime.ExitError");
    assert!(error.error_message.contains("Cargo.toml"), "{error:?}");
    assert!(process.exited().is_some_and(|status| status.success()) && process.pid().is_none());
    let missing = LambdaOptions::new("/no/such/binary", &world.url()).start().await.err().unwrap();
    assert!(missing.to_string().starts_with("/no/such/binary cannot be started"), "{missing}");
}

#[tokio::test]
async fn prefect3_meets_the_same_faults_as_the_others() {
    let world = World::start().await;
    let id = world.prefect3_run(world::prefect3::RunSpec::default());
    let set_state = format!("POST /prefect3/api/flow_runs/{id}/set_state");
    let pending = json!({"state": {"type": "PENDING"}}).to_string();
    let state = || world.prefect3_flow_run(&id).unwrap().state_name().to_owned();
    for (kind, expected) in [(FaultKind::DropBefore, "Scheduled"), (FaultKind::DropAfter, "Pending")] {
        world.fault(Fault::new("prefect3", "set_state", kind).when_body_contains("PENDING"));
        assert_eq!(raw(&world, &set_state, &[], &pending).await, "");
        assert_eq!(state(), expected);
    }
    world.fault(Fault::new("prefect3", "flow_runs/filter", FaultKind::Html { status: 503 }));
    let filter = "POST /prefect3/api/flow_runs/filter";
    let answer = raw(&world, filter, &[], "{}").await;
    assert!(split(&answer).0 == 503 && answer.contains("<html>"), "{answer}");
    assert_eq!(split(&raw(&world, filter, &[], "{}").await).0, 200);
    let counts = control(&world, "GET /_world/counts", &Value::Null).await;
    assert_eq!(counts["prefect3"], json!({"set_state": 2, "flow_runs/filter": 2}));
    let runs = control(&world, "GET /_world/prefect3/runs", &Value::Null).await;
    assert_eq!((&runs[0]["id"], &runs[0]["state_name"]), (&json!(id), &json!("Pending")));
    assert!(world.prefect3_cloud_url().starts_with(&format!("{}/accounts/", world.prefect3_url())));
}

#[tokio::test]
async fn there_are_no_queues() {
    let world = World::start().await;
    let answer = raw(&world, "POST /", &[("x-amz-target", "AmazonSQS.GetQueueUrl")], "{\"QueueName\": \"q\"}").await;
    let told =
        (split(&answer).0, answer.contains("x-amzn-query-error: AWS.SimpleQueueService.NonExistentQueue;Sender"));
    assert_eq!(told, (400, true), "{answer}");
}
