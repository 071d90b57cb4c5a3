#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::aws::AwsError;
use crate::platform::ecs::testing::{FakeAws, JumpingClock, RUN, START, no_answer, object, refused};
use serde_json::json;

const LIMIT: &str = "Too many concurrent attempts to create a new revision of the specified family.";

fn body(image: &str) -> Map<String, Value> {
    object(json!({"family": "prefect-etl", "containerDefinitions": [{"name": "flow", "image": image}]}))
}

struct Room {
    aws: FakeAws,
    ecs: Ecs,
    clock: JumpingClock,
    cache: DefinitionCache,
}

impl Room {
    fn new() -> Self {
        Self::on(FakeAws::default())
    }

    fn on(aws: FakeAws) -> Self {
        Self { ecs: aws.clients().0, aws, clock: JumpingClock::new(), cache: DefinitionCache::default() }
    }

    /// The same AWS, as a new process sees it.
    fn restarted(&self) -> Self {
        Self::on(self.aws.clone())
    }

    async fn resolve(&self, body: &Map<String, Value>) -> Result<String, LaunchOutcome> {
        let origin = Origin { flow_run_id: RUN, ..Origin::nobodys() };
        self.cache.settle(&self.ecs, &self.clock, body, &origin).await.map(|(arn, _)| arn)
    }

    fn registrations(&self) -> usize {
        self.aws.count("RegisterTaskDefinition")
    }
}

#[tokio::test]
async fn a_hundred_runs_side_by_side_register_once() {
    let room = Room::new();
    let body = body("etl:1");
    let arns = join_all((0..100).map(|_| room.resolve(&body))).await;
    let first = arns[0].clone().unwrap();
    assert!(arns.iter().all(|arn| arn.as_ref() == Ok(&first)), "{arns:?}");
    assert_eq!(room.aws.world().calls, ["DescribeTaskDefinition", "RegisterTaskDefinition"]);
    assert_eq!(room.resolve(&body).await, Ok(first));
    assert_eq!(room.aws.world().calls.len(), 2, "remembered");
}

#[tokio::test]
async fn a_cold_start_finds_what_was_registered() {
    let room = Room::new();
    let arn = room.resolve(&body("etl:1")).await;
    let cold = room.restarted();
    assert_eq!(cold.resolve(&body("etl:1")).await, arn);
    assert_eq!(cold.registrations(), 1, "{:?}", cold.aws.world().calls);
}

#[tokio::test]
async fn run_configurations_that_alternate_are_found_among_the_newest() {
    let room = Room::new();
    let mut arns = vec![];
    for n in 1..=5 {
        arns.push(room.resolve(&body(&format!("etl:{n}"))).await.unwrap());
    }
    let cold = room.restarted();
    for n in 1..=5 {
        assert_eq!(cold.resolve(&body(&format!("etl:{n}"))).await.as_ref(), Ok(&arns[n - 1]), "revision {n}");
    }
    assert_eq!(cold.registrations(), 5);
}

#[tokio::test]
async fn different_definitions_of_a_family_are_registered_one_after_the_other() {
    let room = Room::new();
    let bodies = [body("etl:1"), body("etl:2"), body("etl:3")];
    let arns = join_all(bodies.iter().cycle().take(30).map(|body| room.resolve(body))).await;
    assert!(arns.iter().all(Result::is_ok), "{arns:?}");
    assert_eq!(room.registrations(), 3);
    let calls = room.aws.world().calls.clone();
    let after_register = calls.iter().skip_while(|call| *call != "RegisterTaskDefinition").nth(1);
    assert_ne!(after_register.map(String::as_str), Some("RegisterTaskDefinition"), "{calls:?}");
}

#[tokio::test]
async fn throttled_registrations_are_tried_again_a_few_times() {
    let room = Room::new();
    let throttled = || refused(400, "ClientException", LIMIT);
    room.aws.world().register_errors = [throttled(), no_answer(), throttled()].into();
    assert!(room.resolve(&body("etl:1")).await.is_ok());
    assert_eq!(room.registrations(), 4);
    let waited = room.clock.now() - START;
    assert!(waited >= Duration::from_millis(3500) && waited < Duration::from_secs(5), "waited {waited}");
}

#[tokio::test]
async fn throttling_without_end_is_transient_and_shared() {
    let room = Room::new();
    room.aws.world().register_errors = vec![refused(400, "ThrottlingException", "Rate exceeded"); 100].into();
    let body = body("etl:1");
    let outcomes = join_all((0..50).map(|_| room.resolve(&body))).await;
    for outcome in outcomes {
        let is_throttled = matches!(outcome, Err(LaunchOutcome::Transient { cause: TransientCause::Throttled, .. }));
        assert!(is_throttled, "{outcome:?}");
    }
    assert_eq!(room.registrations(), 4, "fifty runs share four tries");
}

#[tokio::test]
async fn before_another_try_it_is_looked_whether_someone_was_quicker() {
    for error in [refused(400, "ClientException", LIMIT), no_answer()] {
        let room = Room::new();
        room.aws.world().register_errors = [error].into();
        room.aws.world().registers_all_the_same = true;
        let arn = room.resolve(&body("etl:1")).await.unwrap();
        assert!(arn.ends_with("/prefect-etl:1"), "{arn}");
        assert_eq!(room.registrations(), 1);
    }
}

#[tokio::test]
async fn what_cannot_pass_is_not_tried_again() {
    let room = Room::new();
    let error = "No Fargate configuration exists for given values: 256 CPU, 9 memory.";
    room.aws.world().register_errors = [refused(400, "ClientException", error)].into();
    let outcome = room.resolve(&body("etl:1")).await;
    assert!(matches!(&outcome, Err(LaunchOutcome::Permanent(text)) if text.contains("cpu and memory")), "{outcome:?}");
    assert_eq!(room.registrations(), 1);
    assert!(room.resolve(&body("etl:1")).await.is_ok(), "a failure is not remembered");
}

#[tokio::test]
async fn nothing_is_registered_when_it_cannot_be_looked() {
    type Case = (AwsError, fn(&LaunchOutcome) -> bool);
    let cases: [Case; 2] = [
        (refused(400, "ThrottlingException", "Rate exceeded"), |o| matches!(o, LaunchOutcome::Transient { .. })),
        (refused(400, "AccessDeniedException", "not authorized to perform: ecs:DescribeTaskDefinition"), |o| {
            matches!(o, LaunchOutcome::AgentTrouble(_))
        }),
    ];
    for (error, expected) in cases {
        let room = Room::new();
        room.aws.world().describe_errors = [error].into();
        let outcome = room.resolve(&body("etl:1")).await.unwrap_err();
        assert!(expected(&outcome), "{outcome:?}");
        assert_eq!(room.registrations(), 0);
    }
}

#[tokio::test]
async fn an_inactive_definition_is_forgotten_and_replaced() {
    let room = Room::new();
    let old = room.resolve(&body("etl:1")).await.unwrap();
    room.aws.world().definitions[0].definition.insert("status".into(), json!("INACTIVE"));
    assert!(room.cache.forget(&old).await);
    assert!(room.cache.forget(&old).await, "ours, also for the second run that met it");
    assert!(!room.cache.forget("arn:other").await);
    let new = room.resolve(&body("etl:1")).await.unwrap();
    assert_ne!(new, old);
    assert!(room.cache.forget(&old).await);
    assert_eq!(room.resolve(&body("etl:1")).await, Ok(new), "a late complaint about the old one forgets nothing new");
    assert_eq!(room.registrations(), 2);
}
