use super::super::testing::{codes, denied};
use super::*;
use serde_json::json;

fn askers() -> BTreeSet<String> {
    ["hello/prod".to_owned()].into()
}

/// As AWS's documentation lists them.
#[test]
fn sizes_of_fargate_are_those_that_exist() {
    for (cpu, memory, exists) in [
        ("256", "512", true),
        ("256", "1024", true),
        ("256", "2048", true),
        ("256", "1536", false),
        ("256", "4096", false),
        ("512", "1024", true),
        ("512", "4096", true),
        ("512", "5120", false),
        ("512", "512", false),
        ("512", "1500", false),
        ("1024", "2048", true),
        ("1024", "8192", true),
        ("1024", "9216", false),
        ("2048", "4096", true),
        ("2048", "16384", true),
        ("4096", "30720", true),
        ("4096", "31744", false),
        ("8192", "16384", true),
        ("8192", "20480", true),
        ("8192", "17408", false),
        ("8192", "61440", true),
        ("16384", "32768", true),
        ("16384", "40960", true),
        ("16384", "36864", false),
        ("16384", "122880", true),
        (".25 vCPU", "0.5 GB", true),
        ("1vcpu", "2gb", true),
        ("4 vCPU", "30 GB", true),
        ("1 vCPU", "1 GB", false),
        ("100", "512", false),
        ("a lot", "512", false),
        ("256", "much", false),
        ("0", "0", false),
    ] {
        let fargate_sizes = [((cpu.to_owned(), memory.to_owned()), askers())].into();
        let looked = judge(&Wishes { fargate_sizes, ..Wishes::default() }, &ObservedEcs::default());
        let expected = if exists { &[][..] } else { &["PSA404"] };
        assert_eq!(codes(&looked), expected, "{cpu} {memory}");
    }
}

#[test]
fn a_role_is_for_tasks_if_its_trust_policy_says_so() {
    let allow =
        |service: Value| json!({"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"});
    for (policy, trusts) in [
        (json!({"Statement": [allow(json!("ecs-tasks.amazonaws.com"))]}), true),
        (json!({"Statement": allow(json!(["ec2.amazonaws.com", "ecs-tasks.amazonaws.com"]))}), true),
        (
            json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": ["sts:TagSession", "sts:AssumeRole"]}]}),
            true,
        ),
        (json!({"Statement": [allow(json!("ecs.amazonaws.com"))]}), false),
        (json!({"Statement": [allow(json!("ec2.amazonaws.com"))]}), false),
        (
            json!({"Statement": [{"Effect": "Deny", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}),
            false,
        ),
        (json!({"Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}), false),
        (json!({"Statement": "?"}), false),
        (json!({}), false),
    ] {
        assert_eq!(trusts_ecs_tasks(&policy), trusts, "{policy}");
    }
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
    let role = "arn:aws:iam::1:role/execution";
    let trust = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    for (trust, decision, found) in [
        (Ok(Some(trust.clone())), SimulatedDecision::Allowed, &[][..]),
        (Ok(Some(trust.clone())), SimulatedDecision::Implicit, &["PSA407"]),
        (Ok(Some(trust.clone())), SimulatedDecision::Explicit, &["PSA407"]),
        (Ok(Some(trust.clone())), SimulatedDecision::Unknown("no".into()), &["PSA499"]),
        (Ok(Some(json!({}))), SimulatedDecision::Implicit, &["PSA406"]),
        (Ok(None), SimulatedDecision::Unknown("no such role".into()), &["PSA405"]),
        (Err(denied()), SimulatedDecision::Allowed, &["PSA499"]),
    ] {
        let asked = vec![("ssm:GetParameters".to_owned(), "arn:key".to_owned(), decision)];
        let observed = ObservedEcs {
            roles: [(role.to_owned(), trust)].into(),
            execution: [(role.to_owned(), asked)].into(),
            ..ObservedEcs::default()
        };
        let looked = judge(&Wishes::default(), &observed);
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
        (pushed(&["amd64"]), "amd64", &[][..]),
        (pushed(&["amd64", "arm64"]), "arm64", &[]),
        (pushed(&[]), "arm64", &[]),
        (pushed(&["arm64"]), "amd64", &["PSA409"]),
        (Ok(None), "amd64", &["PSA408"]),
        (Err(denied()), "amd64", &["PSA499"]),
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
