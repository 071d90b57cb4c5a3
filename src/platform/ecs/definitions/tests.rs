#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::platform::ecs::testing::{World, object};
use proptest::prelude::*;

fn body() -> Map<String, Value> {
    object(json!({
        "family": "prefect-etl", "networkMode": "awsvpc", "cpu": "1024", "memory": "2048",
        "executionRoleArn": "arn:aws:iam::111111111111:role/exec",
        "containerDefinitions": [{
            "name": "flow", "image": "etl:1",
            "environment": [{"name": "B", "value": "2"}, {"name": "A", "value": "1"}],
        }],
        "tags": [{"key": "prefect:flow-id", "value": "f"}, {"key": "prefect:flow-version", "value": "7"}],
        "requiresCompatibilities": ["FARGATE"],
    }))
}

/// As AWS describes `body` when it was registered without our tag.
fn described(body: &Map<String, Value>) -> DescribedDefinition {
    let mut world = World::default();
    world.register(body);
    world.definitions.remove(0)
}

fn described_with_tag(body: &Map<String, Value>) -> DescribedDefinition {
    described(&tagged(body, &definition_hash(body)))
}

#[test]
fn a_definition_is_the_same_with_the_defaults_that_aws_adds() {
    assert!(same_definition(&body(), &described(&body())));
    let mut theirs = described(&body());
    theirs.definition["containerDefinitions"][0]["environment"].as_array_mut().unwrap().reverse();
    theirs.definition.insert("requiresAttributes".into(), json!([{"name": "ecs.capability"}]));
    theirs.definition.insert("registeredAt".into(), json!(1.5));
    theirs.definition.insert("registeredBy".into(), json!("arn:user"));
    theirs.definition.insert("placementConstraints".into(), json!([]));
    assert!(same_definition(&body(), &theirs));
}

#[test]
fn network_mode_and_essential_have_defaults_on_both_sides() {
    let mut ours = body();
    ours.remove("networkMode");
    let mut theirs = described(&ours);
    theirs.definition.insert("networkMode".into(), json!("bridge"));
    assert!(same_definition(&ours, &theirs));
    theirs.definition["containerDefinitions"][0]["essential"] = json!(false);
    assert!(!same_definition(&ours, &theirs), "false says something");
}

#[test]
fn another_content_is_another_definition() {
    type Change = fn(&mut Map<String, Value>);
    let changes: [(&str, Change); 7] = [
        ("image", |ours| ours["containerDefinitions"][0]["image"] = json!("etl:2")),
        ("cpu", |ours| ours["cpu"] = json!("512")),
        ("variable", |ours| ours["containerDefinitions"][0]["environment"][0]["value"] = json!("3")),
        ("more", |ours| drop(ours.insert("taskRoleArn".into(), json!("arn:aws:iam::1:role/t")))),
        ("less", |ours| drop(ours.remove("executionRoleArn"))),
        ("zero", |ours| ours["containerDefinitions"][0]["linuxParameters"] = json!({"maxSwap": 0})),
        ("container", |ours| ours["containerDefinitions"].as_array_mut().unwrap().push(json!({"name": "side"}))),
    ];
    for (what, change) in changes {
        let mut ours = body();
        change(&mut ours);
        assert!(!same_definition(&ours, &described(&body())), "{what}");
        assert!(!same_definition(&ours, &described_with_tag(&body())), "{what}, tagged");
        assert_ne!(definition_hash(&ours), definition_hash(&body()), "{what}");
    }
}

#[test]
fn a_zero_that_aws_does_not_repeat_registers_nothing_anew() {
    let mut ours = body();
    ours["containerDefinitions"][0]["portMappings"] = json!([{"containerPort": 80, "hostPort": 0}]);
    let mut theirs = described_with_tag(&ours);
    assert!(same_definition(&ours, &theirs));
    theirs.definition["containerDefinitions"][0]["portMappings"] = json!([{"containerPort": 80, "protocol": "tcp"}]);
    assert!(same_definition(&ours, &theirs));
    theirs.definition["containerDefinitions"][0]["cpu"] = json!(0);
    assert!(same_definition(&ours, &theirs), "AWS says it of every container");
}

#[test]
fn an_inactive_definition_cannot_serve() {
    let mut theirs = described_with_tag(&body());
    theirs.definition.insert("status".into(), json!("INACTIVE"));
    assert!(!same_definition(&body(), &theirs));
}

#[test]
fn with_our_tag_additions_of_aws_do_not_matter_but_changes_do() {
    let mut theirs = described_with_tag(&body());
    theirs.definition["containerDefinitions"][0]["portMappings"] = json!([{"containerPort": 80, "protocol": "tcp"}]);
    theirs.definition.insert("ipcMode".into(), json!("task"));
    assert!(same_definition(&body(), &theirs));
    let mut without_tag = theirs.clone();
    without_tag.tags.clear();
    assert!(!same_definition(&body(), &without_tag), "without our tag it must say exactly the same");
    // Someone copied the definition with its tags and changed it.
    theirs.definition["containerDefinitions"][0]["image"] = json!("other");
    assert!(!same_definition(&body(), &theirs));
}

#[test]
fn containers_are_compared_by_name() {
    let mut ours = body();
    ours["containerDefinitions"].as_array_mut().unwrap().push(json!({"name": "side", "image": "x"}));
    let mut theirs = described_with_tag(&ours);
    theirs.definition["containerDefinitions"].as_array_mut().unwrap().reverse();
    assert!(same_definition(&ours, &theirs));
}

#[test]
fn sizes_and_role_names_are_what_aws_makes_of_them() {
    let mut ours = body();
    ours["cpu"] = json!("1 vCPU");
    ours["memory"] = json!("2GB");
    assert!(same_definition(&ours, &described(&body())));
    ours["executionRoleArn"] = json!("exec");
    let mut theirs = described_with_tag(&ours);
    theirs.definition["executionRoleArn"] = json!("arn:aws:iam::111111111111:role/exec");
    assert!(same_definition(&ours, &theirs));
    theirs.definition["executionRoleArn"] = json!("arn:aws:iam::111111111111:role/other");
    assert!(!same_definition(&ours, &theirs));
}

#[test]
fn another_version_of_a_flow_shares_but_the_users_own_tags_count() {
    let mut ours = body();
    ours["tags"][1]["value"] = json!("8");
    assert_eq!(definition_hash(&ours), definition_hash(&body()));
    assert!(same_definition(&ours, &described(&body())));
    ours["tags"].as_array_mut().unwrap().push(json!({"key": "team", "value": "data"}));
    assert!(!same_definition(&ours, &described(&body())), "the tag would never be set");
    assert!(same_definition(&body(), &described(&ours)), "a tag more does no harm");
}

#[test]
fn our_tag_is_added_unless_there_are_fifty() {
    let hash = definition_hash(&body());
    let tags = tagged(&body(), &hash)["tags"].clone();
    assert_eq!(tags[2], json!({"key": HASH_TAG, "value": hash}));
    assert_eq!(definition_hash(&tagged(&body(), &hash)), hash, "the tag itself is not content");
    let mut full = body();
    full["tags"] = (0..50).map(|n| json!({"key": format!("k{n}"), "value": "v"})).collect();
    assert_eq!(tagged(&full, &hash), full);
    full.remove("tags");
    assert_eq!(tagged(&full, &hash)["tags"].as_array().unwrap().len(), 1);
}

#[test]
fn the_hash_fits_a_tag_and_knows_no_order() {
    let hash = definition_hash(&body());
    assert_eq!(hash.len(), 64);
    let mut reversed: Vec<_> = body().into_iter().collect();
    reversed.reverse();
    assert_eq!(definition_hash(&reversed.into_iter().collect()), hash);
}

proptest! {
    #[test]
    fn what_was_registered_is_found_again(
        image in "[a-z]{1,8}",
        environment in proptest::collection::btree_map("[A-Z]{1,4}", ".{0,8}", 0..6),
        cpu in prop_oneof!["256", "1024"],
        tag in any::<bool>(),
    ) {
        let mut ours = body();
        ours["cpu"] = json!(cpu);
        let container = &mut ours["containerDefinitions"][0];
        container["image"] = json!(image);
        container["environment"] = environment.iter().map(|(k, v)| json!({"name": k, "value": v})).collect();
        let theirs = if tag { described_with_tag(&ours) } else { described(&ours) };
        prop_assert!(same_definition(&ours, &theirs), "{:?}\n{:?}", ours, theirs);
    }
}
