//! The long-lived loop: counts, pauses, wakes, ends.

use super::process::{LIMIT, Running, agent, end, request};
use crate::support::{Deployment, KEY, ROOT};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use world::prefect1::FlowRunSpec;
use world::{Fault, FaultKind};

/// The next look at the due runs is answered with "too many requests": the loop then waits as long as it ever does.
fn throttle(deployment: &Deployment) {
    let kind = FaultKind::Status { status: 429, body: "slow down".to_owned(), content_type: "text/plain".to_owned() };
    deployment.world.fault(Fault::new("prefect1", "flow_run", kind));
}

fn looks(deployment: &Deployment) -> usize {
    deployment.world.count("prefect1", "flow_run")
}

async fn launch_sent(deployment: &Deployment) -> bool {
    deployment.world.wait_until(LIMIT, |state| state.journal.matching("ecs", "RunTask").len() == 1).await
}

#[tokio::test]
async fn max_polls_is_exact_and_ends_the_loop_well() {
    let deployment = Deployment::with_agent(json!({"max_polls": 1})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let started = Instant::now();
    let line = format!("start --root {ROOT} --max-polls 3 --json");
    let ended = end(agent(&deployment, &line)).await.well();
    assert_eq!((looks(&deployment), deployment.world.count("prefect1", "get_runs_in_queue")), (3, 3), "{ended:?}");
    assert_eq!(deployment.world.parameter(&format!("{ROOT}/state/etl/polls")).unwrap().version, 3);
    let reports: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let launched: Vec<_> = reports.iter().map(|report| report["agents"]["etl"]["launched"].clone()).collect();
    assert_eq!(launched[0][0]["flow_run_id"], json!(run), "{ended:?}");
    assert_eq!(launched[1..], [json!([]), json!([])]);
    assert!(started.elapsed() >= Duration::from_millis(750), "pauses of 0.25 and 0.5 s: {:?}", started.elapsed());
    let again = end(agent(&deployment, &line)).await.well();
    assert_eq!(looks(&deployment), 3, "the count is kept in Parameter Store: {again:?}");
}

#[tokio::test]
async fn without_a_root_the_polls_are_counted_in_the_process() {
    let deployment = Deployment::empty().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    std::fs::write(&file, format!("prefect: 1\napi: {}\nmax_polls: 2\n", deployment.world.prefect1_url())).unwrap();
    for polls in [2, 4] {
        let mut command = agent(&deployment, &format!("start --config {}", file.display()));
        command.env("PREFECT__CLOUD__API_KEY", KEY);
        end(command).await.well();
        assert_eq!(looks(&deployment), polls);
    }
    assert_eq!(deployment.world.count("ssm", "*"), 0);
}

#[tokio::test]
async fn an_outage_does_not_end_the_loop_and_a_poke_wakes_it() {
    let deployment = Deployment::with_agent(json!({})).await;
    throttle(&deployment);
    let line = format!("start --root {ROOT} --agent-address http://127.0.0.1:0");
    let mut running = Running::start(agent(&deployment, &line));
    let serving = running.says("serving http://").await;
    let address = serving.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    running.says("the poll failed").await;
    let (status, health) = request(&address, "GET", "/api/health").await;
    assert!(status == 503 && health.contains(r#""error":"throttled""#), "{health}");
    let run = deployment.schedule(FlowRunSpec::default());
    let (status, poked) = request(&address, "GET", "/api/poke").await;
    assert!(status == 200 && poked.ends_with("\r\n\r\n") && poked.contains("text/html"), "{poked}");
    let poked = Instant::now();
    assert!(launch_sent(&deployment).await);
    assert!(poked.elapsed() < Duration::from_secs(6), "it did not wait out its ten seconds: {:?}", poked.elapsed());
    running.says("polled").await;
    assert_eq!(deployment.state_of(&run), "Submitted");
    let (status, health) = request(&address, "GET", "/api/health").await;
    assert!(status == 200 && health.contains(r#"{"status":"ok","agents":{"etl":{"status":"ok""#), "{health}");
    assert_eq!(request(&address, "POST", "/api/poke").await.0, 405);
    assert_eq!(request(&address, "GET", "/").await.0, 404);
    running.signal("INT").await;
    assert_eq!(running.ended().await, Some(0));
}

#[tokio::test]
async fn a_signal_ends_the_loop_and_the_current_poll_is_finished_first() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec::default());
    deployment.world.fault(Fault::new("ecs", "RunTask", FaultKind::DelayAfter { ms: 1000 }));
    let mut running = Running::start(agent(&deployment, &format!("start --root {ROOT}")));
    assert!(launch_sent(&deployment).await);
    running.signal("TERM").await;
    running.says("told to end").await;
    running.says("flow run launched").await;
    running.says("ended").await;
    assert_eq!(running.ended().await, Some(0));
    assert_eq!(looks(&deployment), 1);
}

#[tokio::test]
async fn the_loop_looks_ten_seconds_ahead_at_most() {
    let deployment = Deployment::with_agent(json!({"prefetch_seconds": 60})).await;
    let soon = deployment.schedule(FlowRunSpec { start_in_seconds: 2.0, ..FlowRunSpec::default() });
    let later = deployment.schedule(FlowRunSpec { start_in_seconds: 40.0, ..FlowRunSpec::default() });
    end(agent(&deployment, &format!("start --root {ROOT} --max-polls 1"))).await.well();
    assert_eq!((deployment.state_of(&soon), deployment.state_of(&later)), ("Submitted".into(), "Scheduled".into()));
}

#[tokio::test]
async fn guardrails_are_no_comfort_where_processes_are_started() {
    let deployment = Deployment::empty().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    let api = deployment.world.prefect3_url();
    std::fs::write(&file, format!("prefect: 3\napi: {api}\nwork_pool: p\nguardrails: {{command: false}}\n")).unwrap();
    let line = format!("start --platform process --max-polls 1 --config {}", file.display());
    let mut command = agent(&deployment, &line);
    command.env("XDG_STATE_HOME", directory.path());
    let ended = end(command).await;
    assert!(ended.stderr.contains("error: agent agent: `guardrails` judge what runs ask of ECS"), "{ended:?}");
    assert_eq!(deployment.world.count("prefect3", "*"), 0, "{ended:?}");
}
