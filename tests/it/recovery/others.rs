//! Claims of others: counted, and never touched.

use super::scene::{ORPHAN_AFTER, Scene};
use crate::prefect::{Phase, Prefect};
use serde_json::{Value, json};

/// Claims of a Python agent or worker: without a mark.
fn of_python(scene: &Scene, count: usize) -> Vec<String> {
    let runs = scene.runs(count);
    for run in &runs {
        scene.prefect.bring(scene.world(), run, Phase::Claimed);
    }
    runs
}

fn histories(scene: &Scene, runs: &[String]) -> Vec<Vec<String>> {
    runs.iter().map(|run| scene.run(run).history).collect()
}

#[tokio::test]
async fn claims_without_our_mark_are_counted_and_never_touched() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let theirs = of_python(&scene, 2);
        let ours = scene.claimed_and_not_launched(1).await;
        let before = histories(&scene, &theirs);
        let report = scene.polled_after(ORPHAN_AFTER).await;
        assert_eq!((&report["foreign_pending"], &report["ok"]), (&json!(2), &json!(true)), "{prefect:?}: {report:#}");
        scene.are_recovered(&ours, &report);
        assert_eq!(histories(&scene, &theirs), before, "{prefect:?}");
    }
}

#[tokio::test]
async fn another_agent_of_ours_is_another() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.claimed_and_not_launched(2).await;
        prefect.agent(&scene.deployment, "etl", json!({"enabled": false}));
        prefect.agent(&scene.deployment, "two", json!({}));
        crate::prefect::time_passes(scene.world(), ORPHAN_AFTER);
        let report = scene.deployment.poll().await;
        let two = &report["agents"]["two"];
        assert_eq!((&two["foreign_pending"], &two["recovered"]), (&json!(2), &json!([])), "{prefect:?}: {report:#}");
        assert!(scene.world().ecs_tasks().is_empty());
        // Once it is enabled again, it finishes what it began.
        prefect.agent(&scene.deployment, "etl", json!({}));
        let report = scene.polled_after(1).await;
        scene.are_recovered(&runs, &report);
    }
}

#[tokio::test]
async fn a_mark_of_ours_that_cannot_be_read_is_nobodys() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.claimed_and_not_launched(1).await;
        spoil(&scene);
        let before = histories(&scene, &runs);
        let report = scene.polled_after(ORPHAN_AFTER).await;
        assert_eq!(report["ok"], true, "{prefect:?}: {report:#}");
        // Prefect 3 tells ours by the claim's id, too.
        if prefect == Prefect::Three {
            return scene.are_recovered(&runs, &report);
        }
        assert!(scene.world().ecs_tasks().is_empty() && histories(&scene, &runs) == before, "{report:#}");
    }
}

/// Somebody rewrites what the states say.
fn spoil(scene: &Scene) {
    scene.world().prefect1(|prefect1| {
        for state in prefect1.flow_runs.iter_mut().flat_map(|run| run.states.iter_mut()) {
            state.serialized["context"] = json!({"prefect_serverless_agent": "spoiled"});
        }
    });
    scene.world().prefect3(|prefect3| {
        for state in prefect3.flow_runs.iter_mut().flat_map(|run| run.states.iter_mut()) {
            state.data = Value::Null;
        }
    });
}
