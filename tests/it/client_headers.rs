//! `PREFECT_CLIENT_CUSTOM_HEADERS`: on every request to Prefect, and nowhere to be seen.

use crate::command::process::{agent as agent_command, end};
use crate::prefect::Prefect;
use crate::support::{DEADLINE, Deployment, ROOT, agent, ids, poll, report_in};
use serde_json::{Value, json};
use world::prefect3::{DeploymentSpec, POOL, RunSpec};
use world::{Fault, FaultKind};

const ID: &str = "b7c1-client-id.access";
const SECRET: &str = "Very5ecretHeader";
const OWN: &str = "arn:aws:iam::123456789012:role/prefect-serverless-agent/psa/test/execution";

fn headers() -> String {
    json!({"CF-Access-Client-Id": ID, "CF-Access-Client-Secret": SECRET}).to_string()
}

/// Requests to Prefect, and those of them that carry the headers.
fn carrying(deployment: &Deployment, service: &str) -> (usize, usize) {
    let requests = deployment.world.requests(service, "*");
    let carries = |request: &world::Request| {
        let has = |name: &str, value: &str| request.headers.iter().any(|(n, v)| n == name && v == value);
        has("cf-access-client-id", ID) && has("cf-access-client-secret", SECRET)
    };
    (requests.len(), requests.iter().filter(|request| carries(request)).count())
}

/// An agent of Prefect 3, or of 2, and a deployment with runs.
async fn of_pool(prefect: u8, extra: Value) -> Deployment {
    let deployment = Deployment::empty().await;
    deployment.world.prefect3_deployment(DeploymentSpec::default());
    let api = deployment.world.prefect3_url();
    let mut config = json!({"prefect": prefect, "api": api, "work_pool": POOL, "launch_rate": null});
    config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    deployment.configure("etl", &config.to_string());
    deployment
}

fn run_with(deployment: &Deployment, job_variables: Value) -> String {
    let job_variables = job_variables.as_object().unwrap().clone();
    deployment.world.prefect3_run(RunSpec { job_variables, ..RunSpec::default() })
}

fn variable(deployment: &Deployment, name: &str) -> Option<String> {
    let task = deployment.world.ecs_tasks().pop().expect("no task");
    let entries = task.request["overrides"]["containerOverrides"][0]["environment"].as_array().cloned();
    let entry = entries.unwrap_or_default().into_iter().find(|entry| entry["name"] == name)?;
    entry["value"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn every_request_to_prefect_carries_them_and_the_parameter_beats_the_environment() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        deployment.secret("etl", "client-headers", &headers());
        let run = prefect.due_run(&deployment.world);
        let other = json!({"CF-Access-Client-Id": "another-one"}).to_string();
        let function = deployment.options("poll").env("PREFECT_CLIENT_CUSTOM_HEADERS", &other).start().await.unwrap();
        let report = poll(&function).await;
        assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{prefect:?}: {report:#}");
        let (all, carrying) = carrying(&deployment, prefect.service());
        assert!(all >= 3 && all == carrying, "{prefect:?}: {carrying} of {all}");
        let others = |service: &str| deployment.world.requests(service, "*");
        for request in ["ecs", "ec2", "ssm"].into_iter().flat_map(others) {
            assert!(request.headers.iter().all(|(name, _)| !name.starts_with("cf-access")), "{}", request.service);
        }
    }
}

#[tokio::test]
async fn from_the_environment_they_go_with_what_task_events_tells_too_and_past_csrf() {
    let deployment = of_pool(3, json!({})).await;
    deployment.world.prefect3(|prefect3| prefect3.switches.csrf = true);
    let run = run_with(&deployment, json!({}));
    let env = ("PREFECT_CLIENT_CUSTOM_HEADERS", headers());
    let function = deployment.options("poll").env(env.0, &env.1).start().await.unwrap();
    let report = poll(&function).await;
    assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
    assert!(deployment.world.count("prefect3", "csrf-token") > 0);
    let watch = deployment.options("task-events").env(env.0, &env.1).start().await.unwrap();
    let task = deployment.world.ecs_tasks()[0].arn.clone();
    deployment.world.ecs_stop(&task, &world::ecs::Stop::exited(1));
    let before = carrying(&deployment, "prefect3").0;
    watch.invoke(deployment.world.task_event(&task), DEADLINE).await.unwrap();
    let (all, carrying) = carrying(&deployment, "prefect3");
    assert!(all > before && all == carrying, "{carrying} of {all}");
}

#[tokio::test]
async fn flow_runs_of_prefect_3_get_them_as_they_get_the_key_and_those_of_prefect_2_do_not() {
    const NAME: &str = "PREFECT_CLIENT_CUSTOM_HEADERS";
    let arn = format!("arn:aws:ssm:us-east-1:123456789012:parameter{ROOT}/secrets/etl/client-headers");
    for (generation, delivery, role) in
        [(3, "auto", OWN), (3, "environment", OWN), (3, "auto", "ecsTaskExecutionRole"), (2, "environment", OWN)]
    {
        let deployment = of_pool(generation, json!({"api_key_delivery": delivery})).await;
        deployment.secret("etl", "client-headers", &headers());
        let run = run_with(&deployment, json!({"execution_role_arn": role}));
        let report = deployment.poll().await;
        assert_eq!(ids(agent(&report, "etl"), "launched"), [run], "{report:#}");
        let (all, carrying) = carrying(&deployment, "prefect3");
        assert_eq!(all, carrying, "our own requests carry them for Prefect {generation}");
        let secrets = {
            let state = deployment.world.lock();
            state.ecs.definitions[0].description["containerDefinitions"][0]["secrets"].clone()
        };
        if (generation, delivery, role) == (3, "auto", OWN) {
            assert_eq!((variable(&deployment, NAME), secrets), (None, json!([{"name": NAME, "valueFrom": arn}])));
        } else {
            let sent = (generation == 3).then(headers);
            assert_eq!((variable(&deployment, NAME), secrets), (sent, Value::Null), "{generation} {delivery} {role}");
        }
    }
}

#[tokio::test]
async fn they_are_seen_in_no_report_log_error_or_parameter() {
    let html = FaultKind::Html { status: 502 };
    let echo = FaultKind::Status {
        status: 400,
        body:
            json!({"errors": [{"message": format!("bad header {SECRET}")}], "detail": format!("bad header {SECRET}")})
                .to_string(),
        content_type: "application/json".into(),
    };
    for prefect in Prefect::BOTH {
        for kind in [None, Some(html.clone()), Some(echo.clone()), Some(FaultKind::DropBefore)] {
            let deployment = prefect.deployment(json!({"api_key_delivery": "environment"})).await;
            deployment.secret("etl", "client-headers", &headers());
            prefect.due_run(&deployment.world);
            if let Some(kind) = &kind {
                deployment.world.fault(Fault::new(prefect.service(), "*", kind.clone()).always());
            }
            let function = deployment.options("poll").env("RUST_LOG", "trace").start().await.unwrap();
            let told = match function.invoke(json!({}), DEADLINE).await {
                Ok(report) => report.to_string(),
                Err(error) => report_in(&error).to_string(),
            };
            let told = format!("{told}\n{}\n{}", function.output(), deployment.status("etl"));
            for secret in [ID, SECRET, "5ecretHeader"] {
                let line = told.lines().find(|line| line.contains(secret));
                assert_eq!(line, None, "{prefect:?} {kind:?}: {secret}");
            }
        }
    }
}

#[tokio::test]
async fn headers_that_cannot_be_are_a_wrong_configuration_that_tells_no_value() {
    for prefect in Prefect::BOTH {
        for (text, said) in [
            (format!("{{\"CF-Access-Client-Secret\": {SECRET}"), "no JSON"),
            (json!([SECRET]).to_string(), "a list"),
            (json!({"USER-agent": SECRET}).to_string(), "user-agent"),
            (json!({"prefect-CSRF-token": SECRET}).to_string(), "prefect-csrf-token"),
            (json!({"X-A": format!("{SECRET}\n")}).to_string(), "x-a"),
        ] {
            let deployment = prefect.deployment(json!({})).await;
            deployment.secret("etl", "client-headers", &text);
            let function = deployment.options("poll").env("RUST_LOG", "trace").start().await.unwrap();
            let error = function.invoke(json!({}), DEADLINE).await.expect_err("accepted");
            let report = report_in(&error);
            let etl = agent(&report, "etl");
            assert_eq!(etl["error_kind"], "configuration", "{report:#}");
            let message = etl["error"].as_str().unwrap();
            let place = format!("{ROOT}/secrets/etl/client-headers");
            assert!(message.contains(said) && message.contains(&place), "{said}: {message}");
            let told = format!("{report}\n{}", function.output());
            assert!(!told.contains(SECRET), "{told}");
            assert_eq!(carrying(&deployment, prefect.service()).0, 0, "nothing is asked of Prefect");
        }
    }
}

#[tokio::test]
async fn a_dry_run_shows_that_they_are_sent_and_not_what_they_are() {
    let deployment = of_pool(3, json!({"api_key_delivery": "environment"})).await;
    deployment.secret("etl", "client-headers", &headers());
    run_with(&deployment, json!({"env": {"COPY": format!("x-{SECRET}")}}));
    for format in ["--json", ""] {
        let ended = end(agent_command(&deployment, &format!("poll --root {ROOT} --dry-run {format}"))).await.well();
        let told = format!("{}\n{}", ended.stdout, ended.stderr);
        assert!(told.contains("PREFECT_CLIENT_CUSTOM_HEADERS") && told.contains("x-[redacted]"), "{told}");
        for secret in [ID, SECRET] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
    }
}
