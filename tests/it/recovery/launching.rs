//! Claims without a task: the launch is finished, once.

use super::scene::{ORPHAN_AFTER, Scene};
use crate::prefect::{Phase, Prefect, time_passes};
use crate::support::{agent, ids, poll, reason};
use futures_util::future::join_all;
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use world::ecs::Refusal;
use world::{Fault, FaultKind};

#[tokio::test]
async fn runs_whose_poll_was_killed_between_claim_and_launch_get_their_one_task() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.claimed_and_not_launched(3).await;
        let report = scene.polled_after(ORPHAN_AFTER).await;
        scene.are_recovered(&runs, &report);
        assert_eq!(report["ready"], 0, "{prefect:?}: nothing was due: {report:#}");
        let tokens: BTreeSet<_> = scene.world().ecs_tasks().into_iter().map(|task| task.client_token).collect();
        let sent = scene.world().requests("ecs", "RunTask");
        let first = sent.iter().take(3).map(|request| request.json()["clientToken"].as_str().map(str::to_owned));
        assert_eq!(tokens, first.collect(), "{prefect:?}: with the tokens of their claims");
        let report = scene.polled_after(ORPHAN_AFTER).await;
        assert_eq!((&report["ok"], scene.world().ecs_tasks().len()), (&json!(true), 3), "{prefect:?}: {report:#}");
    }
}

#[tokio::test]
async fn a_young_claim_is_left_to_whoever_may_be_launching_it() {
    for prefect in Prefect::BOTH {
        let scene = Scene::with(prefect, json!({"orphan_after_seconds": 300})).await;
        let runs = scene.claimed_and_not_launched(1).await;
        for _ in 0..2 {
            let report = scene.polled_after(145).await;
            assert!(
                ids(&report, "recovered").is_empty() && scene.world().ecs_tasks().is_empty(),
                "{prefect:?}: {report:#}"
            );
            assert_eq!(report["foreign_pending"], 0, "{prefect:?}: {report:#}");
        }
        let report = scene.polled_after(15).await;
        scene.are_recovered(&runs, &report);
    }
}

#[tokio::test]
async fn a_request_of_the_killed_poll_that_arrives_late_starts_no_second_task() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.runs(1);
        // On its way for three seconds, and its sender dead by then.
        scene.world().fault(Fault::new("ecs", "RunTask", FaultKind::DelayBefore { ms: 3000 }));
        scene.killed_when(|state| !state.journal.matching("ecs", "RunTask").is_empty()).await;
        let report = scene.polled_after(ORPHAN_AFTER).await;
        scene.are_recovered(&runs, &report);
        let answered = |state: &world::State| {
            let sent = state.journal.matching("ecs", "RunTask");
            sent.len() == 2 && sent.iter().all(|request| request.status == Some(200))
        };
        assert!(scene.world().wait_until(Duration::from_secs(20), answered).await);
        assert_eq!(scene.world().ecs_tasks().len(), 1, "{prefect:?}");
    }
}

#[tokio::test]
async fn polls_that_finish_the_same_claims_at_once_start_one_task_each() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.claimed_and_not_launched(5).await;
        time_passes(scene.world(), ORPHAN_AFTER);
        scene.world().latency(Duration::from_millis(30));
        let functions = join_all((0..3).map(|_| scene.deployment.poll_function())).await;
        let reports = join_all(functions.iter().map(poll)).await;
        assert_eq!(scene.world().ecs_tasks().len(), runs.len(), "{prefect:?}: {reports:#?}");
        assert!(reports.iter().all(|report| agent(report, "etl")["ok"] == true), "{prefect:?}: {reports:#?}");
    }
}

#[tokio::test]
async fn what_was_configured_meanwhile_holds_but_the_launch_goes_to_the_cluster_of_the_claim() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.claimed_and_not_launched(1).await;
        let mut sent = scene.world().requests("ecs", "RunTask");
        let first = sent.remove(0).json();
        scene.world().ecs_cluster("other");
        scene.configure_anew("other");
        let report = scene.polled_after(ORPHAN_AFTER).await;
        scene.are_recovered(&runs, &report);
        let task = &scene.world().ecs_tasks()[0];
        assert_eq!(task.client_token.as_deref(), first["clientToken"].as_str(), "{prefect:?}");
        assert!(task.cluster_arn.ends_with(":cluster/default"), "{prefect:?}: {}", task.cluster_arn);
        let pid = scene.run(&runs[0]).pid;
        assert!(pid.is_none_or(|pid| pid.starts_with(&format!("{}::", task.cluster_arn))), "{prefect:?}");
        assert!(task.request.to_string().contains("STAGE"), "{prefect:?}: {}", task.request);
    }
}

#[tokio::test]
async fn an_orphan_whose_launch_is_refused_is_given_back_and_launched_in_a_new_turn() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let runs = scene.claimed_and_not_launched(1).await;
        let refusal = Refusal { reason: "RESOURCE:MEMORY".into(), detail: None, body_contains: None, count: 1 };
        scene.world().ecs_refuse(refusal);
        let report = scene.polled_after(ORPHAN_AFTER).await;
        assert!(reason(&report, "deferred", &runs[0]).contains("RESOURCE:MEMORY"), "{prefect:?}: {report:#}");
        assert_eq!(scene.run(&runs[0]).phase, Phase::Waiting, "{prefect:?}");
        let report = scene.polled_after(60).await;
        assert_eq!(ids(&report, "launched"), runs, "{prefect:?}: {report:#}");
        assert_eq!(scene.world().ecs_tasks().len(), 1, "{prefect:?}");
    }
}

#[tokio::test]
async fn what_became_of_an_orphan_meanwhile_is_respected() {
    for prefect in Prefect::BOTH {
        for phase in [Phase::Cancelled, Phase::Ended, Phase::Dead, Phase::Paused] {
            let scene = Scene::new(prefect).await;
            let runs = scene.claimed_and_not_launched(1).await;
            prefect.bring(scene.world(), &runs[0], phase);
            let report = scene.polled_after(ORPHAN_AFTER).await;
            assert_eq!((&report["ok"], scene.world().ecs_tasks().len()), (&json!(true), 0), "{prefect:?} {phase:?}");
            assert_eq!(scene.run(&runs[0]).phase, phase, "{prefect:?}");
        }
    }
}
