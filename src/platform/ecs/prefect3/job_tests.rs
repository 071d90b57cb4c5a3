#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::testing::{job, run, worker};
use super::*;
use crate::flow_run::prefect3::Generation;
use crate::platform::ecs::NetworkLookup;

const EXISTING: &str = "arn:aws:ecs:eu-west-1:1:task-definition/custom:7";

fn existing(more: Value) -> Job {
    let mut configuration = json!({
        "task_run_request": {"taskDefinition": EXISTING, "overrides": {"containerOverrides": [{}]}},
        "auto_deregister_task_definition": true,
    });
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    job(&worker(), &run(configuration, json!({}))).unwrap()
}

#[test]
fn a_launch_with_a_definition_that_exists_is_completed_by_what_it_says() {
    let spec = existing(json!({})).launch_spec().unwrap();
    let described = json!({"containerDefinitions": [{"name": "app"}], "networkMode": "awsvpc"});
    let complete = spec.worker.completion.as_ref().unwrap().0.complete(described.as_object().unwrap()).unwrap();
    assert_eq!(complete.definition, Definition::Existing { name: EXISTING.into(), definition_roles: vec![] });
    assert_eq!(complete.worker.network, Some(NetworkLookup::DefaultVpc));
    assert_eq!((complete.worker.completion, complete.worker.tag_if_registered), (None, None));
    let container = &complete.run_task["overrides"]["containerOverrides"][0];
    assert_eq!(
        (&container["name"], &container["command"]),
        (&json!("app"), &json!(["prefect", "flow-run", "execute"]))
    );
    assert_eq!(complete.run_task.get("taskDefinition"), None);
}

#[test]
fn where_it_goes_is_known_before_it_is_complete() {
    assert_eq!(existing(json!({"cluster": "etl"})).launch_spec().unwrap().target().cluster, "etl");
    assert_eq!(existing(json!({})).launch_spec().unwrap().target().cluster, "");
}

#[test]
fn a_definition_that_does_not_fit_is_refused_at_completion() {
    let spec = existing(json!({"configure_cloudwatch_logs": true})).launch_spec().unwrap();
    let refusal = spec.worker.completion.unwrap().0.complete(&Map::new()).unwrap_err();
    assert!(refusal.0.contains("An execution role arn must be set"), "{refusal}");
}

#[test]
fn definitions_registered_for_a_task_are_tagged_for_deregistration_if_asked_for() {
    let tag = |asked: bool| {
        let configuration = json!({"task_definition": {"family": "f"}, "auto_deregister_task_definition": asked});
        job(&worker(), &run(configuration, json!({}))).unwrap().launch_spec().unwrap().worker.tag_if_registered
    };
    assert_eq!(tag(true), Some(("prefect.io/degregister-task-definition".into(), "true".into())));
    assert_eq!(tag(false), None);
}

#[test]
fn wrong_types_in_the_request_are_refused_all_at_once() {
    let configuration = json!({"task_definition": {"family": "f"},
        "task_run_request": {"cluster": null, "overrides": {"taskRoleArn": 5}}});
    let refusal = job(&worker(), &run(configuration, json!({}))).unwrap().launch_spec().unwrap_err().0;
    assert_eq!(
        refusal,
        "ParamValidationError: Parameter validation failed:\n\
         Invalid type for parameter cluster, value: None, type: <class 'NoneType'>, valid types: <class 'str'>\n\
         Invalid type for parameter overrides.taskRoleArn, value: 5, type: <class 'int'>, valid types: <class 'str'>"
    );
}

#[test]
fn names_are_templates_since_prefect_3() {
    let name = |generation: Generation, name: Value| {
        let configuration = json!({"task_definition": {"family": "f"}, "name": name});
        let worker = WorkerSettings { generation, ..worker() };
        job(&worker, &run(configuration, json!({}))).unwrap().prepared()["name"].as_str().unwrap().to_owned()
    };
    let template = json!("{{ ctx.flow.name }}-{{ ctx.flow_run.name }}{{ ctx.nope }}");
    // Placeholders inside job variables survive; those of a template are gone before the name is looked at.
    assert_eq!(name(Generation::Three, template), "-");
    assert_eq!(name(Generation::Three, Value::Null), "otter");
    let run =
        run(json!({"task_definition": {"family": "f"}, "name": "{{ name }}"}), json!({"name": "{{ ctx.flow.name }}!"}));
    assert_eq!(job(&worker(), &run).unwrap().prepared()["name"], "etl!");
    let two = WorkerSettings { generation: Generation::Two, ..worker() };
    assert_eq!(job(&two, &run).unwrap().prepared()["name"], "{{ ctx.flow.name }}!");
}

#[test]
fn flows_are_started_so_that_they_hear_of_their_cancellation() {
    const SETTING: &str = "PREFECT_EXPERIMENTAL_ENABLE_ENHANCED_CANCELLATION";
    const EXECUTE: &str = "prefect flow-run execute";
    const ENGINE: &str = "python -m prefect.engine";
    let command = |generation: Generation, settings: &[&str], configured: &str| {
        let mut worker = WorkerSettings { generation, ..worker() };
        worker.base_environment.extend(settings.iter().map(|value| (SETTING.to_owned(), (*value).into())));
        let configuration = json!({"task_definition": {"family": "f"}, "command": configured});
        job(&worker, &run(configuration, json!({}))).unwrap().prepared()["command"].clone()
    };
    for generation in [Generation::Two, Generation::Three] {
        for settings in [&[][..], &["true"], &["True"], &["1"], &["false", "true"]] {
            assert_eq!(command(generation, settings, ""), EXECUTE, "{generation:?} {settings:?}");
        }
        assert_eq!(command(generation, &["false"], "python flow.py"), "python flow.py");
    }
    for off in ["false", "False", "0", "off", "No", "f", "n"] {
        assert_eq!(command(Generation::Two, &[off], ""), ENGINE, "{off}");
        assert_eq!(command(Generation::Three, &[off], ""), EXECUTE, "Prefect 3 has no such setting");
    }
    assert_eq!(command(Generation::Two, &["true", "false"], ""), ENGINE, "the last one counts");
}

#[test]
fn jobs_do_not_show_their_keys() {
    let shown = format!("{:?}", existing(json!({})).launch_spec().unwrap().worker);
    assert!(shown.contains("run-1") && !shown.contains("pnu_k"), "{shown}");
}

/// A block may hold a secret: what it brings along is of the wrong type, but not for messages.
#[test]
fn a_refusal_shows_what_is_written_and_not_what_a_block_brings_along() {
    let configuration = |value: Value| {
        json!({"task_definition": {"containerDefinitions": [{"name": "prefect", "privileged": "yes",
            "environment": [{"name": "A", "value": value}]}]}})
    };
    let run = run(configuration(json!("{{ prefect.blocks.json.database }}")), json!({}));
    let context = run.context();
    let written = crate::flow_run::prefect3::populate(&worker(), &context).unwrap();
    let resolved = configuration(json!({"password": "hunter2"}));
    let job = Job::new(&worker(), &context, &written, resolved.as_object().unwrap()).unwrap();
    let refusal = job.launch_spec().unwrap_err().0;
    assert!(
        refusal.contains("environment[0].value, value: (hidden), type: <class 'dict'>, valid types: "),
        "{refusal}"
    );
    assert!(refusal.contains("privileged, value: yes, type: <class 'str'>, valid types: "), "{refusal}");
    assert!(!refusal.contains("hunter2"), "{refusal}");
}
