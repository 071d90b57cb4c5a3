//! The real `prefect-serverless-agent` command: one poll, a dry run, the long-lived loop.

mod check;
mod connect;
mod costs;
mod dry_run;
mod explain;
mod init;
mod mistakes;
pub(crate) mod process;
mod push;
mod redrive;
mod start;
mod status;

use crate::support::{Deployment, KEY, ROOT};
use process::{agent, end};
use serde_json::json;
use world::prefect1::FlowRunSpec;

#[tokio::test]
async fn a_poll_launches_what_is_due_and_shows_it_as_a_table() {
    let deployment = Deployment::with_agent(json!({})).await;
    let run = deployment.schedule(FlowRunSpec::default());
    let ended = end(agent(&deployment, &format!("poll --root {ROOT}"))).await.well();
    let task = &deployment.world.ecs_tasks()[0];
    assert_eq!(deployment.state_of(&run), "Submitted");
    let lines: Vec<Vec<&str>> = ended.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["AGENT", "POLL", "READY", "LAUNCHED"], "{ended:?}");
    assert_eq!(lines[1][..4], ["etl", "1", "1", "1"], "{ended:?}");
    assert_eq!(lines[1].last(), Some(&"ok"), "{ended:?}");
    assert_eq!(lines[4], [&run, "etl", "launched", &task.arn], "{ended:?}");
    assert!(!ended.stdout.contains('\x1b') && !ended.stdout.contains(KEY), "{ended:?}");
}

#[tokio::test]
async fn a_poll_gives_the_functions_report_as_json_and_polls_only_who_is_named() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.agent("other", json!({}));
    let mut command = agent(&deployment, "poll --json --agent etl --agent etl");
    command.env("PARAMETER_ROOT", ROOT);
    let report = end(command).await.well().json();
    assert_eq!(report["agents"].as_object().unwrap().keys().collect::<Vec<_>>(), ["etl"]);
    assert_eq!((&report["agents"]["etl"]["ok"], &report["agents"]["etl"]["poll"]), (&json!(true), &json!(1)));
    let unknown = end(agent(&deployment, &format!("poll --root {ROOT} --agent nobody"))).await;
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.stderr.contains("nobody") && unknown.stderr.contains("etl, other"), "{unknown:?}");
}

#[tokio::test]
async fn a_file_configures_one_agent_with_documents_beside_it() {
    let deployment = Deployment::empty().await;
    let directory = tempfile::tempdir().unwrap();
    let (definition, config) = (directory.path().join("definition.yaml"), directory.path().join("etl.yaml"));
    std::fs::write(&definition, "cpu: '256'\nmemory: '512'\nnetworkMode: awsvpc\n").unwrap();
    let api = deployment.world.prefect1_url();
    let text = format!("prefect: 1\napi: {api}\ntask_definition_path: {}\n", definition.display());
    std::fs::write(&config, text).unwrap();
    deployment.schedule(FlowRunSpec::default());
    let mut command = agent(&deployment, &format!("poll --json --config {}", config.display()));
    // A root in the environment does not get in the way of a file.
    command.env("PREFECT__CLOUD__API_KEY", KEY).env("PARAMETER_ROOT", ROOT);
    let report = end(command).await.well().json();
    assert_eq!(report["agents"]["agent"]["launched"].as_array().map(Vec::len), Some(1), "{report:#}");
    let registered = deployment.world.requests("ecs", "RegisterTaskDefinition")[0].json();
    assert_eq!((&registered["cpu"], &registered["memory"]), (&json!("256"), &json!("512")));
    assert_eq!(deployment.world.count("ssm", "*"), 0, "nothing is remembered without a root");
}

#[tokio::test]
async fn a_configuration_that_is_wrong_in_three_places_gets_one_message_that_names_all() {
    let deployment = Deployment::empty().await;
    let text = "prefect: 1\nlabelz: [prod]\nlaunch_type: LAMBDA\npoll_interval_seconds: soon\n";
    deployment.configure("etl", text);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    std::fs::write(&file, text).unwrap();
    for line in [
        format!("poll --root {ROOT}"),
        format!("poll --config {}", file.display()),
        format!("poll --config {} --dry-run", file.display()),
        format!("start --config {}", file.display()),
        format!("start --root {ROOT}"),
    ] {
        let ended = end(agent(&deployment, &line)).await;
        assert_eq!(ended.code, Some(1), "{line}: {ended:?}");
        let error = ended.stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
        for named in ["labelz", "launch_type", "poll_interval_seconds", "3 places"] {
            assert!(error.contains(named), "{line}: {named}: {ended:?}");
        }
        assert!(ended.stderr.contains("next: "), "{line}: {ended:?}");
    }
    assert_eq!(deployment.world.count("prefect1", "*"), 0);
}

#[tokio::test]
async fn an_agents_own_trouble_is_an_error_with_what_to_do_next() {
    let deployment = Deployment::with_agent(json!({"api": "http://127.0.0.1:9"})).await;
    deployment.agent("other", json!({}));
    let ended = end(agent(&deployment, &format!("poll --root {ROOT}"))).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("error: agent etl: cannot connect to the Prefect API"), "{ended:?}");
    assert!(ended.stderr.contains("next: check `api`"), "{ended:?}");
    assert!(ended.stdout.contains("api-unreachable") && ended.stdout.contains("other"), "{ended:?}");
}

#[tokio::test]
async fn a_refused_key_is_mended_where_it_came_from_in_the_words_of_its_prefect() {
    let deployment = Deployment::empty().await;
    deployment.world.prefect3_deployment(world::prefect3::DeploymentSpec::default());
    let keys = world::prefect3::Auth::Keys { keys: vec!["pnu_right".into()] };
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = keys);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    let three = format!("prefect: 3\napi: {}\nwork_pool: {}\n", deployment.world.prefect3_url(), world::prefect3::POOL);
    let one = format!("prefect: 1\napi: {}\n", deployment.world.prefect1_url());
    for (text, variable, other) in [
        (&three, "PREFECT_API_KEY", "PREFECT__CLOUD"),
        (&three, "PREFECT_API_AUTH_STRING", "PREFECT__CLOUD"),
        (&one, "PREFECT__CLOUD__API_KEY", "PREFECT_API"),
    ] {
        std::fs::write(&file, text).unwrap();
        let mut command = agent(&deployment, &format!("poll --config {}", file.display()));
        command.env(variable, "some:wrong");
        let ended = end(command).await;
        let said = format!("of the environment variable {variable}: set ");
        assert!(ended.code == Some(1) && ended.stderr.contains(&said), "{variable}: {ended:?}");
        assert!(!ended.stderr.contains(other) && !ended.stderr.contains("{root}"), "{variable}: {ended:?}");
    }
    deployment.configure("etl", &one);
    let ended = end(agent(&deployment, &format!("poll --root {ROOT}"))).await;
    let place = format!("to the parameter {ROOT}/secrets/etl/api-key");
    assert!(ended.code == Some(1) && ended.stderr.contains(&place), "{ended:?}");
}

#[tokio::test]
async fn maintenance_is_a_note_and_no_failure() {
    let deployment = Deployment::with_agent(json!({})).await;
    let kind = world::FaultKind::ComeAgain { status: 503, retry_after: Some("600".into()), maintenance: true };
    deployment.world.fault(world::Fault::new("prefect1", "*", kind).always());
    let ended = end(agent(&deployment, &format!("poll --root {ROOT}"))).await.well();
    assert!(
        ended.stdout.contains("maintenance") && ended.stderr.contains("note: agent etl: Prefect is in"),
        "{ended:?}"
    );
}

#[tokio::test]
async fn what_the_command_line_lacks_is_said() {
    let deployment = Deployment::empty().await;
    for (line, code, said) in [
        ("poll", 1, "--root ROOT"),
        ("poll --root /nobody/here", 1, "no agent is configured"),
        ("poll --config /no/such/file", 1, "cannot read /no/such/file"),
        ("start --root /psa/test --agent-address http://127.0.0.1", 2, "the port is missing"),
        ("start --root /nobody/here", 1, "no agent is configured"),
        ("poll --root /a --config b", 2, "cannot be used with"),
        ("polll", 2, "poll"),
    ] {
        let ended = end(agent(&deployment, line)).await;
        assert_eq!(ended.code, Some(code), "{line}: {ended:?}");
        assert!(ended.stderr.contains(said) && ended.stdout.is_empty(), "{line}: {ended:?}");
    }
    for (line, said) in [
        ("--version", env!("CARGO_PKG_VERSION")),
        ("poll --version", env!("CARGO_PKG_VERSION")),
        ("--help", "--dry-run"),
        ("poll --help", "[redacted]"),
        ("start --help", "SIGTERM"),
    ] {
        let ended = end(agent(&deployment, line)).await.well();
        assert!(ended.stdout.contains(said) && !ended.stdout.contains('\x1b'), "{line}: {ended:?}");
    }
}
