//! What a Prefect 2 or 3 launch needs beyond one of Prefect 1.

use super::*;
use crate::model::RunRefusal;
use crate::platform::Platform;
use crate::platform::ecs::EcsPlatform;
use crate::platform::ecs::platform::LaunchRules;
use crate::platform::ecs::testing::{NoLauncher, object, rules, spec};
use crate::platform::ecs::{Complete, Completion, NetworkLookup, WorkerPart};
use futures_util::future::join_all;
use serde_json::json;
use std::sync::Arc;

fn with_network() -> Room {
    let room = room();
    room.ecs.world().vpc = Some("vpc-1".into());
    room.ecs.world().subnets = vec!["subnet-2".into(), "subnet-1".into()];
    room
}

fn own(network: Option<NetworkLookup>) -> LaunchSpec {
    let body = object(json!({"family": "prefect", "containerDefinitions": [{"name": "prefect"}]}));
    let tag_if_registered = Some(("new".into(), "true".into()));
    let worker = WorkerPart { network, tag_if_registered, ..WorkerPart::default() };
    LaunchSpec { worker, ..spec(Definition::Own(body), json!({"tags": [{"key": "a", "value": "b"}]})) }
}

async fn prepare(room: &Room, spec: &LaunchSpec) -> Result<PreparedLaunch, LaunchOutcome> {
    Ok(room.prepare(spec, &identity()).await?.launch)
}

#[tokio::test]
async fn only_the_launch_that_registers_is_tagged() {
    let room = with_network();
    let tags = async || prepare(&room, &own(None)).await.unwrap().run_task["tags"].clone();
    assert_eq!(tags().await, json!([{"key": "a", "value": "b"}, {"key": "new", "value": "true"}]));
    assert_eq!(tags().await, json!([{"key": "a", "value": "b"}]));
}

#[tokio::test]
async fn a_hundred_runs_look_up_their_vpc_once() {
    let room = with_network();
    let spec = own(Some(NetworkLookup::Vpc("vpc-1".into())));
    let prepared = join_all((0..100).map(|_| prepare(&room, &spec))).await;
    let expected = json!({"awsvpcConfiguration":
        {"subnets": ["subnet-2", "subnet-1"], "assignPublicIp": "ENABLED", "securityGroups": []}});
    assert!(prepared.iter().all(|launch| launch.as_ref().unwrap().run_task["networkConfiguration"] == expected));
    assert_eq!((room.ecs.count("DescribeSubnets"), room.ecs.count("DescribeVpcs")), (1, 0));
}

#[tokio::test]
async fn a_configured_network_stands_if_its_subnets_are_there() {
    let room = with_network();
    let check = |subnet: &str| {
        let mut spec = own(Some(NetworkLookup::Check { vpc_id: "vpc-1".into(), subnets: json!([subnet]) }));
        spec.run_task.insert("networkConfiguration".into(), json!({"mine": subnet}));
        spec
    };
    let launch = prepare(&room, &check("subnet-1")).await.unwrap();
    assert_eq!(launch.run_task["networkConfiguration"], json!({"mine": "subnet-1"}));
    let Err(LaunchOutcome::AgentTrouble(text)) = prepare(&room, &check("subnet-9")).await else { panic!("accepted") };
    assert!(text.contains("Subnets ['subnet-9'] not found within VPC with ID vpc-1"), "{text}");
}

#[tokio::test]
async fn a_missing_network_is_the_fault_of_who_chose_it_and_not_remembered() {
    let room = room();
    let mut spec = own(Some(NetworkLookup::Vpc("vpc-9".into())));
    let Err(LaunchOutcome::AgentTrouble(text)) = prepare(&room, &spec).await else { panic!("the pool chose it") };
    assert!(text.contains("Failed to find VPC with ID vpc-9."), "{text}");
    spec.run_sets = vec!["networkConfiguration".into()];
    assert!(matches!(prepare(&room, &spec).await, Err(LaunchOutcome::Permanent(_))));
    room.ecs.world().vpc = Some("vpc-9".into());
    let Err(LaunchOutcome::Permanent(text)) = prepare(&room, &spec).await else { panic!("no subnets") };
    assert!(text.contains("Failed to find subnets for VPC with ID vpc-9."), "{text}");
    room.ecs.world().subnets = vec!["subnet-1".into()];
    assert!(prepare(&room, &spec).await.is_ok());
    let default = own(Some(NetworkLookup::DefaultVpc));
    room.ecs.world().vpc = None;
    let Err(LaunchOutcome::AgentTrouble(text)) = prepare(&room, &default).await else { panic!("no default VPC") };
    assert!(text.contains("Failed to find the default VPC."), "{text}");
}

/// Takes the family of the definition as cluster; refuses one.
#[derive(Debug)]
struct FamilyAsCluster;

impl Complete for FamilyAsCluster {
    fn complete(&self, described: &Map<String, Value>) -> Result<LaunchSpec, RunRefusal> {
        let family = described.get("family").filter(|family| *family != "refused");
        let family = family.ok_or_else(|| RunRefusal("not this one".into()))?;
        let definition = Definition::Existing { name: "f:1".into(), definition_roles: vec![] };
        Ok(spec(definition, json!({"cluster": family})))
    }
}

#[tokio::test]
async fn launches_are_completed_with_the_described_definition() {
    let room = room();
    let body = object(json!({"family": "f", "containerDefinitions": []}));
    let arn = room.ecs.world().register(&body);
    let definition = Definition::Existing { name: arn, definition_roles: vec![] };
    let completion = Some(Completion(Arc::new(FamilyAsCluster)));
    let worker = WorkerPart { completion, ..WorkerPart::default() };
    let open = LaunchSpec { worker, ..spec(definition, json!({})) };
    for _ in 0..2 {
        let launch = prepare(&room, &open).await.unwrap();
        assert_eq!((&launch.run_task["cluster"], &launch.run_task["taskDefinition"]), (&json!("f"), &json!("f:1")));
    }
    assert_eq!(room.ecs.world().calls, ["DescribeTaskDefinition"], "a revision never changes");
    room.ecs.world().register(&object(json!({"family": "refused", "containerDefinitions": []})));
    let definition = Definition::Existing { name: "refused".into(), definition_roles: vec![] };
    let refused = prepare(&room, &LaunchSpec { definition, ..open }).await;
    assert_eq!(refused, Err(LaunchOutcome::Permanent("not this one".into())));
}

#[derive(Debug)]
struct ConfiguredForSpot;

impl Complete for ConfiguredForSpot {
    fn complete(&self, _: &Map<String, Value>) -> Result<LaunchSpec, RunRefusal> {
        let definition = Definition::Existing { name: "f:1".into(), definition_roles: vec![] };
        let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
        Ok(spec(definition, json!({"cluster": "configured", "capacityProviderStrategy": spot})))
    }
}

/// A completion renders the request anew: it must not forget the claim's cluster, nor that Spot was refused too often.
#[tokio::test]
async fn what_was_decided_since_holds_for_a_completed_launch_too() {
    let room = room();
    let arn = room.ecs.world().register(&object(json!({"family": "f", "containerDefinitions": []})));
    let completion = Some(Completion(Arc::new(ConfiguredForSpot)));
    let worker = WorkerPart { completion, ..WorkerPart::default() };
    let open = LaunchSpec { worker, ..spec(Definition::Existing { name: arn, definition_roles: vec![] }, json!({})) };
    let platform = EcsPlatform::new(NoLauncher(None), LaunchRules { spot_fallback_after: Some(3), ..rules() });
    let (refused_twice, _) = platform.after_refusals(open.clone(), 2);
    let launch = prepare(&room, &refused_twice).await.unwrap();
    assert_eq!(launch.run_task["capacityProviderStrategy"][0]["capacityProvider"], "FARGATE_SPOT");
    assert_eq!(launch.run_task["cluster"], "configured");
    let (refused_thrice, _) = platform.after_refusals(platform.in_place(open.clone(), "claimed"), 3);
    let launch = prepare(&room, &refused_thrice).await.unwrap();
    assert_eq!(launch.run_task["capacityProviderStrategy"][0]["capacityProvider"], "FARGATE");
    assert_eq!((&launch.run_task["cluster"], launch.target.cluster.as_str()), (&json!("claimed"), "claimed"));
    let moved = LaunchSpec { run_task: object(json!({"cluster": "configured"})), ..open };
    let launch = prepare(&room, &platform.in_place(moved, "default")).await.unwrap();
    assert_eq!(launch.run_task.get("cluster"), None, "as the claim's own request was");
}
