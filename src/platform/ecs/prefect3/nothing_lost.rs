//! Whatever a work pool's template says of shapes that ECS takes arrives there, and nothing else does, beyond the
//! worker's rules; whatever has another shape is refused, wherever it is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::testing::{job, run, worker};
use crate::ecs_model::testing::{Difference, UNKNOWN, differences, request, with_unknown, with_wrong_type};
use crate::ecs_model::{Operation, UnknownMembers};
use crate::flow_run::prefect3::{Generation, WorkerSettings};
use crate::model::Object;
use crate::platform::ecs::request::{Settled, run_task_body};
use crate::platform::ecs::{Definition, LaunchIdentity};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The definition and the request of a template.
#[derive(Debug, Clone)]
struct Both {
    definition: Object,
    run_task: Object,
}

/// As the worker can launch it: it has a container for the flow that is essential, and networks fit Fargate.
fn launchable() -> impl Strategy<Value = Both> {
    let launch_type = proptest::option::of(prop_oneof![Just("FARGATE"), Just("FARGATE_SPOT")]);
    let generated =
        (request(Operation::RegisterTaskDefinition), request(Operation::RunTask), launch_type, any::<bool>());
    generated.prop_map(|(mut definition, mut run_task, launch_type, has_override)| {
        definition.insert("networkMode".into(), json!("awsvpc"));
        definition.remove("requiresCompatibilities");
        definition.extend([("cpu", "256"), ("memory", "512")].map(|(size, is)| (size.to_owned(), json!(is))));
        let containers = definition.get_mut("containerDefinitions").and_then(Value::as_array_mut).unwrap();
        containers.push(json!({}));
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            container.entry("image").or_insert_with(|| json!("i"));
        }
        let flow = containers[0].as_object_mut().unwrap();
        flow.insert("name".into(), json!("prefect"));
        flow.remove("essential");
        for ours in ["taskDefinition", "launchType"] {
            run_task.remove(ours);
        }
        run_task.extend(launch_type.map(|kind| ("launchType".to_owned(), json!(kind))));
        let overrides = run_task.get_mut("overrides").and_then(|all| all.get_mut("containerOverrides"));
        if let (Some(first), true) = (overrides.and_then(|all| all.get_mut(0)), has_override) {
            first["name"] = json!("prefect");
        }
        Both { definition, run_task }
    })
}

/// What is sent, or why nothing is.
fn sent(both: &Both, unknown_members: UnknownMembers) -> Result<Both, String> {
    let worker = WorkerSettings { generation: Generation::Three, unknown_members, ..worker() };
    let run = run(json!({"task_definition": both.definition, "task_run_request": both.run_task}), json!({}));
    let spec = job(&worker, &run)?.launch_spec().map_err(|refusal| refusal.0)?;
    let Definition::Own(definition) = spec.definition else { panic!("not ours") };
    let settled = Settled { definition: "arn".into(), ..Settled::default() };
    let identity = LaunchIdentity { flow_run_id: "1".into(), token: "t".into(), started_by: "s".into() };
    Ok(Both { definition, run_task: run_task_body(&spec.run_task, &settled, &identity) })
}

fn is_nothing(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Bool(_)) => false,
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
    }
}

/// Whether a rule of the worker makes this difference in a definition.
fn is_ruled_in_definition(difference: &Difference) -> bool {
    let added = ["family", "requiresCompatibilities", "containerDefinitions[0].cpu", "containerDefinitions[0].memory"];
    is_nothing(difference.written.as_ref()) && (difference.sent.is_none() || added.contains(&difference.path.as_str()))
}

/// Whether a rule of the worker, or ours that a launch happens once, makes this difference in a request.
fn is_ruled_in_run_task(difference: &Difference, both: &Both) -> bool {
    let path = difference.path.as_str();
    let (written, sent) = (difference.written.as_ref(), difference.sent.as_ref());
    let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
    let (head, tail) = path.rsplit_once('.').unwrap_or_default();
    match path {
        "taskDefinition" | "clientToken" | "startedBy" => true,
        "launchType" | "capacityProviderStrategy" => {
            let has_strategy = !is_nothing(both.run_task.get("capacityProviderStrategy"));
            if has_strategy {
                path == "launchType" && sent.is_none()
            } else {
                is_nothing(written) || path == "launchType"
            }
        }
        "networkConfiguration" | "overrides.containerOverrides" => is_nothing(written),
        "tags" => list(sent).starts_with(&list(written)),
        _ if head.starts_with("overrides.containerOverrides[") => match tail {
            "name" => head.ends_with("[0]") && is_nothing(written) && sent == Some(&json!("prefect")),
            // The worker's own command goes before the template's; its environment comes after.
            "command" => sent == Some(&json!(["prefect", "flow-run", "execute"])),
            "environment" => list(sent).starts_with(&list(written)),
            _ => false,
        },
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_ecs_takes_arrives_and_nothing_else(both in launchable()) {
        let sent = sent(&both, UnknownMembers::Refuse).map_err(TestCaseError::fail)?;
        for difference in differences(&both.definition, &sent.definition) {
            prop_assert!(is_ruled_in_definition(&difference), "{difference:?}");
        }
        for difference in differences(&both.run_task, &sent.run_task) {
            prop_assert!(is_ruled_in_run_task(&difference, &both), "{difference:?}");
        }
    }

    #[test]
    fn an_unknown_member_is_refused_or_sent_wherever_it_is(both in launchable(), nth in 0..10_000_usize, in_request: bool) {
        let mut both = both;
        let place = if in_request {
            with_unknown(Operation::RunTask, &mut both.run_task, nth)
        } else {
            with_unknown(Operation::RegisterTaskDefinition, &mut both.definition, nth)
        };
        let place = if place.is_empty() { "input" } else { &place };
        let refusal = sent(&both, UnknownMembers::Refuse).unwrap_err();
        let sentence = format!("Unknown parameter in {place}: \"{UNKNOWN}\", must be one of: ");
        prop_assert!(refusal.contains(&sentence) && refusal.contains("unknown_members: send"), "{refusal}");
        let sent = sent(&both, UnknownMembers::Send).map_err(TestCaseError::fail)?;
        let body = if in_request { sent.run_task } else { sent.definition };
        let pointer = if place == "input" { String::new() } else { format!("/{place}").replace('.', "/").replace('[', "/").replace(']', "") };
        let there = Value::Object(body);
        prop_assert_eq!(there.pointer(&format!("{pointer}/{UNKNOWN}")), Some(&json!(UNKNOWN)), "{} in {}", place, there);
    }

    #[test]
    fn a_value_of_another_type_is_refused_wherever_it_is(both in launchable(), nth in 0..10_000_usize, in_request: bool) {
        let mut both = both;
        let (place, _) = if in_request {
            with_wrong_type(Operation::RunTask, &mut both.run_task, nth)
        } else {
            with_wrong_type(Operation::RegisterTaskDefinition, &mut both.definition, nth)
        };
        // A strategy drives out the launch type, the worker's command the template's, whatever they are.
        let replaced = place == "launchType" || (in_request && place.contains("].command"));
        prop_assume!(!replaced && !place.is_empty());
        let sent = sent(&both, UnknownMembers::Send);
        prop_assert!(sent.is_err(), "{place} in {both:?} gives {sent:?}");
    }
}
