//! What becomes of launches: enforced and reported, with definitions that exist.

use super::prefect3::{CONFIG, described, pool};
use super::*;
use crate::aws::AwsError;
use crate::platform::ecs::testing::refused;

const NAMED: &str = "  task_definitions: named\n";

fn room(guardrails: &str) -> Room {
    Room::new(&format!("{CONFIG}{guardrails}"), Documents::default(), UnknownMembers::Refuse)
}

fn named() -> RunDescription {
    described(pool(&[]), json!({"task_definition_arn": "other"}), json!({}))
}

fn register(room: &Room, image: &str) -> String {
    let containers = json!([{"name": "prefect", "image": image}]);
    let definition = json!({"family": "other", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "containerDefinitions": containers});
    room.aws.world().register(&object(definition))
}

#[tokio::test]
async fn without_guardrails_nothing_is_judged() {
    let room = room("");
    let launch = room.prepare(described(pool(&[]), json!({"image": "evil/x"}), json!({}))).await.unwrap();
    assert_eq!(launch.launch.run_task["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "ENABLED");
    let guarded = room.platform.render(named()).await.unwrap().launch.guard;
    assert_eq!(guarded, None);
}

#[tokio::test]
async fn in_report_mode_the_launch_is_made_and_the_report_says_so() {
    let room = room(&format!("{GUARDRAILS}  mode: report\n"));
    let run = described(pool(&[]), json!({"image": "evil/x"}), json!({}));
    let WithWarning { launch, warning } = room.prepare(run).await.unwrap();
    let warning = warning.unwrap();
    assert!(warning.contains("etl/nightly asks for more than the guardrails allow"), "{warning}");
    assert!(warning.contains("`images`: evil/x in RegisterTaskDefinition.containerDefinitions[0].image"), "{warning}");
    // Nothing is changed where it is only told.
    assert_eq!(launch.run_task["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"], "ENABLED");
}

#[tokio::test]
async fn the_refusal_says_whose_guardrails_and_what_to_do() {
    let outcome = room(GUARDRAILS).prepare(described(pool(&[]), json!({"image": "evil/x"}), json!({}))).await;
    let Err(LaunchOutcome::Permanent(text)) = outcome else { panic!("{outcome:?}") };
    for part in [
        "The guardrails of agent agent ",
        "`images`: evil/x",
        "(allowed: 123456789012.dkr.ecr",
        "job variables or the work pool",
    ] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[tokio::test]
async fn a_named_definition_is_described_judged_and_the_judged_revision_is_started() {
    let only_named = "guardrails:\n  images: [\"*/flows/*\"]\n  task_definitions: named\n";
    let room = room(only_named);
    let arn = register(&room, IMAGE);
    let launch = room.prepare(named()).await.unwrap().launch;
    assert_eq!(launch.run_task["taskDefinition"], json!(arn), "a family may mean something else a moment later");
    register(&room, "evil/x");
    assert_eq!(room.refused(named(), "images").await, None);
    assert_eq!(room.aws.count("DescribeTaskDefinition"), 2);
}

#[tokio::test]
async fn a_definition_that_cannot_be_described_is_not_launched() {
    let denied = || -> AwsError {
        refused(400, "AccessDeniedException", "not authorized to perform: ecs:DescribeTaskDefinition")
    };
    let guardrails = format!("guardrails:\n{NAMED}");
    let enforced = room(&guardrails);
    // Also by the rules of Prefect 1, which launch what they need not look at.
    let arn = json!({"task_definition_arn": "other", "task_role_arn": "a", "execution_role_arn": "b"});
    let of_1 = || super::prefect1::described(crate::config::Rules::V1, arn.clone());
    for run in [named(), of_1()] {
        enforced.aws.world().describe_errors.push_back(denied());
        let outcome = enforced.prepare(run).await;
        assert!(matches!(outcome, Err(LaunchOutcome::AgentTrouble(_))), "{outcome:?}");
    }
    let reported = room(&format!("{guardrails}  mode: report\n"));
    reported.aws.world().describe_errors.push_back(denied());
    let warning = reported.prepare(of_1()).await.unwrap().warning.unwrap();
    assert!(warning.contains("could not judge etl: what its task definition other says is not known"), "{warning}");
}

/// Where Spot had no room, the agent itself goes on demand.
#[tokio::test]
async fn the_agents_own_step_from_spot_to_on_demand_is_allowed() {
    let of_spot = || room("guardrails:\n  capacity_providers: [FARGATE_SPOT]\n");
    let room = of_spot();
    let spot = json!({"capacity_provider_strategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]});
    let run = || described(pool(&[]), spot.clone(), json!({}));
    let launch = room.platform.render(run()).await.unwrap().launch;
    let (launch, _) = room.platform.after_refusals(launch, 3);
    let launch = room.platform.prepare(&launch, &identity()).await.unwrap().launch;
    assert_eq!(launch.run_task["capacityProviderStrategy"][0]["capacityProvider"], "FARGATE");
    let on_demand = json!({"capacity_provider_strategy": [{"capacityProvider": "FARGATE", "weight": 1}]});
    assert_eq!(of_spot().refused(described(pool(&[]), on_demand, json!({})), "capacity_providers").await, None);
}

#[test]
fn who_created_a_run_is_told_as_far_as_it_is_known() {
    for (created_by, expected) in [
        (json!({"id": "1", "type": "USER", "display_value": "jane"}), Some("USER jane")),
        (json!({"id": "1", "type": "SCHEDULE", "display_value": null}), Some("SCHEDULE 1")),
        (json!({"type": "AUTOMATION"}), Some("AUTOMATION")),
        (json!(null), None),
        (json!({}), None),
    ] {
        assert_eq!(creator(&created_by).as_deref(), expected, "{created_by}");
    }
}
