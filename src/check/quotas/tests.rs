use super::super::testing::{agents, codes, denied, stack};
use super::*;
use crate::check::wishes::FargateTask;

const CONFIG: &str = "prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n";

fn wishes() -> Wishes {
    Wishes { fargate: [(task("us-east-1", false), ["hello/prod".to_owned()].into())].into(), ..Wishes::default() }
}

fn task(region: &str, is_spot: bool) -> FargateTask {
    FargateTask { region: region.into(), is_spot, cpu: "4 vCPU".into(), memory: "8 GB".into() }
}

fn nothing() -> ObservedQuotas {
    ObservedQuotas { vcpus: BTreeMap::new(), unreserved: None, public: Vec::new() }
}

#[test]
fn launches_per_second_are_what_ecs_takes() {
    for (rate, found) in
        [("launch_rate: 20", &[][..]), ("launch_rate: 20.5", &["PSA701"]), ("launch_rate: null", &["PSA701"])]
    {
        let agents = agents(&format!("{CONFIG}{rate}\n"));
        assert_eq!(codes(&judge(None, &agents, &wishes(), &nothing())), found, "{rate}");
        assert_eq!(codes(&judge(None, &agents, &Wishes::default(), &nothing())), [""; 0], "nothing runs on Fargate");
    }
}

#[test]
fn a_task_fits_the_quota() {
    let quota = |limit, used| Ok(VcpuQuota { limit, used });
    for (vcpus, found) in [
        (quota(4.0, Ok(None)), &[][..]),
        (quota(3.0, Ok(None)), &["PSA702"]),
        (quota(3.0, Ok(Some(3.0))), &["PSA702"]),
        (quota(6.0, Ok(Some(2.0))), &[]),
        (quota(6.0, Ok(Some(2.5))), &["PSA705"]),
        (quota(6.0, Err(denied())), &["PSA799"]),
        (Err(denied()), &["PSA799"]),
    ] {
        let observed = ObservedQuotas { vcpus: [(("us-east-1".to_owned(), false), vcpus)].into(), ..nothing() };
        assert_eq!(codes(&judge(None, &agents(CONFIG), &wishes(), &observed)), found, "{observed:?}");
    }
}

#[test]
fn each_region_and_spare_capacity_has_a_quota_of_its_own() {
    let quota = |region: &str, is_spot, limit| ((region.to_owned(), is_spot), Ok(VcpuQuota { limit, used: Ok(None) }));
    let vcpus = [quota("us-east-1", false, 100.0), quota("us-east-1", true, 2.0), quota("eu-west-1", false, 1.0)];
    let observed = ObservedQuotas { vcpus: vcpus.into(), ..nothing() };
    for (task, subject) in [
        (task("us-east-1", false), None),
        (task("us-east-1", true), Some("Fargate Spot's quota in us-east-1")),
        (task("eu-west-1", false), Some("Fargate's quota in eu-west-1")),
    ] {
        let fargate = [(task.clone(), ["hello/prod".to_owned()].into())].into();
        let looked = judge(None, &agents(CONFIG), &Wishes { fargate, ..Wishes::default() }, &observed);
        let finding = looked.findings.first();
        assert_eq!(finding.map(|finding| finding.subject.as_str()), subject, "{task:?}");
        assert!(finding.is_none_or(|finding| finding.mend.contains(&format!("--region {}", task.region))), "{task:?}");
    }
}

#[test]
fn what_is_used_was_counted_last() {
    let point = |time: &str, maximum: &str| json!({"Timestamp": time, "Maximum": maximum, "Unit": "None"});
    let points = [
        point("2026-11-30T12:05:00Z", "7.25"),
        point("2026-11-30T12:10:00Z", "5.0"),
        point("2026-11-30T12:00:00Z", "9.0"),
    ];
    assert_eq!(last_counted(&json!({"Datapoints": points}), "Maximum"), Ok(Some(5.0)));
    for nothing in [json!([]), json!("")] {
        assert_eq!(last_counted(&json!({"Datapoints": nothing}), "Maximum"), Ok(None));
    }
    for odd in [
        json!({}),
        json!({"Datapoints": [point("yesterday", "1")]}),
        json!({"Datapoints": [point("2026-11-30T12:05:00Z", "")]}),
    ] {
        assert!(matches!(last_counted(&odd, "Maximum"), Err(AwsError::Malformed(_))), "{odd}");
    }
    assert!(matches!(last_counted(&json!({"Datapoints": points}), "Sum"), Err(AwsError::Malformed(_))));
}

#[test]
fn polls_may_overlap_and_a_public_url_has_concurrency_of_its_own() {
    let public = |reserved| {
        let function = |name: &str| PublicFunction {
            name: name.into(),
            reserves: ("HealthReservedConcurrency", 5),
            closes: "HealthAuthType=AWS_IAM",
        };
        vec![(function("psa-health"), reserved)]
    };
    for (parameters, unreserved, public, found) in [
        (&[][..], Ok(1000), vec![], &[][..]),
        (&[], Ok(2), vec![], &["PSA703"]),
        (&[("ReservedConcurrency", "5")], Ok(2), vec![], &[]),
        (&[("ReservedConcurrency", "4")], Ok(900), vec![], &["PSA703"]),
        (&[], Err(denied()), vec![], &["PSA799"]),
        (&[], Ok(1000), public(Ok(None)), &["PSA704"]),
        (&[], Ok(1000), public(Ok(Some(5))), &[]),
        (&[], Ok(1000), public(Err(denied())), &["PSA799"]),
    ] {
        let observed = ObservedQuotas { vcpus: BTreeMap::new(), unreserved: Some(unreserved), public };
        let stack = stack(parameters, &[]);
        assert_eq!(codes(&judge(Some(&stack), &agents(CONFIG), &wishes(), &observed)), found, "{observed:?}");
    }
}

#[test]
fn nothing_is_to_be_reserved_where_a_hundred_would_not_stay() {
    let stack = stack(&[("HealthAuthType", "NONE")], &[("HealthFunction", "psa-health")]);
    let public = PublicFunction::all(&stack);
    for (unreserved, is_reserved) in
        [(Some(1000), true), (Some(105), true), (Some(104), false), (Some(10), false), (None, true)]
    {
        let mend = public.first().map(|health| health.mend(&stack, unreserved)).unwrap_or_default();
        assert_eq!(mend.contains("HealthReservedConcurrency=5"), is_reserved, "{unreserved:?}: {mend}");
        assert!(mend.contains("HealthAuthType=AWS_IAM"), "{mend}");
    }
}

#[test]
fn a_url_is_public_where_it_is_there_and_open_and_that_of_pokes_always() {
    let health = ("HealthFunction", "psa-health");
    for (parameters, resources, expected) in [
        (&[("HealthAuthType", "AWS_IAM")][..], &[health][..], &[][..]),
        (&[("HealthAuthType", "NONE"), ("HealthUrl", "ENABLED")], &[health], &["psa-health"]),
        (&[("HealthAuthType", "NONE"), ("HealthUrl", "DISABLED")], &[health], &[]),
        (&[], &[health, ("PokeFunction", "psa-poke")], &["psa-poke"]),
        (&[], &[], &[]),
    ] {
        let public = PublicFunction::all(&stack(parameters, resources));
        assert_eq!(public.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), expected, "{parameters:?}");
    }
}
