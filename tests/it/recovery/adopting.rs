//! Claims whose task was started by a poll that did not live to hear of it.

use super::scene::{ORPHAN_AFTER, Scene};
use crate::prefect::{Phase, Prefect};
use crate::support::ids;
use serde_json::json;
use world::ecs::Stop;

#[tokio::test]
async fn the_task_of_a_claim_is_found_and_written_down() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.launched_unheard_of(3).await;
        let report = scene.polled_after(ORPHAN_AFTER).await;
        scene.are_recovered(&runs, &report);
        assert_eq!(scene.world().ecs_tasks().len(), 3, "{prefect:?}");
    }
}

#[tokio::test]
async fn a_task_that_runs_by_now_is_found_too() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.launched_unheard_of(1).await;
        let task = scene.world().ecs_tasks()[0].arn.clone();
        scene.world().ecs_set_status(&task, "RUNNING");
        let report = scene.polled_after(ORPHAN_AFTER).await;
        scene.are_recovered(&runs, &report);
        assert_eq!(scene.world().ecs_tasks()[0].desired_status, "RUNNING", "{prefect:?}: it is left to run");
    }
}

#[tokio::test]
async fn a_changed_configuration_does_not_hide_the_task() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.launched_unheard_of(1).await;
        scene.configure_anew("other");
        let report = scene.polled_after(ORPHAN_AFTER).await;
        scene.are_recovered(&runs, &report);
    }
}

#[tokio::test]
async fn a_flow_that_began_by_itself_needs_nobody() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.launched_unheard_of(1).await;
        let task = scene.world().ecs_tasks()[0].arn.clone();
        scene.world().ecs_set_status(&task, "RUNNING");
        prefect.bring(scene.world(), &runs[0], Phase::Running);
        let report = scene.polled_after(ORPHAN_AFTER).await;
        assert!(ids(&report, "recovered").is_empty() && report["ok"] == true, "{prefect:?}: {report:#}");
        assert_eq!((scene.world().ecs_tasks().len(), scene.run(&runs[0]).phase), (1, Phase::Running), "{prefect:?}");
    }
}

/// The token is known to ECS for an hour after the task's end: what comes back for it is a dead task, and no launch.
#[tokio::test]
async fn a_task_that_died_meanwhile_gives_the_run_another_turn() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.launched_unheard_of(1).await;
        let dead = scene.world().ecs_tasks()[0].arn.clone();
        scene.world().ecs_stop(&dead, &Stop::failed_to_start("Capacity is unavailable at this time."));
        let report = scene.polled_after(ORPHAN_AFTER).await;
        assert_eq!((ids(&report, "deferred"), scene.run(&runs[0]).phase), (runs.clone(), Phase::Waiting), "{report:#}");
        let message = scene.run(&runs[0]).message;
        assert!(message.contains(&dead) && message.contains("Capacity"), "{prefect:?}: {message}");
        let report = scene.polled_after(60).await;
        assert_eq!(ids(&report, "launched"), runs, "{prefect:?}: {report:#}");
        let tasks = scene.world().ecs_tasks();
        assert!(tasks.len() == 2 && tasks[0].client_token != tasks[1].client_token, "{prefect:?}");
    }
}

#[tokio::test]
async fn whoever_launched_it_hears_of_it_only_once() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.launched_unheard_of(1).await;
        let function = scene.deployment.poll_function().await;
        crate::prefect::time_passes(scene.world(), ORPHAN_AFTER);
        let mut reports = Vec::new();
        for _ in 0..3 {
            let report = crate::support::poll(&function).await;
            reports.push(ids(&report["agents"]["etl"], "recovered"));
        }
        assert_eq!(reports, [runs, vec![], vec![]], "{prefect:?}");
        assert_eq!(scene.deployment.status("etl")["error"], json!(null), "{prefect:?}");
    }
}
