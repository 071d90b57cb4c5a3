#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::platform::ecs::testing::object;

fn strategy(entries: &Value) -> Map<String, Value> {
    object(json!({"cluster": "c", "capacityProviderStrategy": entries}))
}

fn after_three(entries: &Value, refusals: u32) -> Option<Value> {
    on_demand(&strategy(entries), refusals, Some(3)).map(|(run_task, _)| run_task["capacityProviderStrategy"].clone())
}

#[test]
fn spot_becomes_on_demand_after_enough_refusals() {
    let spot = json!([{"capacityProvider": "FARGATE_SPOT", "weight": 1}]);
    assert_eq!(after_three(&spot, 2), None);
    assert_eq!(after_three(&spot, 3), Some(json!([{"capacityProvider": "FARGATE", "weight": 1}])));
    let (run_task, reason) = on_demand(&strategy(&spot), 5, Some(3)).unwrap();
    assert_eq!(run_task["cluster"], "c", "the rest stays");
    assert!(reason.contains("5 times") && reason.contains("spot_fallback_after"), "{reason}");
}

#[test]
fn both_fargate_providers_become_one_entry() {
    let mixed = json!([
        {"capacityProvider": "FARGATE", "weight": 1, "base": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 999},
        {"capacityProvider": "FARGATE_SPOT", "weight": 5},
        {"capacityProvider": "mine", "weight": 2},
    ]);
    let expected = json!([
        {"capacityProvider": "FARGATE", "weight": 1000, "base": 1},
        {"capacityProvider": "mine", "weight": 2},
    ]);
    assert_eq!(after_three(&mixed, 3), Some(expected));
}

#[test]
fn what_asks_for_no_spot_stays() {
    assert_eq!(after_three(&json!([{"capacityProvider": "FARGATE"}]), 9), None);
    assert_eq!(after_three(&json!([]), 9), None);
    assert_eq!(on_demand(&object(json!({"launchType": "FARGATE"})), 9, Some(3)), None);
    assert_eq!(on_demand(&strategy(&json!([{"capacityProvider": "FARGATE_SPOT"}])), 9, None), None, "null = never");
}
