//! Whatever a run's configuration says of shapes that ECS takes arrives there, and nothing else does, beyond the agent's
//! rules; and what the agent's own configuration may say never fails a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::super::{launch_spec, request_problems};
use super::{agent, run};
use crate::config::{DocumentKind, Rules, check_document};
use crate::ecs_model::testing::{Difference, UNKNOWN, differences, request, with_unknown, with_wrong_type};
use crate::ecs_model::{Operation, UnknownMembers};
use crate::model::Object;
use crate::platform::ecs::Definition;
use proptest::prelude::*;
use serde_json::{Value, json};

/// A definition with a container for the flow whose variables have names, as the agent needs them.
fn definition() -> impl Strategy<Value = Object> {
    request(Operation::RegisterTaskDefinition).prop_map(|mut definition| {
        let containers = definition["containerDefinitions"].as_array_mut().unwrap();
        containers.push(json!({}));
        containers[0]["name"] = json!("flow");
        name_variables(&mut containers[0]);
        definition
    })
}

/// Arguments without a task definition, with overrides of different names.
fn kwargs() -> impl Strategy<Value = Object> {
    request(Operation::RunTask).prop_map(|mut kwargs| {
        kwargs.remove("taskDefinition");
        let overrides = kwargs.get_mut("overrides").and_then(|overrides| overrides.get_mut("containerOverrides"));
        for (index, container) in overrides.and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            container["name"] = if index == 0 { json!("flow") } else { json!(format!("side{index}")) };
            name_variables(container);
        }
        kwargs
    })
}

fn name_variables(container: &mut Value) {
    let entries = container.get_mut("environment").and_then(Value::as_array_mut);
    entries.into_iter().flatten().for_each(|entry| entry["name"] = json!("own"));
}

fn is_ruled_in_definition(difference: &Difference) -> bool {
    let list = |value: &Option<Value>| value.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    let (written, sent) = (&difference.written, &difference.sent);
    match difference.path.as_str() {
        "family" | "containerDefinitions[0].image" => sent.is_some(),
        "requiresCompatibilities" => written.is_none(),
        "tags" => list(sent).starts_with(&list(written)),
        "containerDefinitions[0].environment" => list(sent).ends_with(&list(written)),
        _ => false,
    }
}

fn is_ruled_in_run_task(difference: &Difference, kwargs: &Object) -> bool {
    let list = |value: &Option<Value>| value.as_ref().and_then(Value::as_array).cloned().unwrap_or_default();
    let (written, sent) = (&difference.written, &difference.sent);
    match difference.path.as_str() {
        // Ours, since a launch happens once.
        "clientToken" | "startedBy" => sent.is_none(),
        // A strategy of the run drives out the agent's launch type.
        "launchType" => written.is_none() && !kwargs.contains_key("capacityProviderStrategy"),
        "overrides" => written.is_none(),
        "overrides.containerOverrides" => list(written).is_empty(),
        // A role of the definition goes before none.
        "overrides.taskRoleArn" | "overrides.executionRoleArn" => sent.is_some(),
        "overrides.containerOverrides[0].command" => list(sent).first() == Some(&json!("/bin/sh")),
        "overrides.containerOverrides[0].environment" => list(sent).ends_with(&list(written)),
        _ => false,
    }
}

/// A document that may be right or wrong.
fn tampered(which: Operation, document: impl Strategy<Value = Object>) -> impl Strategy<Value = Object> {
    (document, 0..3_u8, 0..10_000_usize).prop_map(move |(mut document, kind, nth)| {
        match kind {
            0 => {}
            1 => drop(with_unknown(which, &mut document, nth)),
            _ => drop(with_wrong_type(which, &mut document, nth)),
        }
        document
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_ecs_takes_arrives_and_nothing_else(definition in definition(), kwargs in kwargs()) {
        let run = run(&json!({"task_definition": definition, "run_task_kwargs": kwargs}));
        let spec = launch_spec(&agent(Rules::V1), &run, None).map_err(|refusal| TestCaseError::fail(refusal.0))?;
        prop_assert_eq!(request_problems(&spec), Vec::<String>::new());
        let Definition::Own(sent) = &spec.definition else { panic!("not ours") };
        for difference in differences(&definition, sent) {
            prop_assert!(is_ruled_in_definition(&difference), "{difference:?}");
        }
        for difference in differences(&kwargs, &spec.run_task) {
            prop_assert!(is_ruled_in_run_task(&difference, &kwargs), "{difference:?}");
        }
    }

    #[test]
    fn an_unknown_member_is_found_wherever_it_is(definition in definition(), kwargs in kwargs(), nth in 0..10_000_usize) {
        let (mut definition, mut kwargs) = (definition, kwargs);
        let places = [
            with_unknown(Operation::RegisterTaskDefinition, &mut definition, nth),
            with_unknown(Operation::RunTask, &mut kwargs, nth),
        ];
        let run = run(&json!({"task_definition": definition, "run_task_kwargs": kwargs}));
        let spec = launch_spec(&agent(Rules::V1), &run, None).map_err(|refusal| TestCaseError::fail(refusal.0))?;
        let found = request_problems(&spec);
        // The agent's own variables come before those of the flow's container.
        for place in places.iter().filter(|place| !place.contains("environment[")) {
            let place = if place.is_empty() { "input" } else { place };
            let sentence = format!("Unknown parameter in {place}: \"{UNKNOWN}\", must be one of: ");
            prop_assert!(found.iter().any(|problem| problem.starts_with(&sentence)), "{place}: {found:?}");
        }
        prop_assert!(found.len() >= 2, "{found:?}");
    }

    #[test]
    fn what_the_configuration_may_say_fails_no_run(
        definition in tampered(Operation::RegisterTaskDefinition, definition()),
        kwargs in tampered(Operation::RunTask, kwargs()),
        rules in prop_oneof![Just(Rules::V0_15), Just(Rules::V1)],
    ) {
        let is_right = |which, document: &Object| check_document(which, "", document, UnknownMembers::Refuse).is_ok();
        let mut agent = agent(rules);
        if is_right(DocumentKind::TaskDefinition, &definition) {
            agent.task_definition = Some(definition);
        }
        if is_right(DocumentKind::RunTaskKwargs, &kwargs) {
            agent.run_task_kwargs = kwargs;
        }
        let spec = launch_spec(&agent, &run(&json!({})), None).map_err(|refusal| TestCaseError::fail(refusal.0))?;
        prop_assert_eq!(request_problems(&spec), Vec::<String>::new());
    }
}
