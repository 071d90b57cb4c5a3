//! Tasks that stop before the flow begins: another turn where that can help, else the end, with the reason and a remedy.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use serde_json::json;
use world::ecs::Stop;

/// What passes by itself.
const PASSING: [(&str, &str); 6] = [
    ("TaskFailedToStart", "Capacity is unavailable at this time. Please try again later or in a different zone"),
    ("TaskFailedToStart", "Timeout waiting for network interface provisioning to complete."),
    ("TaskFailedToStart", "CannotPullContainerError: pull image manifest: dial tcp 10.0.0.1:443: i/o timeout"),
    (
        "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: context deadline exceeded",
    ),
    ("SpotInterruption", "Your Spot Task was interrupted."),
    ("InfrastructureHealth", "The host of the task was impaired."),
];

fn before_start(code: &str, reason: &str) -> Stop {
    Stop { code: code.to_owned(), ..Stop::failed_to_start(reason) }
}

#[tokio::test]
async fn what_can_pass_gives_the_run_back_and_the_next_poll_launches_it_again() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        for (code, reason) in PASSING {
            let (run, task) = scene.launched().await;
            let told = scene.stops(&task, &before_start(code, reason)).await;
            assert_eq!(done(&told), expected(prefect, &["given back", "logged"]), "{prefect:?} {reason}: {told}");
            let given_back = scene.run(&run);
            assert_eq!(given_back.phase, Phase::Waiting, "{prefect:?} {reason}: {given_back:?}");
            let words = reason.trim_end_matches('.');
            assert!(given_back.message.contains(&task) && given_back.message.contains(words), "{given_back:?}");
            assert_eq!((&given_back.mark["attempt"], &given_back.pid), (&json!(1), &None), "{given_back:?}");
            let log = scene.log(&run, "WARNING");
            assert!(log.len() == 1 && log[0].contains("tried again") && log[0].contains(words), "{log:?}");

            let next = scene.launch(&run).await;
            let (first, second) = (scene.task(&task), scene.task(&next));
            assert_ne!(first.client_token, second.client_token, "a new turn has a new token");
            assert_eq!(scene.run(&run).mark["attempt"], 2);
        }
    }
}

#[tokio::test]
async fn a_key_that_the_role_may_not_read_ends_the_run_with_the_permission_and_the_setting() {
    let arn = "arn:aws:ssm:us-east-1:123456789012:parameter/psa/test/secrets/etl/api-key";
    let reason = format!(
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable \
         to retrieve secrets from ssm: service call has been retried 1 time(s): AccessDeniedException: User: \
         arn:aws:sts::123456789012:assumed-role/ecsTaskExecutionRole/f83b93a4 is not authorized to perform: \
         ssm:GetParameters on resource: {arn} because no identity-based policy allows the ssm:GetParameters action"
    );
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.launched().await;
        scene.stops(&task, &before_start("TaskFailedToStart", &reason)).await;
        let dead = scene.run(&run);
        assert_eq!(dead.phase, Phase::Dead, "{prefect:?}: {dead:?}");
        for part in [format!("ssm:GetParameters on {arn} "), "kms:Decrypt".into(), "api_key_delivery".into()] {
            assert!(dead.message.contains(&part), "{prefect:?}: {part}: {}", dead.message);
        }
    }
}

/// What Prefect 3 is told beside, once the run is in order: an event.
fn expected(prefect: Prefect, done: &[&'static str]) -> Vec<&'static str> {
    let event: &[&str] = if prefect == Prefect::Three { &["event posted"] } else { &[] };
    let (state, rest) = done.split_at(1);
    [state, event, rest].concat()
}

#[tokio::test]
async fn want_of_capacity_is_counted_so_that_spot_gives_way_in_the_end() {
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        let (run, task) = scene.launched().await;
        scene.stops(&task, &before_start(PASSING[0].0, PASSING[0].1)).await;
        assert_eq!(scene.run(&run).mark["capacity_refusals"], 1, "{prefect:?}");
        let next = scene.launch(&run).await;
        scene.stops(&next, &before_start(PASSING[1].0, PASSING[1].1)).await;
        assert_eq!(scene.run(&run).mark["capacity_refusals"], 1, "{prefect:?}: a network is no capacity");
    }
}

#[tokio::test]
async fn a_task_that_never_starts_is_tried_so_often_and_then_the_run_ends_with_the_whole_story() {
    for prefect in Prefect::BOTH {
        let scene = Scene::with(prefect, json!({"max_launch_attempts": 3})).await;
        let run = prefect.due_run(scene.world());
        let (code, reason) = PASSING[1];
        for attempt in 1..=3 {
            assert_eq!(scene.phase(&run), Phase::Waiting, "{prefect:?}, attempt {attempt}");
            let task = scene.launch(&run).await;
            scene.stops(&task, &before_start(code, reason)).await;
        }
        let dead = scene.run(&run);
        assert_eq!(dead.phase, Phase::Dead, "{prefect:?}: {dead:?}");
        for part in ["after 3 attempts", "network interface provisioning", &scene.tasks()[2].arn, "subnets"] {
            assert!(dead.message.contains(part), "{prefect:?}: {part} is missing: {}", dead.message);
        }
        assert_eq!(scene.tasks().len(), 3, "{prefect:?}");
        assert_eq!(scene.poll().await["ready"], 0, "{prefect:?}");
    }
}

#[tokio::test]
async fn what_does_not_pass_ends_the_run_with_the_reason_and_what_helps() {
    let causes = [
        (
            "CannotPullContainerError: failed to resolve ref docker.io/acme/flow:1: docker.io/acme/flow:1: not found",
            "The container image could not be pulled",
            "Check the image's name and tag",
        ),
        (
            "ResourceInitializationError: unable to pull secrets or registry auth: unable to retrieve secrets from ssm: \
             invalid parameters: /team/token",
            "A secret of the task could not be read",
            "the execution role may read and decrypt them",
        ),
        (
            "ResourceInitializationError: failed to validate logger args: The task cannot find the Amazon CloudWatch log \
             group /team/flows",
            "could not be prepared",
            "Check the log groups",
        ),
        (
            "CannotStartContainerError: exec: \"prefect\": executable file not found in $PATH",
            "could not be started",
            "Check the image's entry point",
        ),
    ];
    for prefect in Prefect::BOTH {
        let scene = Scene::new(prefect).await;
        for (reason, sentence, remedy) in causes {
            let (run, task) = scene.launched().await;
            let told = scene.stops(&task, &Stop::failed_to_start(reason)).await;
            assert_eq!(done(&told), expected(prefect, &["ended", "logged"]), "{prefect:?} {reason}: {told}");
            let dead = scene.run(&run);
            assert_eq!(dead.phase, Phase::Dead, "{prefect:?}: {dead:?}");
            for part in [sentence, reason, remedy, &task] {
                assert!(dead.message.contains(part), "{prefect:?}: {part} is missing: {}", dead.message);
            }
            let log = scene.log(&run, "ERROR");
            assert!(log.len() == 1 && log[0].contains(reason), "{prefect:?}: {log:?}");
            assert!(prefect == Prefect::Three || log[0].contains(remedy), "{log:?}");
        }
    }
}
