//! Answers of ECS that say less than they should, to a worker of Prefect 3.

use super::scene::Scene;
use crate::odd_answers::{SAY_NOTHING, answer};
use crate::support::ids;
use serde_json::json;
use world::prefect3::RunSpec;

#[tokio::test]
async fn a_launch_that_is_answered_with_nothing_never_crashes_the_run() {
    for body in SAY_NOTHING {
        for always in [false, true] {
            let scene = Scene::new().await;
            let run = scene.run(RunSpec::default());
            let fault = answer("RunTask", body);
            scene.deployment.world.fault(if always { fault.always() } else { fault });
            let report = scene.poll().await;
            assert_eq!(ids(&report, "launched"), std::slice::from_ref(&run), "{body}, {always}: {report:#}");
            assert_eq!(scene.history(&run), ["Scheduled", "Pending"], "{body}, {always}");
            assert_eq!(report["launched"][0]["task_arn"], json!(scene.tasks()[0].arn), "{body}, {always}");
            assert_eq!(scene.tasks().len(), 1, "{body}, {always}");
        }
    }
}
