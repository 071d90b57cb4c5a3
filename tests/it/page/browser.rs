//! `make page`: the page of a deployment in which much has happened, in a real browser, with screenshots.

use crate::prefect::{Phase, Prefect};
use crate::support::{DEADLINE, Deployment, KEY, ROOT};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use world::ecs::{Refusal, Stop};
use world::prefect3::{POOL, RunSpec};
use world::{FunctionUrl, UrlAuth};

const TOKEN: &str = "the-token-of-this-very-page";

/// What the browser may take.
const PATIENCE: Duration = Duration::from_mins(5);

#[tokio::test]
#[ignore = "it needs a browser: `make page`"]
async fn the_page_is_well_in_a_real_browser() {
    let wanted = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: call `make page`"));
    let (python, directory) = (wanted("PSA_BROWSER"), wanted("PSA_SCREENSHOTS"));
    let deployment = eventful().await;
    let url = FunctionUrl::serve(deployment.options("health"), UrlAuth::None).await.unwrap();
    let mut look = tokio::process::Command::new(python);
    look.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/look.py")).args([&url.url(), &directory]);
    let look = look.env("PAGE_TOKEN", TOKEN).kill_on_drop(true).output();
    let looked = tokio::time::timeout(PATIENCE, look).await.expect("the browser takes too long").unwrap();
    let said = String::from_utf8_lossy(&looked.stdout);
    println!("{said}");
    assert!(looked.status.success(), "{said}{}", String::from_utf8_lossy(&looked.stderr));
}

/// Six agents; one is busy, with runs that wait, were given back, could not be launched, or whose task died.
async fn eventful() -> Deployment {
    let deployment = Prefect::Three.deployment(json!({"launch_rate": 2})).await;
    let world = &deployment.world;
    world.put_secret(&format!("{ROOT}/secrets/page-token"), TOKEN);
    let one = |name: &str, key: &str, extra: Value| {
        deployment.agent_without_key(name, extra);
        deployment.secret(name, "api-key", key);
    };
    one("forecasts-of-next-season", "pcu_anotherkey", json!({"labels": ["forecasts"]}));
    one("reports", KEY, json!({"labels": ["reports"]}));
    one("migration", KEY, json!({"labels": ["migration"], "max_polls": 1}));
    one("experiments", KEY, json!({"enabled": false}));
    let task_events = deployment.options("task-events").start().await.unwrap();
    let ends = async |run: &str, stop: Stop| {
        let tasks = world.ecs_tasks();
        let task = tasks.iter().find(|task| task.started_by.as_deref().is_some_and(|by| by.ends_with(run))).unwrap();
        assert!(world.ecs_stop(&task.arn, &stop));
        task_events.invoke(world.task_event(&task.arn), DEADLINE).await.unwrap();
    };

    // Two begin; the memory of one does not suffice, and the image of the other is not there in time.
    let (first, second) = (Prefect::Three.due_run(world), Prefect::Three.due_run(world));
    poll(&deployment).await;
    world.grow_older(Duration::from_secs(60));
    Prefect::Three.bring(world, &first, Phase::Running);
    ends(&first, Stop { reason: "OutOfMemoryError: Container killed due to memory usage".into(), ..Stop::exited(137) })
        .await;
    ends(
        &second,
        Stop::failed_to_start("CannotPullContainerError: pull image manifest has been retried 5 time(s): i/o timeout"),
    )
    .await;
    time_passes(&deployment, 180);
    // Prefect is away for a minute.
    world.fault(world::Fault::new("prefect3", "*", world::FaultKind::DropBefore).always());
    poll_anyway(&deployment).await;
    world.lock().faults.clear();
    time_passes(&deployment, 60);
    for quiet in [60, 60] {
        poll(&deployment).await;
        time_passes(&deployment, quiet);
    }
    let unlaunchable = json!({"cpu": "a lot"}).as_object().unwrap().clone();
    world.prefect3_run(RunSpec { start_in_seconds: -20.0, job_variables: unlaunchable, ..RunSpec::default() });
    poll(&deployment).await;
    time_passes(&deployment, 60);
    // More than may be launched at once, and no room for one of them.
    for late in 0..9_u32 {
        world.prefect3_run(RunSpec { start_in_seconds: -40.0 - 37.0 * f64::from(late), ..RunSpec::default() });
    }
    let (reason, detail) =
        ("Capacity is unavailable at this time. Please try again later or in a different availability zone", None);
    world.ecs_refuse(Refusal { reason: reason.into(), detail, body_contains: None, count: 1 });
    // What is claimed is launched ten seconds before the end: there is time for some of them.
    poll_for(&deployment, Duration::from_secs(13)).await;
    time_passes(&deployment, 14);
    one("new-pool", KEY, json!({"prefect": 3, "api": world.prefect3_url(), "work_pool": POOL}));
    deployment
}

/// One poll, of which one agent's may fail: its key is wrong.
async fn poll(deployment: &Deployment) {
    let report = poll_anyway(deployment).await;
    assert_eq!(report["agents"]["etl"]["ok"], true, "{report:#}");
}

async fn poll_anyway(deployment: &Deployment) -> Value {
    poll_for(deployment, DEADLINE).await
}

async fn poll_for(deployment: &Deployment, time: Duration) -> Value {
    let function = deployment.poll_function().await;
    match function.invoke(json!({}), time).await {
        Ok(report) => report,
        Err(error) => crate::support::report_in(&error),
    }
}

/// All that is remembered was so much earlier.
fn time_passes(deployment: &Deployment, seconds: i64) {
    deployment.world.grow_older(Duration::from_secs(seconds.unsigned_abs()));
    let state = format!("{ROOT}/state/");
    let parameters: Vec<(String, String)> = {
        let world = deployment.world.lock();
        let all = world.ssm.all().filter(|(_, name, _)| name.starts_with(&state) && !name.ends_with("/polls"));
        all.map(|(_, name, version)| (name.to_string(), version.value.clone())).collect()
    };
    for (name, value) in parameters {
        let mut value: Value = serde_json::from_str(&value).unwrap();
        make_earlier(&mut value, time::Duration::seconds(seconds));
        deployment.world.put_parameter(&name, &value.to_string());
    }
}

fn make_earlier(value: &mut Value, by: time::Duration) {
    match value {
        Value::String(text) => {
            if let Ok(instant) = OffsetDateTime::parse(text, &Rfc3339) {
                *text = (instant - by).format(&Rfc3339).unwrap();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| make_earlier(value, by)),
        Value::Object(fields) => fields.values_mut().for_each(|value| make_earlier(value, by)),
        _ => {}
    }
}
