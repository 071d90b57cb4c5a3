//! A process of Prefect 3 that ended well without a word: its last words may still be on their way, so that the run is
//! looked at twice, ten seconds apart.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use futures_util::future::join_all;
use serde_json::Value;
use std::time::Duration;
use world::ecs::Stop;

/// A task exits with 0; after the first look at its run, `meanwhile` happens. The phase of the run in the end.
async fn meanwhile(begins: bool, happens: Option<Phase>) -> (Phase, String, Value) {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = scene.launched().await;
    if begins {
        scene.begin(&run, &task);
    }
    scene.world().lock().journal.clear();
    let looked = |state: &world::State| {
        state.journal.matching("prefect3", "flow_run_states").iter().any(|one| one.status.is_some())
    };
    let others = async {
        assert!(scene.world().wait_until(Duration::from_secs(20), looked).await, "nobody looked");
        if let Some(phase) = happens {
            scene.prefect.bring(scene.world(), &run, phase);
        }
    };
    let stop = Stop::exited(0);
    let (told, ()) = tokio::join!(scene.stops(&task, &stop), others);
    let run = scene.run(&run);
    (run.phase, run.message, told)
}

#[tokio::test]
async fn the_second_look_decides_and_leaves_what_the_run_has_become() {
    // All of them wait at the same time.
    let cases = [
        (false, None, Phase::Dead),
        (true, None, Phase::Dead),
        (true, Some(Phase::Ended), Phase::Ended),
        (true, Some(Phase::Waiting), Phase::Waiting),
        (true, Some(Phase::Paused), Phase::Paused),
        (false, Some(Phase::Running), Phase::Dead),
        (true, Some(Phase::Cancelling), Phase::Cancelled),
    ];
    let outcomes = join_all(cases.map(|(begins, happens, _)| meanwhile(begins, happens))).await;
    for ((begins, happens, expected), (phase, message, told)) in cases.into_iter().zip(outcomes) {
        assert_eq!(phase, expected, "began: {begins}, then {happens:?}: {told}");
        if expected == Phase::Dead {
            assert!(message.contains("exited with code 0") && done(&told).contains(&"ended"), "{message} {told}");
        }
    }
}
