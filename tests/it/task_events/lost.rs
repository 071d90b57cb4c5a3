//! Prefect 2 and 3: a task dies and no event of it ever comes. Polls look after the runs that have been running for long.

use super::scene::{Scene, done};
use super::workers::of_worker;
use crate::command::process::{agent as command, end};
use crate::prefect::{Phase, Prefect, time_passes};
use crate::support::{ROOT, agent, ids, reason};
use serde_json::{Value, json};
use world::ecs::Stop;
use world::prefect3::{POOL, RunSpec};
use world::{Fault, FaultKind};

const MINUTE: u64 = 60;

/// A run whose flow began and whose task stopped so long ago, of which no event told.
async fn died(scene: &Scene, minutes_ago: u64) -> (String, String) {
    let (run, task) = scene.running().await;
    time_passes(scene.world(), 15 * MINUTE);
    scene.world().ecs_stop(&task, &Stop::exited(1));
    time_passes(scene.world(), minutes_ago * MINUTE);
    (run, task)
}

/// A poll by another process than any before; the report of `etl`.
async fn poll(scene: &Scene) -> Value {
    agent(&scene.deployment.poll().await, "etl").clone()
}

fn answer(status: u16, body: &Value) -> FaultKind {
    FaultKind::Status { status, body: body.to_string(), content_type: "application/x-amz-json-1.1".into() }
}

fn missing(scene: &Scene) -> usize {
    scene.deployment.status("etl")["tasks"]["missing"].as_object().map_or(0, serde_json::Map::len)
}

/// What the last poll saw to be missing, it saw a minute earlier.
fn a_minute_earlier(scene: &Scene) {
    let mut status = scene.deployment.status("etl");
    for since in status["tasks"]["missing"].as_object_mut().unwrap().values_mut() {
        *since = json!(since.as_i64().unwrap() - 60);
    }
    scene.world().put_parameter(&format!("{ROOT}/state/etl/status"), &status.to_string());
}

#[tokio::test]
async fn a_run_whose_task_died_without_an_event_is_ended_by_a_poll_once() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = died(&scene, 4).await;
    let report = poll(&scene).await;
    assert_eq!((ids(&report, "died"), &report["ok"]), (vec![run.clone()], &json!(true)), "{report:#}");
    assert_eq!(reason(&report, "died", &run), format!("its task has stopped: Container failed (task {task})"));
    let dead = scene.run(&run);
    assert_eq!(dead.phase, Phase::Dead);
    assert!(dead.message.starts_with("Container 'prefect' exited with code 1."), "{}", dead.message);
    assert_eq!(scene.log(&run, "ERROR").len(), 1);
    // The event comes after all: it is posted, as all are, and changes nothing.
    let before = scene.before(&run);
    let told = scene.event(&task).await;
    assert_eq!((told["why"].as_str(), done(&told)), (Some("the flow run has ended"), vec!["event posted"]), "{told}");
    assert_eq!(ids(&poll(&scene).await, "died"), [""; 0]);
    scene.is_unchanged(&before);
}

/// A claim whose flow has not begun is recovered (G21): its token says what became of its task.
#[tokio::test]
async fn a_claim_whose_task_died_before_its_flow_began_is_tried_again_without_an_event() {
    let claim_whose_task_died = async |minutes_ago: u64| {
        let scene = Scene::new(Prefect::Three).await;
        let (run, task) = scene.launched().await;
        scene.world().ecs_stop(&task, &Stop::failed_to_start("Capacity is unavailable at this time."));
        time_passes(scene.world(), minutes_ago * MINUTE);
        let report = poll(&scene).await;
        (scene, run, report)
    };
    let (scene, run, report) = claim_whose_task_died(20).await;
    let why = reason(&report, "deferred", &run);
    assert!(why.ends_with("TaskFailedToStart: Capacity is unavailable at this time."), "{why}");
    let waits = scene.run(&run);
    assert_eq!((waits.phase, waits.history.last().map(String::as_str)), (Phase::Waiting, Some("AwaitingRetry")));
    assert!(waits.message.contains(why), "{}", waits.message);
    // ECS knows nothing of it any more: the same token starts the task anew, and no attempt is counted.
    let (scene, run, report) = claim_whose_task_died(70).await;
    assert_eq!(ids(&report, "recovered"), [run.clone()], "{report:#}");
    assert_eq!((scene.phase(&run), scene.run(&run).mark["attempt"].as_u64()), (Phase::Claimed, Some(1)));
}

#[tokio::test]
async fn a_young_state_and_a_fresh_end_are_left_to_the_event() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = scene.running().await;
    time_passes(scene.world(), 9 * MINUTE);
    scene.world().ecs_stop(&task, &Stop::exited(0));
    time_passes(scene.world(), 5 * MINUTE);
    let before = scene.before(&run);
    let asked = scene.world().count("ecs", "DescribeTasks");
    poll(&scene).await;
    scene.is_unchanged(&before);
    assert_eq!(scene.world().count("ecs", "DescribeTasks"), asked, "its state is younger than a quarter of an hour");
    time_passes(scene.world(), 2 * MINUTE);
    poll(&scene).await;
    assert_eq!(scene.phase(&run), Phase::Dead, "also one whose container exited with 0");

    let (run, _) = died(&scene, 2).await;
    let before = scene.before(&run);
    poll(&scene).await;
    scene.is_unchanged(&before);
}

#[tokio::test]
async fn a_task_that_lives_costs_one_question_and_nothing_further() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, _) = scene.running().await;
    time_passes(scene.world(), 20 * MINUTE);
    let before = scene.before(&run);
    let count = || scene.world().count("prefect3", "*") + scene.world().count("ecs", "*");
    scene.poll().await;
    let asked = count();
    scene.poll().await;
    assert_eq!(count() - asked, 7, "an idle poll's, and DescribeTasks");
    scene.is_unchanged(&before);
}

#[tokio::test]
async fn a_task_that_ecs_has_forgotten_is_dead_when_two_polls_in_a_row_say_so() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = died(&scene, 70).await;
    let before = scene.before(&run);
    poll(&scene).await;
    scene.is_unchanged(&before);
    assert_eq!(missing(&scene), 1);
    poll(&scene).await;
    scene.is_unchanged(&before);
    a_minute_earlier(&scene);
    // One answer that says nothing, and it begins anew.
    scene.world().fault(Fault::new("ecs", "DescribeTasks", answer(200, &json!({"tasks": [], "failures": []}))));
    poll(&scene).await;
    assert_eq!(missing(&scene), 0);
    poll(&scene).await;
    scene.is_unchanged(&before);
    a_minute_earlier(&scene);
    let report = poll(&scene).await;
    assert_eq!(ids(&report, "died"), [run.clone()], "{report:#}");
    let dead = scene.run(&run);
    assert!(dead.phase == Phase::Dead && dead.message.contains("more than an hour ago"), "{}", dead.message);
    assert!(dead.message.contains(&task), "{}", dead.message);
    poll(&scene).await;
    assert_eq!(scene.deployment.status("etl")["tasks"], Value::Null, "nothing is left to be remembered");
}

#[tokio::test]
async fn what_cannot_be_asked_is_no_verdict() {
    let denied = json!({"__type": "AccessDeniedException", "message": "not authorized to perform: ecs:DescribeTasks"});
    let gone = json!({"__type": "ClusterNotFoundException", "message": "Cluster not found."});
    for fault in [answer(400, &denied), answer(400, &gone), answer(200, &json!({})), answer(200, &json!({"tasks": []}))]
    {
        let scene = Scene::new(Prefect::Three).await;
        let (run, _) = died(&scene, 70).await;
        let before = scene.before(&run);
        scene.world().fault(Fault::new("ecs", "DescribeTasks", fault.clone()).always());
        for _ in 0..3 {
            let report = poll(&scene).await;
            assert_eq!((&report["ok"], missing(&scene)), (&json!(true), 0), "{fault:?}: {report:#}");
        }
        scene.is_unchanged(&before);
    }
}

#[tokio::test]
async fn another_task_of_the_run_that_lives_contradicts() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = scene.running().await;
    time_passes(scene.world(), 90 * MINUTE);
    // Another one is written down, which ECS has forgotten.
    let other = format!("{}{}", &task[..task.len() - 4], "0000");
    scene.world().prefect3(|prefect3| {
        let known = prefect3.flow_runs.iter_mut().find(|known| known.id == run).unwrap();
        known.infrastructure_pid = Some(format!("default::{other}"));
    });
    let before = scene.before(&run);
    poll(&scene).await;
    assert_eq!(missing(&scene), 1);
    a_minute_earlier(&scene);
    let report = poll(&scene).await;
    assert_eq!(ids(&report, "died"), [""; 0], "{report:#}");
    scene.is_unchanged(&before);
}

#[tokio::test]
async fn runs_of_others_are_left_alone() {
    let scene = Scene::new(Prefect::Three).await;
    // A Python worker's, and one that another agent of ours has claimed.
    let (theirs, task) = of_worker(&scene, POOL).await;
    scene.begin(&theirs, &task);
    scene.world().ecs_stop(&task, &Stop::exited(1));
    let (other_agents, _) = died(&scene, 4).await;
    scene.prefect.agent(&scene.deployment, "etl", json!({"enabled": false}));
    scene.prefect.agent(&scene.deployment, "two", json!({}));
    let before = [scene.before(&theirs), scene.before(&other_agents)];
    for forgotten in [false, true] {
        if forgotten {
            time_passes(scene.world(), 70 * MINUTE);
        }
        for _ in 0..2 {
            let report = scene.deployment.poll().await;
            assert_eq!(ids(agent(&report, "two"), "died"), [""; 0], "{report:#}");
            assert_eq!(scene.deployment.status("two")["tasks"], Value::Null, "nobody else's task is remembered");
        }
    }
    for before in &before {
        scene.is_unchanged(before);
    }
}

#[tokio::test]
async fn a_task_in_a_cluster_of_the_runs_own_is_looked_for_there() {
    let scene = Scene::new(Prefect::Three).await;
    scene.moves_to("green");
    let run = scene.prefect.due_run(scene.world());
    let report = poll(&scene).await;
    let task = report["launched"][0]["task_arn"].as_str().unwrap_or_else(|| panic!("{report:#}")).to_owned();
    assert!(task.contains(":task/green/"), "{task}");
    scene.begin(&run, &task);
    time_passes(scene.world(), 15 * MINUTE);
    scene.world().ecs_stop(&task, &Stop::exited(137));
    time_passes(scene.world(), 4 * MINUTE);
    let report = poll(&scene).await;
    assert_eq!((ids(&report, "died"), scene.phase(&run)), (vec![run.clone()], Phase::Dead), "{report:#}");
}

#[tokio::test]
async fn a_task_that_was_never_written_down_is_so_while_it_lives_and_told_when_it_is_dead() {
    let scene = Scene::new(Prefect::Three).await;
    let unknown = |run: &str| {
        scene.world().prefect3(|prefect3| {
            let known = prefect3.flow_runs.iter_mut().find(|known| known.id == run).unwrap();
            known.infrastructure_pid = None;
        });
    };
    let (lives, task) = scene.running().await;
    time_passes(scene.world(), 16 * MINUTE);
    unknown(&lives);
    poll(&scene).await;
    assert!(scene.run(&lives).pid.unwrap().ends_with(&task));
    let (dead, _) = died(&scene, 4).await;
    unknown(&dead);
    let report = poll(&scene).await;
    assert_eq!(ids(&report, "died"), [dead.clone()], "{report:#}");
    assert_eq!((scene.phase(&dead), scene.phase(&lives)), (Phase::Dead, Phase::Running));
}

#[tokio::test]
async fn one_poll_looks_at_a_hundred_runs_and_the_next_goes_on_behind_them() {
    let scene = Scene::new(Prefect::Three).await;
    let (lives, task) = scene.running().await;
    let many: Vec<String> = (0..100).map(|_| scene.world().prefect3_run(RunSpec::default())).collect();
    let pid = scene.run(&lives).pid;
    for run in &many {
        scene.prefect.bring(scene.world(), run, Phase::Claimed);
        scene.prefect.bring(scene.world(), run, Phase::Running);
    }
    scene.world().prefect3(|prefect3| {
        prefect3.flow_runs.iter_mut().for_each(|run| run.infrastructure_pid.clone_from(&pid));
    });
    time_passes(scene.world(), MINUTE);
    let (run, _) = died(&scene, 4).await;
    let asked = scene.world().count("ecs", "DescribeTasks");
    let first = poll(&scene).await;
    assert_eq!((ids(&first, "died").len(), scene.world().count("ecs", "DescribeTasks") - asked), (0, 1), "{first:#}");
    assert_eq!(scene.deployment.status("etl")["tasks"]["next"], 100);
    let second = poll(&scene).await;
    assert_eq!(ids(&second, "died"), [run], "{second:#}");
    assert_eq!(scene.deployment.status("etl")["tasks"], Value::Null, "the next one begins anew");
    assert_eq!(scene.task(&task).last_status, "RUNNING");
}

#[tokio::test]
async fn a_dry_run_shows_what_would_be_told() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, _) = died(&scene, 4).await;
    let before = scene.before(&run);
    let ended = end(command(&scene.deployment, &format!("poll --root {ROOT} --dry-run --json"))).await.well();
    let operations: Vec<Value> =
        ended.json()["requests"].as_array().unwrap().iter().map(|request| request["operation"].clone()).collect();
    assert_eq!(operations, ["fail", "log"], "{}", ended.stdout);
    scene.is_unchanged(&before);
}
