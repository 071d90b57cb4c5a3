use super::super::testing::{agents, codes, denied, stack};
use super::*;

const CONFIG: &str = "prefect: 3\napi: http://prefect/api\nwork_pool: ecs\n";

fn wishes() -> Wishes {
    Wishes { fargate: [(task("us-east-1", false), ["hello/prod".to_owned()].into())].into(), ..Wishes::default() }
}

fn task(region: &str, is_spot: bool) -> FargateTask {
    FargateTask { region: region.into(), is_spot, cpu: "4 vCPU".into(), memory: "8 GB".into() }
}

fn nothing() -> ObservedQuotas {
    ObservedQuotas { vcpus: BTreeMap::new(), unreserved: None, health: None }
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
    for (quota, found) in [(Ok(4.0), &[][..]), (Ok(3.0), &["PSA702"]), (Err(denied()), &["PSA799"])] {
        let observed = ObservedQuotas { vcpus: [(("us-east-1".to_owned(), false), quota)].into(), ..nothing() };
        assert_eq!(codes(&judge(None, &agents(CONFIG), &wishes(), &observed)), found, "{observed:?}");
    }
}

#[test]
fn each_region_and_spare_capacity_has_a_quota_of_its_own() {
    let quota = |region: &str, is_spot, quota| ((region.to_owned(), is_spot), Ok(quota));
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
fn polls_may_overlap_and_a_public_url_has_concurrency_of_its_own() {
    for (parameters, unreserved, health, found) in [
        (&[][..], Ok(1000), None, &[][..]),
        (&[], Ok(2), None, &["PSA703"]),
        (&[("ReservedConcurrency", "5")], Ok(2), None, &[]),
        (&[("ReservedConcurrency", "1")], Ok(900), None, &["PSA703"]),
        (&[], Err(denied()), None, &["PSA799"]),
        (&[("HealthAuthType", "NONE")], Ok(1000), Some(Ok(None)), &["PSA704"]),
        (&[("HealthAuthType", "NONE")], Ok(1000), Some(Ok(Some(5))), &[]),
        (&[("HealthAuthType", "NONE")], Ok(1000), Some(Err(denied())), &["PSA799"]),
    ] {
        let observed = ObservedQuotas { vcpus: BTreeMap::new(), unreserved: Some(unreserved), health };
        let stack = stack(parameters, &[("HealthFunction", "psa-health")]);
        assert_eq!(codes(&judge(Some(&stack), &agents(CONFIG), &wishes(), &observed)), found, "{observed:?}");
    }
}

#[test]
fn a_url_is_public_where_it_is_there_and_open() {
    for (parameters, expected) in [
        (&[("HealthAuthType", "AWS_IAM")][..], false),
        (&[("HealthAuthType", "NONE"), ("HealthUrl", "ENABLED")], true),
        (&[("HealthAuthType", "NONE"), ("HealthUrl", "DISABLED")], false),
        (&[], false),
    ] {
        assert_eq!(is_public(&stack(parameters, &[])), expected, "{parameters:?}");
    }
}
