#![allow(clippy::unwrap_used)]
use super::super::testing::without_each;
use super::*;

#[test]
fn a_cluster_is_missing_where_ecs_says_so() {
    let described = json!({"status": "ACTIVE", "capacityProviders": ["FARGATE"]});
    let cluster = Cluster { status: "ACTIVE".into(), capacity_providers: vec!["FARGATE".into()] };
    assert_eq!(cluster_of(&json!({"clusters": [described], "failures": []})), Ok(Some(cluster)));
    let failure = |reason: &str| json!({"clusters": [], "failures": [{"arn": "a", "reason": reason}]});
    assert_eq!(cluster_of(&failure("MISSING")), Ok(None));
    let lacking = without_each(&described).into_iter().map(|(_, cluster)| json!({"clusters": [cluster]}));
    let odd = [json!({}), json!({"clusters": []}), json!({"clusters": [], "failures": []}), failure("AccessDenied")];
    for answer in odd.into_iter().chain(lacking) {
        assert!(matches!(cluster_of(&answer), Err(AwsError::Malformed(_))), "{answer}");
    }
}

#[test]
fn a_log_group_is_missing_where_a_list_lacks_it() {
    let listed = json!({"logGroups": [{"logGroupName": "prefect-2"}, {"logGroupName": "prefect"}]});
    assert_eq!((is_listed(&listed, "prefect"), is_listed(&listed, "pref")), (Ok(true), Ok(false)));
    assert_eq!(is_listed(&json!({"logGroups": []}), "prefect"), Ok(false));
    for odd in [json!({}), json!({"logGroups": null}), json!({"logGroups": [{"arn": "a"}]})] {
        assert!(matches!(is_listed(&odd, "prefect"), Err(AwsError::Malformed(_))), "{odd}");
    }
}
