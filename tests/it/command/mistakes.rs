//! What people get wrong: told once, before anything else is looked for, and in words of theirs.

use super::process::{LIMIT, Running, agent, end, request};
use crate::support::{Deployment, ROOT, agent as report_of, report_in};
use serde_json::json;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::process::Command;

/// A machine that knows nothing of AWS, and has no metadata to tell.
fn without_aws(deployment: &Deployment, line: &str) -> Command {
    let mut command = agent(deployment, line);
    for name in ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED"] {
        command.env_remove(name);
    }
    command.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:9").env("HOME", "/nonexistent");
    command
}

#[tokio::test]
async fn a_wrong_file_is_told_once_without_aws_and_without_a_table_of_zeros() {
    let deployment = Deployment::empty().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    std::fs::write(&file, "prefect: 1\nlabelz: [prod]\n").unwrap();
    for command in ["poll", "poll --dry-run", "start"] {
        let ended = end(without_aws(&deployment, &format!("{command} --config {}", file.display()))).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{command}: {ended:?}");
        assert_eq!(ended.stderr.matches("labelz").count(), 1, "{command}: {ended:?}");
        assert!(ended.stderr.starts_with("error: the configuration ") && !ended.stderr.contains("WARN"), "{ended:?}");
    }
    let ended = end(without_aws(&deployment, &format!("poll --json --config {}", file.display()))).await;
    let report = ended.json();
    assert_eq!(report_of(&report, "agent")["error_kind"], "configuration", "{ended:?}");

    // The same below a root.
    deployment.configure("etl", "prefect: 1\nlabelz: [prod]\n");
    for command in ["poll", "start"] {
        let ended = end(agent(&deployment, &format!("{command} --root {ROOT}"))).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{command}: {ended:?}");
        assert_eq!(ended.stderr.matches("labelz").count(), 1, "{command}: {ended:?}");
    }
}

#[tokio::test]
async fn a_missing_region_is_told_before_anything_that_libraries_say() {
    let deployment = Deployment::empty().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    std::fs::write(&file, "prefect: 1\n").unwrap();
    for line in [format!("poll --config {}", file.display()), format!("poll --root {ROOT}")] {
        let ended = end(without_aws(&deployment, &line)).await;
        assert!(ended.stderr.starts_with("error: cannot set up the AWS clients: no region"), "{line}: {ended:?}");
        assert!(ended.code == Some(1) && ended.stdout.is_empty(), "{line}: {ended:?}");
    }
}

#[tokio::test]
async fn a_configuration_that_was_written_as_a_secret_is_told_so() {
    let deployment = Deployment::empty().await;
    deployment.world.put_secret(&format!("{ROOT}/config/etl"), "prefect: 1\n");
    let report = report_in(&deployment.poll_fails().await);
    let etl = report_of(&report, "etl");
    assert_eq!(etl["error_kind"], "configuration", "{etl:#}");
    let error = etl["error"].as_str().unwrap();
    for said in [&format!("{ROOT}/config/etl"), "SecureString", "--type String", &format!("{ROOT}/secrets")] {
        assert!(error.contains(said), "{said}: {error}");
    }
}

#[tokio::test]
async fn whatever_a_file_holds_the_message_is_short_and_soon() {
    let deployment = Deployment::empty().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    let keys: Vec<String> = (0..50_000).map(|number| format!("key_{number}: {number}")).collect();
    for text in [
        keys.join("\n"),
        format!("poll_interval_seconds: {}\n", "1".repeat(1_000_000)),
        format!("{}: 1\n", "k".repeat(900)),
        format!("labels: {}\n", "[".repeat(100_000)),
        "x".repeat(2_000_000),
    ] {
        std::fs::write(&file, &text).unwrap();
        let started = Instant::now();
        let ended = end(without_aws(&deployment, &format!("poll --config {}", file.display()))).await;
        let start = text.get(..20).unwrap();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{start}");
        assert!(ended.stderr.len() < 5_000, "{start}: {} bytes", ended.stderr.len());
        assert!(ended.stderr.starts_with("error: ") && started.elapsed() < LIMIT / 2, "{start}: {ended:?}");
    }
}

#[tokio::test]
async fn help_fits_the_terminal() {
    let deployment = Deployment::empty().await;
    for line in ["--help", "poll --help", "start --help", "check --help"] {
        let mut command = agent(&deployment, line);
        command.env("COLUMNS", "80");
        let ended = end(command).await.well();
        let longest = ended.stdout.lines().map(|line| line.chars().count()).max();
        assert!(longest <= Some(80), "{line}: {longest:?}\n{}", ended.stdout);
    }
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_from_asking() {
    let deployment = Deployment::with_agent(json!({})).await;
    let line = format!("start --root {ROOT} --agent-address http://127.0.0.1:0");
    let mut running = Running::start(agent(&deployment, &line));
    let serving = running.says("serving http://").await;
    let address = serving.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(&address).await.unwrap());
    }
    let asked = Instant::now();
    for _ in 0..3 {
        assert!(request(&address, "GET", "/api/health").await.1.contains("\"agents\""));
    }
    assert!(asked.elapsed().as_secs() < 5, "they were not waited for: {:?}", asked.elapsed());
    drop(idle);
    running.signal("TERM").await;
    assert_eq!(running.ended().await, Some(0));
}
