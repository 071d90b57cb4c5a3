//! Prefect asks to come again later: because it is in maintenance, which is nobody's failure, or for another reason.

use crate::health::health;
use crate::prefect::Prefect;
use crate::support::{DEADLINE, Deployment, agent, ids, poll, report_in};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::{Rfc2822, Rfc3339};
use world::{Fault, FaultKind};

fn come_again(status: u16, retry_after: Option<&str>, maintenance: bool) -> FaultKind {
    FaultKind::ComeAgain { status, retry_after: retry_after.map(str::to_owned), maintenance }
}

fn seconds_from_now(time: &Value) -> i64 {
    (OffsetDateTime::parse(time.as_str().unwrap(), &Rfc3339).unwrap() - OffsetDateTime::now_utc()).whole_seconds()
}

/// The report of `etl` by a poll that was no error.
async fn polled(deployment: &Deployment) -> Value {
    agent(&deployment.poll().await, "etl").clone()
}

#[tokio::test]
async fn maintenance_ends_the_poll_is_no_error_and_health_waits_for_its_end() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({"poll_interval_seconds": 1})).await;
        let run = prefect.due_run(&deployment.world);
        let function = deployment.poll_function().await;
        for (status, retry_after, lasts) in [
            (503, Some("600"), 600),
            (502, Some("600"), 600),
            (408, Some("600"), 600),
            (429, Some("600"), 600),
            (503, None, 300),
        ] {
            deployment.world.fault(Fault::new(prefect.service(), "*", come_again(status, retry_after, true)).always());
            let report = poll(&function).await;
            let etl = agent(&report, "etl");
            assert_eq!((&etl["ok"], &etl["error_kind"]), (&json!(false), &json!("maintenance")), "{prefect:?} {etl:#}");
            assert!(etl["error"].as_str().unwrap().starts_with("Prefect is in maintenance"), "{etl:#}");
            assert_eq!(ids(etl, "launched"), [""; 0]);
            let written = deployment.status("etl");
            assert_eq!((&written["error"], &written["last_success"]), (&json!("maintenance"), &Value::Null));
            for told in [&written["maintenance_until"], &etl["maintenance_until"]] {
                assert!((lasts - 5..=lasts).contains(&seconds_from_now(told)), "{prefect:?} {status} {told}");
            }
            let (code, page) = health(&deployment).await;
            let page = &page["agents"]["etl"];
            assert_eq!((code, &page["status"]), (json!(200), &json!("maintenance")), "{page:#}");
            assert_eq!(page["maintenance_until"], written["maintenance_until"]);
            assert!(!function.stdout().contains("\"PollFailures\":1"), "no alarm: {}", function.stdout());
            deployment.world.lock().faults.clear();
        }
        let report = poll(&function).await;
        let etl = agent(&report, "etl");
        assert_eq!((ids(etl, "launched"), &etl["ok"]), (vec![run], &json!(true)), "{etl:#}");
        assert_eq!(deployment.status("etl")["maintenance_until"], Value::Null);
        assert_eq!(health(&deployment).await.1["agents"]["etl"]["status"], "ok");
    }
}

#[tokio::test]
async fn maintenance_of_one_hides_no_failure_of_another() {
    let deployment = Prefect::One.deployment(json!({})).await;
    Prefect::Three.agent(&deployment, "nightly", json!({}));
    deployment.world.fault(Fault::new("prefect1", "*", come_again(503, Some("600"), true)).always());
    let error = deployment.poll_fails().await;
    let report = report_in(&error);
    assert_eq!(agent(&report, "etl")["error_kind"], "maintenance", "{report:#}");
    assert_eq!(agent(&report, "nightly")["error_kind"], "configuration", "its pool is missing: {report:#}");
}

#[tokio::test]
async fn an_outage_while_maintenance_was_announced_fails_the_poll_and_not_yet_health() {
    for prefect in Prefect::BOTH {
        let deployment = prefect.deployment(json!({"poll_interval_seconds": 1})).await;
        deployment.world.fault(Fault::new(prefect.service(), "*", come_again(503, Some("600"), true)).always());
        polled(&deployment).await;
        deployment.world.lock().faults.clear();
        deployment.world.fault(Fault::new(prefect.service(), "*", FaultKind::Html { status: 500 }).always());
        let report = report_in(&deployment.poll_fails().await);
        assert_eq!(agent(&report, "etl")["error_kind"], "api-error", "{report:#}");
        assert_eq!(health(&deployment).await.1["agents"]["etl"]["status"], "maintenance", "{prefect:?}");
    }
}

#[tokio::test]
async fn whoever_says_when_to_come_again_is_asked_then() {
    for prefect in Prefect::BOTH {
        let (operation, due) = match prefect {
            Prefect::One => ("flow_run", "flow_run"),
            Prefect::Three => ("get_scheduled_flow_runs", "get_scheduled_flow_runs"),
        };
        let date = || (OffsetDateTime::now_utc() + time::Duration::seconds(3)).format(&Rfc2822).unwrap();
        for (status, asked, at_least_ms) in [
            (503, "1".to_owned(), 1000.0),
            (429, "1".to_owned(), 1000.0),
            (503, date().replace("+0000", "GMT"), 1000.0),
        ] {
            let deployment = prefect.deployment(json!({})).await;
            let run = prefect.due_run(&deployment.world);
            let asked = if asked == "1" { asked } else { date().replace("+0000", "GMT") };
            deployment.world.fault(Fault::new(prefect.service(), operation, come_again(status, Some(&asked), false)));
            let report = polled(&deployment).await;
            assert_eq!(ids(&report, "launched"), [run], "{prefect:?} {asked}: {report:#}");
            let requests = deployment.world.requests(prefect.service(), due);
            let pause = requests[1].at_ms - requests[0].answered_ms.unwrap();
            assert!(pause >= at_least_ms, "{prefect:?} {status} {asked}: {pause} ms");
        }

        let deployment = prefect.deployment(json!({})).await;
        let run = prefect.due_run(&deployment.world);
        deployment.world.fault(Fault::new(prefect.service(), "*", come_again(503, Some("3600"), false)).always());
        let function = deployment.poll_function().await;
        let report = report_in(&function.invoke(json!({}), DEADLINE).await.unwrap_err());
        let etl = agent(&report, "etl");
        assert_eq!(etl["error_kind"], "api-error", "{etl:#}");
        assert!(etl["error"].as_str().unwrap().contains("wants to be asked again in 3600 s"), "{etl:#}");
        assert!(etl["duration_ms"].as_u64().unwrap() < 5000, "it was not waited for: {etl:#}");
        assert_eq!(prefect.run(&deployment.world, &run).history.len(), 1);
    }
}
