//! Prefect 3 only: tasks that a Python worker started, told by their tags; events and states that tell of a task.

use super::scene::{Scene, done};
use crate::prefect::{Phase, Prefect};
use bytes::Bytes;
use serde_json::{Value, json};
use world::ecs::Stop;
use world::prefect3::{POOL, RunSpec};
use world::route::Scope;
use world::{Fault, FaultKind};

async fn ecs(scene: &Scene, operation: &str, input: &Value) {
    let answer = world::ecs::handle(scene.world(), &Scope::default(), operation, &Bytes::from(input.to_string())).await;
    assert_eq!(answer.status().as_u16(), 200, "{operation} {input}");
}

/// A run that a worker of `pool` launched, with its task. The worker registered a definition for it alone.
pub(super) async fn of_worker(scene: &Scene, pool: &str) -> (String, String) {
    let run = scene.world().prefect3_run(RunSpec::default());
    scene.prefect.bring(scene.world(), &run, Phase::Claimed);
    let family = format!("prefect_{pool}_{run}");
    let containers = json!([{"name": "prefect", "image": "prefecthq/prefect:3-latest"}]);
    let definition = json!({
        "family": family, "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "1024",
        "memory": "2048", "containerDefinitions": containers,
    });
    ecs(scene, "RegisterTaskDefinition", &definition).await;
    let tags = [
        ("prefect.io/flow-run-id", run.as_str()),
        ("prefect.io/flow-run-name", "calm-otter"),
        ("prefect.io/work-pool-name", pool),
        ("prefect.io/worker-name", "ECSWorker 0123"),
        ("prefect.io/degregister-task-definition", "true"),
    ];
    let tags = tags.map(|(key, value)| json!({"key": key, "value": value}));
    let network = json!({"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "ENABLED"}});
    let run_task = json!({
        "taskDefinition": family, "launchType": "FARGATE", "networkConfiguration": network, "tags": tags,
    });
    ecs(scene, "RunTask", &run_task).await;
    let task = scene.tasks().last().unwrap().arn.clone();
    scene.world().prefect3(|prefect3| {
        let known = prefect3.flow_runs.iter_mut().find(|known| known.id == run).unwrap();
        known.infrastructure_pid = Some(format!("default::{task}"));
    });
    (run, task)
}

fn is_registered(scene: &Scene, task: &str) -> bool {
    let definition = scene.task(task).definition_arn;
    let state = scene.world().lock();
    state.ecs.definitions.iter().any(|known| known.arn == definition && known.active)
}

/// Two agents serve pools of the same name on different servers. The first one's server is away.
#[tokio::test]
async fn of_several_agents_one_that_is_in_trouble_keeps_no_other_from_telling() {
    let scene = Scene::new(Prefect::Three).await;
    // In the order of their names, it is asked first. Nobody listens there.
    Prefect::Three.agent(&scene.deployment, "a-stranger", json!({"api": "http://127.0.0.1:1/api"}));
    let (run, task) = of_worker(&scene, POOL).await;
    let told = scene.stops(&task, &Stop::exited(1)).await;
    assert_eq!((told["agent"].as_str(), scene.phase(&run)), (Some("etl"), Phase::Dead), "{told}");
}

#[tokio::test]
async fn a_workers_task_that_dies_ends_its_run_in_the_words_of_its_observer() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = of_worker(&scene, POOL).await;
    let told = scene.stops(&task, &Stop::exited(1)).await;
    assert_eq!(done(&told), ["ended", "event posted", "logged", "definition deregistered"], "{told}");
    let dead = scene.run(&run);
    let message = "The following containers stopped with a non-zero exit code: ['prefect']";
    assert_eq!((dead.phase, dead.message.as_str()), (Phase::Dead, message));
    let log = scene.log(&run, "ERROR");
    assert!(log[0].starts_with("Essential container exited: Container 'prefect' exited with code 1."), "{log:?}");
}

#[tokio::test]
async fn a_workers_claim_is_never_given_back() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = of_worker(&scene, POOL).await;
    // It stopped before it had a container.
    scene.world().lock().ecs.task_mut(&task).unwrap().containers.clear();
    scene.stops(&task, &Stop::failed_to_start("Capacity is unavailable at this time.")).await;
    let dead = scene.run(&run);
    let message = "ECS task failed to start: Capacity is unavailable at this time.. The capacity provider could not place \
                   the task.";
    assert_eq!((dead.phase, dead.message.as_str()), (Phase::Dead, message));
}

#[tokio::test]
async fn a_definition_goes_with_its_task_and_not_before() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = of_worker(&scene, POOL).await;
    for status in ["PENDING", "RUNNING", "DEPROVISIONING"] {
        scene.world().ecs_set_status(&task, status);
        scene.event(&task).await;
        assert!(is_registered(&scene, &task), "{status}");
    }
    scene.prefect.bring(scene.world(), &run, Phase::Ended);
    let before = scene.before(&run);
    let told = scene.stops(&task, &Stop::exited(0)).await;
    assert_eq!(done(&told), ["event posted", "definition deregistered"], "{told}");
    assert!(!is_registered(&scene, &task));
    scene.is_unchanged(&before);
    let told = scene.event(&task).await;
    assert_eq!(done(&told), ["event posted"], "it is gone already, which is no error: {told}");
}

#[tokio::test]
async fn tasks_of_other_pools_and_tasks_without_tags_are_nobodys() {
    let scene = Scene::new(Prefect::Three).await;
    let (other, other_task) = of_worker(&scene, "other-pool").await;
    let (plain, plain_task) = of_worker(&scene, POOL).await;
    scene.world().lock().ecs.task_mut(&plain_task).unwrap().tags.clear();
    for (run, task) in [(other, other_task), (plain, plain_task)] {
        let before = scene.before(&run);
        let told = scene.stops(&task, &Stop::exited(1)).await;
        assert_eq!((&told["agent"], done(&told).len()), (&Value::Null, 0), "{told}");
        scene.is_unchanged(&before);
        assert!(is_registered(&scene, &task));
    }
    assert_eq!(scene.world().count("prefect3", "events"), 0);
}

#[tokio::test]
async fn tags_are_forgotten_after_an_hour_and_then_a_person_must_look() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = of_worker(&scene, POOL).await;
    scene.world().ecs_stop(&task, &Stop::exited(1));
    scene.world().grow_older(std::time::Duration::from_secs(3601));
    let before = scene.before(&run);
    let error = scene.deliver(scene.world().task_event(&task)).await.expect_err("it is not dropped silently");
    assert!(error.error_message.contains("ECS has forgotten its tags"), "{error:?}");
    scene.is_unchanged(&before);

    // Ours names its run itself.
    let (run, task) = scene.running().await;
    scene.world().ecs_stop(&task, &Stop::exited(1));
    scene.world().grow_older(std::time::Duration::from_secs(3601));
    scene.event(&task).await;
    assert_eq!(scene.phase(&run), Phase::Dead);
}

#[tokio::test]
async fn a_task_that_cannot_be_described_is_told_of_again_later_unless_it_is_ours() {
    let scene = Scene::new(Prefect::Three).await;
    let (theirs, their_task) = of_worker(&scene, POOL).await;
    let (ours, our_task) = scene.running().await;
    let denied = FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    scene.world().fault(Fault::new("ecs", "DescribeTasks", denied).always());
    scene.stops(&our_task, &Stop::exited(1)).await;
    assert_eq!(scene.phase(&ours), Phase::Dead, "tags only add to what is told");
    scene.world().ecs_stop(&their_task, &Stop::exited(1));
    let error = scene.deliver(scene.world().task_event(&their_task)).await.unwrap_err();
    assert_eq!(error.error_type, "TaskEventFailed", "{error:?}");
    scene.world().lock().faults.clear();
    scene.event(&their_task).await;
    assert_eq!(scene.phase(&theirs), Phase::Dead);
}

#[tokio::test]
async fn prefect_hears_of_every_change_with_all_that_the_tags_know() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = scene.launched().await;
    let events = || scene.world().prefect3(|prefect3| prefect3.events.clone());
    let is_of_task = |event: &&Value| event["event"].as_str().unwrap().starts_with("prefect.ecs.task.");
    for status in ["PENDING", "RUNNING", "DEPROVISIONING"] {
        scene.world().ecs_set_status(&task, status);
        scene.event(&task).await;
    }
    scene.prefect.bring(scene.world(), &run, Phase::Ended);
    scene.stops(&task, &Stop::exited(0)).await;
    let posted: Vec<Value> = events().iter().filter(is_of_task).cloned().collect();
    let names: Vec<_> = posted.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let expected =
        ["pending", "running", "deprovisioning", "stopped"].map(|status| format!("prefect.ecs.task.{status}"));
    assert_eq!(names, expected);
    let stopped = &posted[3];
    assert_eq!(
        (&stopped["id"], &stopped["resource"]["ecs.taskArn"]),
        (&scene.world().task_event(&task)["id"], &json!(task))
    );
    let roles: Vec<_> =
        stopped["related"].as_array().unwrap().iter().map(|one| &one["prefect.resource.role"]).collect();
    assert_eq!(roles, ["flow-run", "deployment", "flow", "work-pool", "worker"], "{stopped:#}");
    assert_eq!(stopped["related"][0]["prefect.resource.id"], json!(format!("prefect.flow-run.{run}")));
}

#[tokio::test]
async fn a_task_that_waits_for_its_start_is_shown_in_the_runs_state() {
    let scene = Scene::new(Prefect::Three).await;
    let (run, task) = scene.launched().await;
    scene.world().ecs_set_status(&task, "PENDING");
    let pending = scene.world().task_event(&task);
    scene.told(pending.clone()).await;
    let shown = scene.run(&run);
    assert_eq!(
        (shown.history.last().unwrap().as_str(), shown.message.as_str()),
        ("InfrastructurePending", "ECS task is pending.")
    );
    // The claim below it is still known as ours: a task that dies now gives it back.
    scene.stops(&task, &Stop::failed_to_start("Capacity is unavailable at this time.")).await;
    assert_eq!(scene.phase(&run), Phase::Waiting);

    let (run, task) = scene.launched().await;
    let provisioning = scene.world().task_event(&task);
    scene.world().ecs_set_status(&task, "PENDING");
    let before = scene.before(&run);
    scene.told(provisioning).await;
    scene.is_unchanged(&before);
}
