use super::super::testing::{codes, denied};
use super::*;
use serde_json::json;

fn askers() -> BTreeSet<String> {
    ["hello/prod".to_owned()].into()
}

#[test]
fn clusters_are_there_active_and_have_the_providers() {
    let arn = "arn:aws:ecs:us-east-1:1:cluster/prefect";
    let cluster = |status: &str, providers: &[&str]| {
        let capacity_providers = providers.iter().map(|name| (*name).to_owned()).collect();
        Ok(Some(Cluster { status: status.into(), capacity_providers }))
    };
    for (seen, wanted, found) in [
        (cluster("ACTIVE", &[]), &[][..], &[][..]),
        (cluster("ACTIVE", &["FARGATE", "FARGATE_SPOT"]), &["FARGATE_SPOT"], &[]),
        (cluster("ACTIVE", &["FARGATE"]), &["FARGATE_SPOT", "FARGATE"], &["PSA403"]),
        (cluster("INACTIVE", &[]), &["FARGATE"], &["PSA402"]),
        (Ok(None), &[], &["PSA401"]),
        (Err(denied()), &[], &["PSA499"]),
    ] {
        let providers = [(arn.to_owned(), wanted.iter().map(|name| (*name).to_owned()).collect())].into();
        let observed = ObservedEcs { clusters: [(arn.to_owned(), seen)].into(), ..ObservedEcs::default() };
        let looked = judge(&Wishes { providers, ..Wishes::default() }, &observed);
        assert_eq!(codes(&looked), found, "{observed:?}");
    }
}

#[test]
fn execution_roles_may_do_what_their_tasks_need() {
    let role = "arn:aws:iam::123456789012:role/execution";
    let trust = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    for (trust, decision, found) in [
        (Ok(Some(trust.clone())), SimulatedDecision::Allowed, &[][..]),
        (Ok(Some(trust.clone())), SimulatedDecision::Implicit, &["PSA407"]),
        (Ok(Some(trust.clone())), SimulatedDecision::Explicit, &["PSA407"]),
        (Ok(Some(trust.clone())), SimulatedDecision::Unknown("no".into()), &["PSA499"]),
        (Ok(Some(json!({"Statement": []}))), SimulatedDecision::Implicit, &["PSA406"]),
        // It may have the role: what it may do then is worth knowing.
        (Ok(Some(json!({}))), SimulatedDecision::Allowed, &["PSA499"]),
        (Ok(Some(json!({}))), SimulatedDecision::Implicit, &["PSA499", "PSA407"]),
        (Ok(None), SimulatedDecision::Unknown("no such role".into()), &["PSA405"]),
        (Err(denied()), SimulatedDecision::Allowed, &["PSA499"]),
    ] {
        let asked = RoleRequest { action: "ssm:GetParameters", resource: "arn:key".into(), context: None };
        let asked = vec![(asked, decision)];
        let observed = ObservedEcs {
            roles: [(role.to_owned(), trust)].into(),
            execution: [(role.to_owned(), asked)].into(),
            ..ObservedEcs::default()
        };
        let roles = [(role.to_owned(), ["us-east-1".to_owned()].into())].into();
        let looked = judge(&Wishes { roles, ..Wishes::default() }, &observed);
        assert_eq!(codes(&looked), found, "{observed:?}");
    }
}

#[test]
fn images_are_there_for_the_processor() {
    let name = "123456789012.dkr.ecr.us-east-1.amazonaws.com/flows:1";
    let pushed = |architectures: &[&str]| {
        Ok(Some(Pushed { architectures: architectures.iter().map(|one| (*one).to_owned()).collect() }))
    };
    for (seen, architecture, found) in [
        (pushed(&["amd64"]), Some("amd64"), &[][..]),
        (pushed(&["amd64", "arm64"]), Some("arm64"), &[]),
        (pushed(&[]), Some("arm64"), &[]),
        (pushed(&["arm64"]), Some("amd64"), &["PSA409"]),
        (pushed(&["arm64"]), None, &[]),
        (Ok(None), Some("amd64"), &["PSA408"]),
        (Ok(None), None, &["PSA408"]),
        (Err(denied()), Some("amd64"), &["PSA499"]),
    ] {
        let images = [(Image { name: name.into(), architecture }, askers())].into();
        let observed = ObservedEcs { images: [(name.to_owned(), seen)].into(), ..ObservedEcs::default() };
        let looked = judge(&Wishes { images, ..Wishes::default() }, &observed);
        assert_eq!(codes(&looked), found, "{observed:?}");
    }
}

#[test]
fn log_groups_that_nobody_creates_are_there_and_what_is_not_looked_at_is_said() {
    let arn = "arn:aws:logs:us-east-1:1:log-group:/prefect/flows";
    for (exists, found) in [(Ok(true), &[][..]), (Ok(false), &["PSA410"]), (Err(denied()), &["PSA499"])] {
        let observed = ObservedEcs { log_groups: [(arn.to_owned(), exists)].into(), ..ObservedEcs::default() };
        let looked = judge(&Wishes::default(), &observed);
        assert_eq!(codes(&looked), found);
        assert!(looked.findings.iter().all(|finding| finding.subject == "log group /prefect/flows"), "{looked:?}");
    }
    let elsewhere = Wishes { elsewhere: [("210987654321".to_owned(), askers())].into(), ..Wishes::default() };
    assert_eq!(codes(&judge(&elsewhere, &ObservedEcs::default())), ["PSA499"]);
    for (is_missing, found) in [(true, "PSA411"), (false, "PSA499")] {
        let why = Undescribed { why: "ClientException: no".into(), is_missing };
        let unknown_definitions = [("flows:7".to_owned(), why)].into();
        let unknown = Wishes { unknown_definitions, ..Wishes::default() };
        assert_eq!(codes(&judge(&unknown, &ObservedEcs::default())), [found]);
    }
}
