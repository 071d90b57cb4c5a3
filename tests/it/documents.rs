//! Task definitions and keyword arguments that lie elsewhere: S3, Parameter Store, HTTP.

use crate::support::{DEADLINE, Deployment, ROOT, agent, ids, poll, report_in};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use world::prefect1::FlowRunSpec;
use world::{Fault, FaultKind};

/// A task definition, in YAML, whose container has this image.
fn template(image: &str) -> String {
    format!("networkMode: awsvpc\ncpu: 1024\nmemory: 2048\ncontainerDefinitions:\n- name: flow\n  image: {image}\n")
}

/// Image of the container `flow` of the only definition.
fn image(deployment: &Deployment) -> Value {
    let state = deployment.world.lock();
    assert_eq!(state.ecs.definitions.len(), 1);
    state.ecs.definitions[0].container("flow").unwrap()["image"].clone()
}

fn put_object(deployment: &Deployment, key: &str, body: &str) {
    deployment.world.lock().s3.put("bucket", key, body);
}

/// Answers one HTTP request with `body`; the address.
async fn serve_once(body: String) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/definition.yaml", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request).await.unwrap();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    address
}

async fn launches(deployment: &Deployment) {
    let run = deployment.schedule(FlowRunSpec::default());
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
}

#[tokio::test]
async fn the_agents_definition_may_lie_in_s3() {
    let deployment = Deployment::with_agent(json!({"task_definition_path": "s3://bucket/team a/flow+1.yaml"})).await;
    put_object(&deployment, "team a/flow+1.yaml", &template("from-s3"));
    launches(&deployment).await;
    assert_eq!(image(&deployment), "from-s3");
}

#[tokio::test]
async fn the_agents_definition_may_lie_in_parameter_store() {
    let deployment = Deployment::with_agent(json!({"task_definition_path": "ssm://shared/definition"})).await;
    let padding = format!("# {}\n", "x".repeat(5000));
    deployment.world.put_parameter("/shared/definition", &(padding + &template("from-ssm")));
    launches(&deployment).await;
    assert_eq!(image(&deployment), "from-ssm");
}

#[tokio::test]
async fn the_agents_definition_may_lie_behind_an_address() {
    let path = serve_once(template("from-http")).await;
    let deployment = Deployment::with_agent(json!({"task_definition_path": path})).await;
    launches(&deployment).await;
    assert_eq!(image(&deployment), "from-http");
}

#[tokio::test]
async fn keyword_arguments_may_lie_elsewhere() {
    let deployment = Deployment::with_agent(json!({"run_task_kwargs_path": "s3://bucket/kwargs.json"})).await;
    put_object(&deployment, "kwargs.json", r#"{"enableExecuteCommand": true, "platformVersion": "1.4.0"}"#);
    launches(&deployment).await;
    let request = &deployment.world.ecs_tasks()[0].request;
    assert_eq!((&request["enableExecuteCommand"], &request["platformVersion"]), (&json!(true), &json!("1.4.0")));
}

#[tokio::test]
async fn a_runs_own_definition_may_lie_in_s3() {
    let deployment = Deployment::with_agent(json!({})).await;
    put_object(&deployment, "run.yaml", &template("of-the-run"));
    let run_config = json!({"type": "ECSRun", "task_definition_path": "s3://bucket/run.yaml", "__version__": "1.4.1"});
    let missing = json!({"type": "ECSRun", "task_definition_path": "s3://bucket/none.yaml", "__version__": "1.4.1"});
    let run = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let bad = deployment.schedule(FlowRunSpec { run_config: missing, ..FlowRunSpec::default() });
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!((ids(etl, "launched"), ids(etl, "failed")), (vec![run], vec![bad.clone()]), "{report:#}");
    assert_eq!(image(&deployment), "of-the-run");
    let run = deployment.world.flow_run(&bad).unwrap();
    assert!(run.current().unwrap().message().unwrap().contains("s3://bucket/none.yaml"));
}

/// Whoever may create a run would else read with it whatever the functions may read.
#[tokio::test]
async fn a_run_reads_neither_other_agents_keys_nor_what_only_the_functions_reach() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.world.put_secret(&format!("{ROOT}/secrets/other/api-key"), "pnu_of-another-agent");
    deployment.world.put_parameter(&format!("{ROOT}/files/flow"), &template("of-the-deployment"));
    let here = serve_once(template("from-http")).await;
    let paths = [
        format!("ssm:/{ROOT}/secrets/other/api-key"),
        format!("ssm://arn:aws:ssm:us-east-1:123456789012:parameter{ROOT}/secrets/other/api-key"),
        here.clone(),
        here.replace("127.0.0.1", "localhost"),
        here.replace("127.0.0.1", "2130706433"),
        "http://169.254.169.254/latest/meta-data/?token=sesame".to_owned(),
    ];
    let asking = |path: &str| {
        let run_config = json!({"type": "ECSRun", "task_definition_path": path, "__version__": "1.4.1"});
        deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() })
    };
    let refused: Vec<String> = paths.iter().map(|path| asking(path)).collect();
    let good = asking(&format!("ssm:/{ROOT}/files/flow"));
    let report = deployment.poll().await;
    let etl = agent(&report, "etl");
    assert_eq!(ids(etl, "launched"), [good], "{report:#}");
    assert_eq!(ids(etl, "failed").len(), refused.len(), "{report:#}");
    for (run, path) in refused.iter().zip(&paths) {
        let run = deployment.world.flow_run(run).unwrap();
        let message = run.current().unwrap().message().unwrap().to_owned();
        let why = if path.contains("localhost") { "`allowed_hosts`" } else { "a run may not name " };
        assert!(message.contains(why) && !message.contains("sesame"), "{path}: {message}");
    }
    let asked = deployment.world.requests("ssm", "GetParameter");
    assert!(asked.iter().all(|request| !request.body.contains("/secrets/other")), "{asked:?}");

    // What the configuration names may be asked, wherever it lies.
    deployment.configure("etl", &{
        let api = deployment.world.prefect1_url();
        json!({"api": api, "allowed_hosts": ["127.0.0.1"]}).to_string()
    });
    let run = asking(&here);
    let report = deployment.poll().await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
}

#[tokio::test]
async fn a_runs_definition_that_cannot_be_read_just_now_is_tried_again() {
    let deployment = Deployment::with_agent(json!({})).await;
    put_object(&deployment, "run.yaml", &template("of-the-run"));
    deployment.world.fault(Fault::new("s3", "GetObject", FaultKind::Html { status: 503 }).always());
    let run_config = json!({"type": "ECSRun", "task_definition_path": "s3://bucket/run.yaml", "__version__": "1.4.1"});
    let run = deployment.schedule(FlowRunSpec { run_config, ..FlowRunSpec::default() });
    let function = deployment.poll_function().await;
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "deferred"), std::slice::from_ref(&run), "{report:#}");
    assert_eq!(deployment.state_of(&run), "Scheduled", "it was not even claimed");
    deployment.world.lock().faults.clear();
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run]);
}

#[tokio::test]
async fn an_agents_definition_that_is_missing_is_the_agents_trouble() {
    let deployment = Deployment::with_agent(json!({"task_definition_path": "s3://bucket/none.yaml"})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let function = deployment.poll_function().await;
    let error = function.invoke(json!({}), DEADLINE).await.unwrap_err();
    let report = report_in(&error);
    let message = agent(&report, "etl")["error"].as_str().unwrap();
    assert!(message.contains("task_definition_path") && message.contains("s3://bucket/none.yaml"), "{message}");
    assert_eq!(deployment.state_of(&run), "Scheduled");

    put_object(&deployment, "none.yaml", &template("late"));
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "the warm function tries again");
}
