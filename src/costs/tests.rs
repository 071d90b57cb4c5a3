#![allow(clippy::unwrap_used)]
use super::prices::{LISTED, ListedRegion, Quote, Rate};
use super::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A task as ECS told of one: a quarter of a vCPU, half a GB, 90.3 seconds of pull and run.
fn event(detail: &Value) -> TaskEvent {
    let mut event = json!({
        "source": "aws.ecs", "detail-type": "ECS Task State Change", "region": "us-east-1",
        "detail": {
            "taskArn": "arn:aws:ecs:us-east-1:123456789012:task/flows/0123", "lastStatus": "STOPPED",
            "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
            "capacityProviderName": "FARGATE", "launchType": "FARGATE", "platformFamily": "Linux",
            "cpu": "256", "memory": "512", "ephemeralStorage": {"sizeInGiB": 20}, "overrides": {"containerOverrides": []},
            "createdAt": "2026-11-24T12:00:00Z", "pullStartedAt": "2026-11-24T12:00:10.2Z",
            "startedAt": "2026-11-24T12:00:30Z", "stoppedAt": "2026-11-24T12:01:40.5Z",
        },
    });
    for (key, value) in detail.as_object().unwrap() {
        event["detail"][key] = value.clone();
    }
    TaskEvent::read(&event).unwrap()
}

fn usd(event: &TaskEvent) -> f64 {
    estimate(event, None).unwrap().usd()
}

fn is_about(usd: f64, expected: f64) {
    assert!((usd - expected).abs() < 1e-8, "{usd} is not {expected}");
}

#[test]
fn a_task_costs_its_size_times_its_time_by_the_second() {
    let estimate = estimate(&event(&json!({})), None).unwrap();
    let usage = Usage {
        billed_seconds: 91,
        cpu_units: 256,
        memory_mib: 512,
        storage_gib: 20,
        platform: Platform::LinuxX86,
        capacity: Capacity::Fargate,
        region: "us-east-1".into(),
    };
    assert_eq!(estimate.usage, usage);
    is_about(estimate.usd(), (0.25 * 0.04048 + 0.5 * 0.004_445) * 91.0 / 3600.0);
    assert_eq!(estimate.to_string(), "about 0.0003 USD (91 s of 0.25 vCPU and 0.5 GB)");
}

#[test]
fn a_minute_is_the_least_and_what_never_pulled_is_not_billed() {
    for (pulled, stopped, seconds) in [
        (json!("2026-11-24T12:00:10Z"), json!("2026-11-24T12:00:11Z"), 60),
        (json!("2026-11-24T12:00:10Z"), json!("2026-11-24T12:01:10Z"), 60),
        (json!("2026-11-24T12:00:10Z"), json!("2026-11-24T12:01:10.001Z"), 61),
        // Clocks of two machines.
        (json!("2026-11-24T12:00:10Z"), json!("2026-11-24T12:00:09Z"), 60),
    ] {
        let event = event(&json!({"pullStartedAt": pulled, "stoppedAt": stopped}));
        assert_eq!(usage(&event).unwrap().billed_seconds, seconds, "{pulled} {stopped}");
    }
    let never = event(&json!({"pullStartedAt": null, "startedAt": null}));
    is_about(usd(&never), 0.0);
}

#[test]
fn what_run_task_changed_and_the_processor_and_the_disk_count() {
    let larger = json!({"overrides": {"cpu": "1 vCPU", "memory": "2 GB"}});
    is_about(usd(&event(&larger)), (0.04048 + 2.0 * 0.004_445) * 91.0 / 3600.0);
    let arm = json!({"attributes": [{"name": "ecs.cpu-architecture", "value": "arm64"}]});
    is_about(usd(&event(&arm)), (0.25 * 0.03238 + 0.5 * 0.00356) * 91.0 / 3600.0);
    let disk = event(&json!({"ephemeralStorage": {"sizeInGiB": 50}}));
    let london = TaskEvent { region: Some("eu-west-2".into()), ..disk };
    is_about(usd(&london), (0.25 * 0.04656 + 0.5 * 0.00511 + 30.0 * 0.000_129) * 91.0 / 3600.0);
}

#[test]
fn without_a_price_or_what_it_is_for_there_is_no_estimate_and_a_reason() {
    for (detail, reason) in [
        (json!({"lastStatus": "RUNNING"}), "has not stopped"),
        (json!({"launchType": "EC2", "capacityProviderName": null}), "did not run on Fargate"),
        (json!({"launchType": null, "capacityProviderName": "my-instances"}), "did not run on Fargate"),
        (json!({"launchType": null, "capacityProviderName": null}), "launch type"),
        (json!({"capacityProviderName": "FARGATE_SPOT"}), "Fargate Spot has no fixed price"),
        (json!({"platformFamily": "Windows-Server-2019-Core"}), "for windows in us-east-1 is known"),
        (json!({"cpu": null}), "CPU"),
        (json!({"cpu": 256}), "CPU"),
        (json!({"memory": "much"}), "memory"),
        (json!({"attributes": null}), "processor"),
        (json!({"attributes": "x"}), "processor"),
        (json!({"attributes": [{"name": "ecs.cpu-architecture", "value": "riscv"}]}), "processor"),
        (json!({"stoppedAt": "soon"}), "end"),
    ] {
        let why = estimate(&event(&detail), None).unwrap_err().to_string();
        assert!(why.contains(reason), "{detail}: {why}");
    }
    let elsewhere = TaskEvent { region: Some("mars-north-1".into()), ..event(&json!({})) };
    let why = estimate(&elsewhere, None).unwrap_err().to_string();
    assert!(why.contains("x86_64 in mars-north-1 is known, and the agent's `prices` name none"), "{why}");
    let disk = json!({"ephemeralStorage": {"sizeInGiB": 21}});
    let ireland = TaskEvent { region: Some("eu-west-1".into()), ..event(&disk) };
    assert_eq!(estimate(&ireland, None), Err(NoEstimate::NoStoragePrice("eu-west-1".into())));
}

#[test]
fn what_the_configuration_says_counts_instead_of_the_list_and_where_there_is_none() {
    let rate = Rate { vcpu_hour: 0.4, gb_hour: 0.2 };
    let rates = [
        (Capacity::Fargate, Platform::LinuxX86),
        (Capacity::FargateSpot, Platform::LinuxX86),
        (Capacity::Fargate, Platform::Windows),
    ];
    let rates = rates.map(|(capacity, platform)| (capacity, platform, rate)).to_vec();
    let prices = Prices { rates, storage_gb_hour: Some(0.01) };
    let expected = (0.25 * 0.4 + 0.5 * 0.2) * 91.0 / 3600.0;
    let elsewhere = TaskEvent { region: Some("mars-north-1".into()), ..event(&json!({})) };
    for event in [
        event(&json!({})),
        elsewhere,
        event(&json!({"capacityProviderName": "FARGATE_SPOT"})),
        event(&json!({"platformFamily": "Windows-Server-2022-Full"})),
    ] {
        is_about(estimate(&event, Some(&prices)).unwrap().usd(), expected);
    }
    let disk = event(&json!({"ephemeralStorage": {"sizeInGiB": 120}}));
    is_about(estimate(&disk, Some(&prices)).unwrap().usd(), expected + 100.0 * 0.01 * 91.0 / 3600.0);
    // What it does not name is as listed.
    let arm = event(&json!({"attributes": [{"name": "ecs.cpu-architecture", "value": "arm64"}]}));
    assert_eq!(estimate(&arm, Some(&prices)), estimate(&arm, None));
}

#[test]
fn every_listed_price_says_who_quotes_it_and_of_which_day_and_arm_costs_less() {
    let regions: BTreeSet<&str> = LISTED.iter().map(|listed| listed.region).collect();
    assert_eq!(regions.len(), LISTED.len(), "one line per region");
    for listed in LISTED {
        let ListedRegion { region, quote: Quote { file, as_of, version }, x86, arm, storage_gb_hour } = listed;
        let day = time::macros::format_description!("[year]-[month]-[day]");
        assert!(time::Date::parse(as_of, day).is_ok(), "{region}: {as_of}");
        let (repository, path) = file.split_once(' ').unwrap();
        assert!(repository.split('/').count() == 2 && path.contains('.'), "{region}: {file}");
        let is_that_day = |version: &str| version.len() == 14 && version.starts_with(&as_of.replace('-', ""));
        assert!(version.is_none_or(is_that_day), "{region}: {version:?} was not published on {as_of}");
        assert!(listed.list().ends_with(&format!("/{}/{region}/index.json", version.unwrap_or("current"))), "{region}");
        let sane = |rate: &Rate| (0.02..0.2).contains(&rate.vcpu_hour) && (0.002..0.02).contains(&rate.gb_hour);
        assert!(sane(x86) && arm.as_ref().is_none_or(sane), "{region}");
        assert!(arm.is_none_or(|arm| arm.vcpu_hour < x86.vcpu_hour && arm.gb_hour < x86.gb_hour), "{region}");
        assert!(storage_gb_hour.is_none_or(|price| (0.00005..0.001).contains(&price)), "{region}");
    }
}

#[test]
fn names_come_from_tags_and_for_prefect_1_from_the_definitions_family() {
    let tags = BTreeMap::from([
        ("prefect.io/flow-name".to_owned(), "extract".to_owned()),
        ("prefect.io/deployment-name".to_owned(), "nightly".to_owned()),
    ]);
    let definition = "arn:aws:ecs:us-east-1:123456789012:task-definition/prefect-extract-load:7";
    let event = event(&json!({"taskDefinitionArn": definition}));
    let three = Names::of(&event, &tags, Some("ecs"));
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(three, Names { flow: some("extract"), deployment: some("nightly"), work_pool: some("ecs") });
    let one = Names::of(&event, &BTreeMap::new(), None);
    assert_eq!(one, Names { flow: some("extract-load"), ..Names::default() });
    let own = TaskEvent { task: crate::task_events::event::EventTask::default(), ..event };
    assert_eq!(Names::of(&own, &BTreeMap::new(), None), Names::default());
}
