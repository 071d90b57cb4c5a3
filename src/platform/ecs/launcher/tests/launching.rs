//! Starting, replaying, adopting.

use super::*;
use crate::aws::AwsError;
use crate::aws::ecs::{RunTaskAnswer, Task};
use crate::platform::TransientCause;
use crate::platform::ecs::outcome::INACTIVE;
use crate::platform::ecs::testing::{no_answer, object, refused, started, task};
use futures_util::future::join_all;
use serde_json::json;

const T1: &str = "arn:aws:ecs:eu-west-1:111111111111:task/c/t1";

fn prepared() -> PreparedLaunch {
    let run_task =
        object(json!({"taskDefinition": "f:1", "cluster": "c", "clientToken": "token", "startedBy": "prefect/etl/1"}));
    PreparedLaunch {
        flow_run_id: RUN.into(),
        run_task,
        run_sets: vec!["taskDefinition".into()],
        target: LaunchTarget::default(),
        words: Words::default(),
    }
}

fn answering(answers: impl IntoIterator<Item = Result<RunTaskAnswer, AwsError>>) -> Room {
    let room = room();
    room.ecs.world().run_task_answers = answers.into_iter().collect();
    room
}

fn knowing(room: &Room, task: Task) {
    room.ecs.world().tasks.insert(task.task_arn.clone(), task);
}

async fn launch(room: &Room) -> LaunchOutcome {
    room.launch(&prepared(), deadline()).await
}

fn started_t1() -> LaunchOutcome {
    LaunchOutcome::Started { id: T1.into() }
}

fn adopted_t1() -> LaunchOutcome {
    LaunchOutcome::Adopted { id: T1.into() }
}

fn throttled() -> AwsError {
    refused(400, "ThrottlingException", "Rate exceeded")
}

fn conflict() -> AwsError {
    AwsError::Answer {
        status: 400,
        code: "ConflictException".into(),
        message: "another request".into(),
        resource_ids: vec![T1.into()],
    }
}

fn stopped() -> Task {
    Task {
        stop_code: Some("TaskFailedToStart".into()),
        stopped_reason: Some("CannotPullContainerError".into()),
        ..task(T1, "STOPPED")
    }
}

#[tokio::test]
async fn the_first_answer_with_a_task_is_a_start() {
    let room = answering([Ok(started(T1))]);
    assert_eq!(launch(&room).await, started_t1());
    assert_eq!(room.ecs.world().calls, ["RunTask"]);
}

#[tokio::test]
async fn a_task_older_than_the_request_is_an_earlier_ones_and_looked_at() {
    for (age, now, expected) in [
        (3, task(T1, "PENDING"), started_t1()),
        (60, task(T1, "PENDING"), adopted_t1()),
        (
            60,
            stopped(),
            LaunchOutcome::Dead {
                id: T1.into(),
                reason: format!(
                    "Task {T1} stopped before the flow run began: TaskFailedToStart: CannotPullContainerError"
                ),
            },
        ),
    ] {
        // ECS may answer what it answered the first time.
        let mut answer = started(T1);
        answer.tasks[0].created_at = Some(START - Duration::from_secs(age));
        let room = answering([Ok(answer)]);
        knowing(&room, now);
        assert_eq!(launch(&room).await, expected, "{age}");
    }
}

#[tokio::test]
async fn without_an_answer_the_same_bytes_are_sent_again_and_the_task_is_looked_at() {
    let says_nothing = Ok(RunTaskAnswer::default());
    for lost in [Err(no_answer()), Err(AwsError::Malformed("half an answer".into())), says_nothing] {
        let room = answering([lost.clone(), lost, Ok(started(T1))]);
        knowing(&room, task(T1, "PENDING"));
        assert_eq!(launch(&room).await, adopted_t1());
        let world = room.ecs.world();
        assert_eq!(world.calls, ["RunTask", "RunTask", "RunTask", "DescribeTasks"]);
        assert!(world.run_tasks.iter().all(|body| *body == world.run_tasks[0]), "{:?}", world.run_tasks);
    }
}

#[tokio::test]
async fn three_requests_without_an_answer_stay_unknown() {
    let room = answering([Err(no_answer()), Err(no_answer()), Err(no_answer()), Ok(started(T1))]);
    let outcome = launch(&room).await;
    assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
    assert_eq!(room.ecs.count("RunTask"), 3);
}

#[tokio::test]
async fn what_no_answer_says_is_asked_by_started_by_before_anything_is_said() {
    let says_nothing = || Ok(RunTaskAnswer::default());
    let unclear = || [says_nothing(), Err(AwsError::Malformed("no tasks".into())), says_nothing()];
    let room = answering(unclear());
    room.ecs.world().listed = Some(Ok(vec![T1.into()]));
    assert_eq!(launch(&room).await, adopted_t1(), "listed, and too new to be described");
    assert_eq!(room.ecs.world().calls[..4], ["RunTask", "RunTask", "RunTask", "ListTasks"]);

    let room = answering(unclear());
    room.ecs.world().listed_as_stopped = Some(Ok(vec![T1.into()]));
    knowing(&room, Task { desired_status: "STOPPED".into(), ..task(T1, "RUNNING") });
    assert!(matches!(launch(&room).await, LaunchOutcome::Unknown(_)), "what ends is waited for");

    for listed in [Ok(vec![]), Err(throttled()), Err(refused(400, "AccessDeniedException", "")), Err(no_answer())] {
        let room = answering(unclear());
        room.ecs.world().listed = Some(listed);
        let outcome = launch(&room).await;
        assert!(
            matches!(&outcome, LaunchOutcome::Unknown(text) if text.contains("no tasks") || text.contains("neither"))
        );
    }
}

#[tokio::test]
async fn a_replay_that_does_not_get_through_does_not_make_the_first_try_known() {
    let capacity = refused(400, "ClientException", "Capacity is unavailable at this time.");
    let expired = refused(400, "ExpiredTokenException", "The security token included in the request is expired");
    let not_sent = AwsError::NotSent("refused".into());
    for refusal in [throttled(), not_sent, refused(500, "ServerException", ""), capacity, expired] {
        let room = answering([Err(no_answer()), Err(refusal.clone()), Err(refusal.clone())]);
        let outcome = launch(&room).await;
        let LaunchOutcome::Unknown(text) = &outcome else { panic!("after {refusal:?}: {outcome:?}") };
        assert!(text.contains("connection reset; then "), "{text}");
    }
    let room = answering([Err(no_answer()), Err(throttled()), Ok(started(T1))]);
    knowing(&room, task(T1, "PENDING"));
    assert_eq!(launch(&room).await, adopted_t1(), "and the next replay finds out");
}

#[tokio::test]
async fn known_refusals_are_not_sent_again() {
    let room = answering([Err(throttled()), Ok(started(T1))]);
    let outcome = launch(&room).await;
    let is_throttled = matches!(outcome, LaunchOutcome::Transient { cause: TransientCause::Throttled, .. });
    assert!(is_throttled, "{outcome:?}");
    assert_eq!(room.ecs.count("RunTask"), 1);
}

#[tokio::test]
async fn a_conflict_adopts_what_lives_and_reports_what_died() {
    let room = answering([Err(conflict())]);
    knowing(&room, task(T1, "RUNNING"));
    assert_eq!(launch(&room).await, adopted_t1());

    let room = answering([Err(conflict())]);
    knowing(&room, stopped());
    let reason = format!("Task {T1} stopped before the flow run began: TaskFailedToStart: CannotPullContainerError");
    assert_eq!(launch(&room).await, LaunchOutcome::Dead { id: T1.into(), reason });
}

#[tokio::test]
async fn of_several_tasks_the_live_one_is_adopted() {
    let mut both = conflict();
    if let AwsError::Answer { resource_ids, .. } = &mut both {
        resource_ids.insert(0, "arn:dead".into());
    }
    let room = answering([Err(both)]);
    knowing(&room, task("arn:dead", "STOPPED"));
    knowing(&room, task(T1, "PENDING"));
    assert_eq!(launch(&room).await, adopted_t1());
}

#[tokio::test]
async fn a_first_answer_with_a_task_that_ends_is_an_earlier_ones() {
    for status in ["STOPPED", "DEPROVISIONING"] {
        let room = answering([Ok(RunTaskAnswer { tasks: vec![task(T1, status)], failures: vec![] })]);
        knowing(&room, stopped());
        assert!(matches!(launch(&room).await, LaunchOutcome::Dead { .. }), "{status}");
    }
}

#[tokio::test]
async fn looking_at_a_task_is_tried_again() {
    let room = answering([Err(conflict())]);
    room.ecs.world().describe_tasks_errors = [throttled(), no_answer()].into();
    knowing(&room, task(T1, "PENDING"));
    assert_eq!(launch(&room).await, adopted_t1());
    assert_eq!(room.ecs.count("DescribeTasks"), 3);
}

#[tokio::test]
async fn a_task_that_cannot_be_looked_at_is_what_its_answer_said() {
    let room = answering([Err(no_answer()), Ok(started(T1))]);
    assert_eq!(launch(&room).await, adopted_t1(), "ECS gave its ARN just now; it shows it a little later");
    let room = answering([Err(conflict())]);
    let outcome = launch(&room).await;
    assert!(matches!(&outcome, LaunchOutcome::Unknown(text) if text.contains(T1)), "{outcome:?}");
}

#[tokio::test]
async fn what_does_not_answer_by_the_deadline_is_unknown() {
    let room = answering([]);
    let outcome = room.launch(&prepared(), START + Duration::from_millis(20)).await;
    assert!(matches!(&outcome, LaunchOutcome::Unknown(text) if text.contains("deadline")), "{outcome:?}");
}

#[tokio::test]
async fn no_replay_is_begun_past_the_deadline() {
    let room = answering([Err(no_answer()), Ok(started(T1))]);
    let outcome = room.launch(&prepared(), START + Duration::from_millis(100)).await;
    assert!(matches!(outcome, LaunchOutcome::Unknown(_)), "{outcome:?}");
    assert_eq!(room.ecs.count("RunTask"), 1);
}

#[tokio::test]
async fn past_the_deadline_nothing_is_started() {
    let room = answering([Ok(started(T1))]);
    let outcome = room.launch(&prepared(), START - Duration::from_secs(1)).await;
    assert!(matches!(outcome, LaunchOutcome::Transient { .. }), "known not to be started: {outcome:?}");
    assert_eq!(room.ecs.count("RunTask"), 0);
}

#[tokio::test]
async fn launches_keep_to_the_rate_and_those_without_a_slot_are_known_not_started() {
    let room = with_rate(Some(20.0));
    room.ecs.world().run_task_answers = (0..100).map(|_| Ok(started(T1))).collect();
    let deadline = START + Duration::from_millis(1500);
    assert_eq!(room.room(deadline), Some(40));
    let launch = prepared();
    let outcomes = join_all((0..50).map(|_| room.launch(&launch, deadline))).await;
    let begun = outcomes.iter().filter(|outcome| **outcome == started_t1()).count();
    assert_eq!((begun, room.ecs.count("RunTask")), (40, 40), "20 at once, 20 a second later");
    for outcome in outcomes.iter().filter(|outcome| **outcome != started_t1()) {
        assert!(
            matches!(outcome, LaunchOutcome::Transient { reason, .. } if reason.contains("launch_rate")),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn an_inactive_definition_of_ours_is_forgotten_another_fails_its_run() {
    let inactive = || Err(refused(400, "ClientException", "TaskDefinition is inactive"));
    let room = answering([inactive(), inactive(), Ok(started(T1))]);
    let own = object(json!({"family": "prefect-etl", "containerDefinitions": [{"name": "flow"}]}));
    let spec = crate::platform::ecs::testing::spec(Definition::Own(own), json!({}));
    let old = room.prepare(&spec, &identity()).await.unwrap().launch;
    room.ecs.world().definitions[0].definition.insert("status".into(), json!("INACTIVE"));
    assert_eq!(room.launch(&old, deadline()).await, INACTIVE);
    let new = room.prepare(&spec, &identity()).await.unwrap().launch;
    assert_ne!(new.run_task["taskDefinition"], old.run_task["taskDefinition"]);

    let outcome = launch(&room).await;
    assert!(matches!(&outcome, LaunchOutcome::Permanent(text) if text.contains("f:1")), "{outcome:?}");
    assert_eq!(room.launch(&new, deadline()).await, started_t1());
}

#[tokio::test]
async fn an_inferred_network_that_went_away_is_looked_up_again() {
    let room = answering([Err(refused(400, "InvalidParameterException", "The subnet ID 'subnet-1' does not exist"))]);
    room.ecs.world().vpc = Some("vpc-1".into());
    room.ecs.world().subnets = vec!["subnet-1".into()];
    let definition = Definition::Existing { name: "f:1".into(), definition_roles: vec![] };
    let spec = LaunchSpec { infer_network: true, ..crate::platform::ecs::testing::spec(definition, json!({})) };
    let old = room.prepare(&spec, &identity()).await.unwrap().launch;
    assert!(matches!(room.launch(&old, deadline()).await, LaunchOutcome::AgentTrouble(_)));
    room.ecs.world().subnets = vec!["subnet-9".into()];
    let new = room.prepare(&spec, &identity()).await.unwrap().launch;
    assert_eq!(new.run_task["networkConfiguration"]["awsvpcConfiguration"]["subnets"], json!(["subnet-9"]));
}
