#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;

fn subnets(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[test]
fn a_network_that_nobody_configured_is_all_of_the_vpc() {
    let expected = json!({"awsvpcConfiguration":
        {"subnets": ["b", "a"], "assignPublicIp": "ENABLED", "securityGroups": []}});
    for lookup in [NetworkLookup::DefaultVpc, NetworkLookup::Vpc("v".into())] {
        assert_eq!(lookup.network(&subnets(&["b", "a"])), Ok(Some(expected.clone())));
    }
}

#[test]
fn configured_subnets_must_lie_in_the_vpc() {
    let check = |subnets: Value| NetworkLookup::Check { vpc_id: "v".into(), subnets };
    assert_eq!(check(json!(["a"])).network(&subnets(&["b", "a"])), Ok(None));
    let refusal = check(json!(["a", "z"])).network(&subnets(&["a"])).unwrap_err();
    assert_eq!(
        refusal.0,
        "ValueError: Subnets ['a', 'z'] not found within VPC with ID v.Please check that VPC is associated with supplied \
         subnets."
    );
}

#[test]
fn missing_networks_are_named() {
    let default = NetworkLookup::DefaultVpc;
    assert!(default.no_vpc().0.ends_with("Pass an explicit `vpc_id` or configure a default VPC."));
    assert!(default.network(&[]).unwrap_err().0.contains("Failed to find subnets for the default VPC."));
    let vpc = NetworkLookup::Vpc("v".into());
    assert!(vpc.no_vpc().0.ends_with(
        "VPC with ID v. Network configuration cannot be inferred. Check that the VPC exists in the current region."
    ));
}
