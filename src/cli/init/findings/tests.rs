#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::platform::ecs::NetworkLookup;
use crate::survey::{SurveyedDefinition, SurveyedLaunch, Unrendered};
use serde_json::json;

fn home() -> Home {
    Home::new(Ok("123456789012".into()), "eu-west-1")
}

fn rendered(definition: Value) -> RenderedLaunch {
    let Value::Object(body) = definition else { panic!("no definition") };
    RenderedLaunch {
        place: home().place(),
        definition: SurveyedDefinition::Register(body),
        run_task: serde_json::Map::new(),
        network: Some(NetworkLookup::DefaultVpc),
        flow_container: "prefect".into(),
        deregisters: false,
        warning: None,
        differences: None,
        judgement: None,
    }
}

fn survey(launches: Vec<Result<RenderedLaunch, Unrendered>>) -> Survey {
    let mut needs = Needs::default();
    let launches = launches.into_iter().enumerate().map(|(number, rendered)| {
        let asker = format!("flow/{number}");
        if let Ok(launch) = &rendered {
            needs.add(&asker, launch);
        }
        SurveyedLaunch { asker, deployment_id: None, is_served: true, rendered }
    });
    let launches = launches.collect();
    Survey { home: home(), pool: None, defaults: None, launches, runs_unread: None, are_runs_truncated: false, needs }
}

fn of(survey: &Survey) -> Vec<SetupFinding> {
    let mut found = Vec::new();
    of_launches(survey, &mut found);
    of_places(&survey.needs, &survey.home, &mut found);
    of_parameters(survey, &Vec::new(), &mut found);
    found
}

#[test]
fn a_healthy_pool_has_nothing_to_be_said_of() {
    let role = "arn:aws:iam::123456789012:role/ecsTaskExecutionRole";
    let healthy = json!({"executionRoleArn": role, "containerDefinitions": [{"image": "1.dkr.ecr.x.amazonaws.com/i"}]});
    assert_eq!(of(&survey(vec![Ok(rendered(healthy)), Ok(rendered(json!({})))])), []);
}

#[test]
fn what_is_not_launched_is_said_once_for_all_whom_it_concerns() {
    let wrong = |is_certain| Err(Unrendered { why: "no image".into(), is_certain });
    let found = of(&survey(vec![wrong(true), wrong(true), wrong(false)]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[1].level, found[1].about.as_str()), (Level::Problem, "flow/0, flow/1"));
    assert_eq!((found[0].level, found[0].about.as_str()), (Level::Warning, "flow/2"));
    assert!(found.iter().all(|finding| finding.found.contains("no image")));
}

#[test]
fn what_needs_an_execution_role_is_told_apart() {
    for (container, said) in [
        (json!({"image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/i:1"}), "private registry"),
        (json!({"image": "team/i", "secrets": [{"name": "A", "valueFrom": "arn"}]}), "has secrets"),
        (json!({"image": "team/i", "logConfiguration": {"logDriver": "awslogs"}}), "logs to CloudWatch"),
    ] {
        let launch = |run_task: Value| {
            let mut launch = rendered(json!({"containerDefinitions": [container]}));
            launch.run_task = run_task.as_object().unwrap().clone();
            of(&survey(vec![Ok(launch)]))
        };
        let spot = json!({"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]});
        for run_task in [json!({"launchType": "FARGATE"}), spot] {
            let found = launch(run_task);
            assert!(found.len() == 1 && found[0].found.contains(said) && found[0].level == Level::Problem, "{found:?}");
        }
        // Elsewhere the instance has a role, but not for secrets.
        let own = json!({"capacityProviderStrategy": [{"capacityProvider": "gpu"}]});
        for run_task in [json!({"launchType": "EC2"}), own] {
            let found = launch(run_task);
            assert_eq!(found.len(), usize::from(said == "has secrets"), "{found:?}");
        }
        // Where the cluster decides, it is not known.
        let found = launch(json!({}));
        let level = if said == "has secrets" { Level::Problem } else { Level::Warning };
        assert!(found.len() == 1 && found[0].found.contains(said) && found[0].level == level, "{found:?}");
    }
}

#[test]
fn tasks_in_other_accounts_and_regions_want_their_events_forwarded() {
    let mut elsewhere = rendered(json!({}));
    let role = "arn:aws:iam::210987654321:role/launcher".to_owned();
    elsewhere.place =
        LaunchPlace { account: Some("210987654321".into()), region: "eu-west-1".into(), reach: Reach::Agent(role) };
    let mut far = rendered(json!({}));
    far.place.region = "us-east-1".into();
    let found = of(&survey(vec![Ok(elsewhere), Ok(far)]));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|finding| finding.next.contains("infra/forward-events.yaml")));
    assert!(found.iter().any(|finding| finding.next.contains("must trust")));
}

#[test]
fn images_that_ecs_may_not_pull_are_said() {
    let ecr = |account: &str| format!("{account}.dkr.ecr.eu-west-1.amazonaws.com/flows:1");
    for (image, level) in [
        (ecr("123456789012"), None),
        (ecr("210987654321"), Some(Level::Warning)),
        ("prefecthq/prefect:3-latest".to_owned(), None),
        ("ghcr.io/team/flows:1".to_owned(), None),
        ("flows:1".to_owned(), Some(Level::Warning)),
        ("localhost:5000/flows:1".to_owned(), Some(Level::Problem)),
    ] {
        let container = json!({"name": "prefect", "image": image});
        let found =
            of(&survey(vec![Ok(rendered(json!({"executionRoleArn": "x", "containerDefinitions": [container]})))]));
        assert_eq!(found.first().map(|finding| finding.level), level, "{image}: {found:?}");
    }
}

#[test]
fn a_role_of_another_account_and_a_definition_that_is_not_known_are_said() {
    let foreign = rendered(json!({"taskRoleArn": "arn:aws:iam::999999999999:role/x"}));
    let mut unknown = rendered(json!({}));
    unknown.definition = SurveyedDefinition::Named { name: "fam:1".into(), described: Err("denied".into()) };
    let found = of(&survey(vec![Ok(foreign), Ok(unknown)]));
    assert!(found.iter().any(|finding| finding.level == Level::Problem && finding.about.ends_with("role/x")));
    assert!(found.iter().any(|finding| finding.about == "fam:1" && finding.next.contains("PassableRoleArns")));
}

#[test]
fn an_account_that_is_not_known_and_a_parameter_that_is_too_long_are_said() {
    let mut survey = survey(Vec::new());
    survey.home = Home::new(Err("no credentials".into()), "mx-central-1");
    survey.are_runs_truncated = true;
    let mut found = Vec::new();
    of_parameters(&survey, &vec![("ClusterArns", "x".repeat(5000))], &mut found);
    let about: Vec<&str> = found.iter().map(|finding| finding.about.as_str()).collect();
    assert_eq!(about, ["flow runs", "AWS", "ClusterArns", "HealthUrl"]);
}

#[test]
fn an_api_that_aws_does_not_reach_is_told_by_its_address() {
    for (api, level) in [
        ("https://api.prefect.cloud/api/accounts/a/workspaces/w", None),
        ("https://prefect.example.com/api", None),
        ("http://8.8.8.8:4200/api", None),
        ("http://127.0.0.1:4200/api", Some(Level::Problem)),
        ("http://localhost:4200/api", Some(Level::Problem)),
        ("http://[::1]:4200/api", Some(Level::Problem)),
        ("http://10.0.0.5:4200/api", Some(Level::Warning)),
        ("http://prefect:4200/api", Some(Level::Warning)),
        ("http://prefect.internal/api", Some(Level::Warning)),
    ] {
        assert_eq!(unreachable_api(api).map(|finding| finding.level), level, "{api}");
    }
}

#[test]
fn pools_of_other_types_are_told_what_to_do() {
    assert_eq!(unserved("ecs", "p"), None);
    for (kind, said) in
        [("ecs:push", "push pool"), ("docker", "--type ecs"), ("process", "--platform"), ("kubernetes", "--type ecs")]
    {
        let finding = unserved(kind, "p").unwrap();
        assert!(finding.level == Level::Problem && finding.next.contains(said), "{finding:?}");
    }
}
