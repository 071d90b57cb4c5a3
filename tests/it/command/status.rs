//! `prefect-serverless-agent status`: how the agents of a deployment are.

use super::process::{Running, agent, end};
use crate::prefect::{Prefect, time_passes};
use crate::support::{Deployment, ROOT};
use serde_json::{Value, json};
use world::ecs::Refusal;
use world::prefect1::FlowRunSpec;

/// The rows of a table, by the name in the first column.
fn row(table: &str, name: &str) -> Vec<String> {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("no row {name}: {table}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
}

#[tokio::test]
async fn agents_are_shown_as_health_judges_them_with_what_their_last_poll_saw() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({"max_polls": 3})).await;
        prefect.agent(&deployment, "new", json!({}));
        prefect.agent(&deployment, "off", json!({"enabled": false}));
        prefect.due_run(&deployment.world);
        let new = end(agent(&deployment, &format!("status --root {ROOT}"))).await.well();
        assert_eq!(row(&new.stdout, "etl")[..6], ["etl", "starting", "–", "–", "0 of 3", "–"], "{new:?}");
        deployment.world.ecs_refuse(Refusal {
            reason: "RESOURCE:FARGATE".into(),
            detail: None,
            body_contains: None,
            count: 1,
        });
        end(agent(&deployment, &format!("poll --root {ROOT} --agent etl"))).await.well();
        let ended = end(agent(&deployment, &format!("status --root {ROOT}"))).await.well();
        let etl = row(&ended.stdout, "etl");
        assert_eq!((etl[1].as_str(), etl[4].as_str()), ("ok", "1 of 3"), "{prefect:?}: {ended:?}");
        assert_eq!((etl[5].as_str(), etl[6].as_str(), etl[8].as_str()), ("1", "0", "0"), "{prefect:?}: {ended:?}");
        assert!(etl[2].ends_with(" s ago") && etl[7].ends_with(" s late"), "{prefect:?}: {ended:?}");
        assert_eq!(row(&ended.stdout, "off")[1], "disabled", "{ended:?}");
        assert!(!ended.stdout.contains('\x1b'), "{ended:?}");
        assert_eq!(deployment.world.count("ssm", "PutParameter"), 2, "the poll's own");
    }
}

#[tokio::test]
async fn claims_are_counted_once_they_are_looked_after() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({})).await;
        prefect.due_run(&deployment.world);
        deployment.world.fault(world::Fault::new("ecs", "RunTask", world::FaultKind::DropBefore).always());
        let claims = async || {
            end(agent(&deployment, &format!("poll --root {ROOT}"))).await;
            let table = end(agent(&deployment, &format!("status --root {ROOT}"))).await.stdout;
            row(&table, "etl")[8].clone()
        };
        assert_eq!(claims().await, "0", "{prefect:?}: it was claimed after they were counted");
        assert_eq!(claims().await, "0", "{prefect:?}: it is too young");
        time_passes(&deployment.world, 121);
        assert_eq!(claims().await, "1", "{prefect:?}");
    }
}

#[tokio::test]
async fn a_failing_agent_is_exit_code_3_and_a_status_of_an_earlier_version_is_read() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.configure("broken", "prefect: 9\n");
    let earlier = r#"{"last_poll": "2020-01-01T00:00:00Z", "last_success": "2020-01-01T00:00:00Z", "polls": 7,
        "counts": {"ready": 4, "launched": 3, "deferred": 1, "failed": 0}, "error": "unauthorised"}"#;
    deployment.world.put_parameter(&format!("{ROOT}/state/etl/status"), earlier);
    let ended = end(agent(&deployment, &format!("status --root {ROOT}"))).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let etl = row(&ended.stdout, "etl");
    assert_eq!((etl[1].as_str(), etl[4].as_str(), etl[5].as_str()), ("failing", "7", "4"), "{ended:?}");
    assert_eq!(etl[7..], ["–", "–", "unauthorised"], "{ended:?}");
    assert_eq!(row(&ended.stdout, "broken").last().map(String::as_str), Some("configuration"), "{ended:?}");

    let json = end(agent(&deployment, &format!("status --root {ROOT} --agent etl --json"))).await;
    assert_eq!(json.code, Some(3), "{json:?}");
    let said = json.json();
    assert_eq!(said["agents"].as_object().unwrap().keys().collect::<Vec<_>>(), ["etl"]);
    let etl = &said["agents"]["etl"];
    assert_eq!((&etl["due"], &etl["claims_outstanding"], &etl["oldest_due"]), (&json!(4), &Value::Null, &Value::Null));
}

#[tokio::test]
async fn a_watch_looks_again_until_it_is_told_to_end() {
    let deployment = Deployment::with_agent(json!({})).await;
    deployment.schedule(FlowRunSpec::default());
    let shown = tempfile::NamedTempFile::new().unwrap();
    let mut command = agent(&deployment, &format!("status --root {ROOT} --watch --interval 2"));
    command.stdout(shown.reopen().unwrap());
    let watching = Running::start(command);
    for _ in 0..100 {
        if deployment.world.count("ssm", "GetParametersByPath") >= 6 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(deployment.world.count("ssm", "GetParametersByPath") >= 6, "it looked three times");
    watching.signal("INT").await;
    assert_eq!(watching.ended().await, Some(0));
    let tables = std::fs::read_to_string(shown.path()).unwrap();
    assert!(tables.matches("AGENT ").count() >= 2 && !tables.contains('\x1b'), "one after the other: {tables}");
    let bounded = end(agent(&deployment, &format!("status --root {ROOT} --watch --interval 1"))).await;
    assert!(bounded.code == Some(2) && bounded.stderr.contains("--interval"), "{bounded:?}");
}

#[tokio::test]
async fn who_is_not_there_and_what_may_not_be_read_is_said() {
    let deployment = Deployment::with_agent(json!({})).await;
    for (line, said) in [
        (format!("status --root {ROOT} --agent nobody"), "configured are: etl"),
        ("status --root /nobody/here".to_owned(), "no agent is configured"),
        ("status".to_owned(), "--root ROOT"),
    ] {
        let ended = end(agent(&deployment, &line)).await;
        assert!(ended.code == Some(1) && ended.stderr.contains(said), "{line}: {ended:?}");
        assert!(ended.stderr.contains("next: ") && ended.stdout.is_empty(), "{line}: {ended:?}");
    }
    let kind = world::FaultKind::AwsError {
        status: 400,
        code: "AccessDeniedException".into(),
        message: "not authorized to perform: ssm:GetParametersByPath".into(),
    };
    deployment.world.fault(world::Fault::new("ssm", "GetParametersByPath", kind).always());
    let refused = end(agent(&deployment, &format!("status --root {ROOT}"))).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("ssm:GetParametersByPath"), "{refused:?}");
}
