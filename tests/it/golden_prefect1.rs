//! Golden cases: the requests that the real `ECSAgent` of Prefect 0.15.0 and of Prefect 1.4.1 made, against ours.
//!
//! Where we deviate on purpose, and nowhere else:
//!
//! 1. `startedBy` and `clientToken` are ours (a launch is idempotent by them): a user's own are dropped, none compared.
//! 2. A task definition is reused, so nothing is deregistered, and the 1.4.1 family is named after the flow alone, as
//!    in 0.15.0, instead of after flow and flow run. Families are compared in the 0.15.0 cases.
//! 3. A registered definition is described only for a role that the run config leaves open.
//! 4. Where the Python agent stumbles over a shape it did not expect (its error is an `AttributeError`, `TypeError` or
//!    `KeyError` text, or the empty text of an `AssertionError`), a sentence says what is wrong, then comes its text.
//! 5. Values of types that ECS refuses fail the run before its claim and before a definition is registered for it.
//!
//! Reading templates, `RunTask`'s answers and the default VPC are not part of rendering; what they lead to is emulated.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use prefect_serverless_agent::config::{Backend, LaunchType, Rules};
use prefect_serverless_agent::flow_run::prefect1::{AgentSettings, FlowRun};
use prefect_serverless_agent::orchestrator::RunRefusal;
use prefect_serverless_agent::platform::ecs::prefect1::{launch_spec, request_problems, template_path};
use prefect_serverless_agent::platform::ecs::{Definition, LaunchSpec};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const NO_NETWORK: &str =
    "Failed to infer default networkConfiguration, please explicitly configure using `--run-task-kwargs`";

#[test]
fn prefect_0_15_cases() {
    check_folder("v1-0.15.0", Rules::V0_15);
}

#[test]
fn prefect_1_4_cases() {
    check_folder("v1-1.4.1", Rules::V1);
}

/// All cases of a folder; `GOLDEN_CASES` names another place with the same folders.
fn check_folder(folder: &str, rules: Rules) {
    let root = std::env::var_os("GOLDEN_CASES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from);
    let folder = root.join(folder);
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no golden cases in {}", folder.display());
    let mut wrong = Vec::new();
    for file in &files {
        let case: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let differences = differences(&case, rules);
        if !differences.is_empty() {
            wrong.push(format!("{}\n    {}", file.file_name().unwrap().display(), differences.join("\n    ")));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases differ:\n{}", wrong.len(), files.len(), wrong.join("\n"));
}

fn differences(case: &Value, rules: Rules) -> Vec<String> {
    let agent = agent_settings(&case["agent"], rules);
    let run: FlowRun = serde_json::from_value(case["flow_run"].clone()).unwrap();
    let expected = &case["expected"];
    let mut out = Vec::new();
    match render(case, &agent, &run) {
        Ok(spec) => match made_requests(case, spec.clone()) {
            Ok((definition, run_task)) => {
                let wanted = |key: &str| comparable(&expected[key], &spec.definition, rules);
                compare(&mut out, "register_task_definition", &wanted("register_task_definition"), &definition);
                compare(&mut out, "run_task", &wanted("run_task"), &run_task);
                compare_problems(&mut out, expected, &spec);
            }
            Err(text) => compare(&mut out, "error", &expected["error"], &Value::String(text)),
        },
        Err(refusal) => compare_refusal(&mut out, expected, &refusal),
    }
    out
}

fn render(case: &Value, agent: &AgentSettings, run: &FlowRun) -> Result<LaunchSpec, RunRefusal> {
    let written = case["flow_run"]["run_config"]["task_definition_path"].as_str();
    let file = written.and_then(|path| case["files"][path].as_str());
    if file.is_none()
        && let Some(path) = template_path(agent, run)?
    {
        assert_eq!(Some(path.written.as_str()), written);
        // What the loader would say.
        return Err(RunRefusal(case["expected"]["error"].as_str().unwrap_or("no such file").into()));
    }
    let template: Option<Map<String, Value>> = file.map(|yaml| serde_saphyr::from_str(yaml).unwrap());
    launch_spec(agent, run, template.as_ref())
}

/// The requests with what is looked up at AWS put in; the error text if the default VPC has no subnet.
fn made_requests(case: &Value, spec: LaunchSpec) -> Result<(Value, Value), String> {
    let mut run_task = spec.run_task;
    if spec.infer_network {
        let (vpcs, subnets) = (&case["agent"]["ec2"]["vpcs"], &case["agent"]["ec2"]["subnets"]);
        if vpcs.as_array().unwrap().is_empty() || subnets.as_array().unwrap().is_empty() {
            return Err(NO_NETWORK.into());
        }
        let network = json!({ "awsvpcConfiguration": { "subnets": subnets, "assignPublicIp": "ENABLED" } });
        assert!(run_task.insert("networkConfiguration".into(), network).is_none());
    }
    let definition = match spec.definition {
        Definition::Existing { name, definition_roles } => {
            run_task.insert("taskDefinition".into(), json!(name));
            for role in definition_roles {
                let described = &case["aws"]["describe_task_definition"][role];
                if described.as_str().is_some_and(|role| !role.is_empty()) {
                    run_task["overrides"][role] = described.clone();
                }
            }
            Value::Null
        }
        Definition::Own(body) => Value::Object(body),
    };
    let definition = comparable(&definition, &Definition::Own(Map::new()), Rules::V0_15);
    Ok((definition, Value::Object(run_task)))
}

/// A request without what is deliberately different.
fn comparable(request: &Value, definition: &Definition, rules: Rules) -> Value {
    let mut request = request.clone();
    if let Value::Object(body) = &mut request {
        body.remove("startedBy");
        body.remove("clientToken");
        if let Definition::Own(ours) = definition {
            body.remove("taskDefinition");
            if let (Rules::V1, Some(family)) = (rules, ours.get("family")) {
                body.entry("family").and_modify(|theirs| theirs.clone_from(family));
            }
        }
    }
    request
}

fn compare_problems(out: &mut Vec<String>, expected: &Value, spec: &LaunchSpec) {
    let theirs = ["botocore_register_error", "botocore_run_task_error"].map(|key| expected[key].as_str());
    let mut theirs: Vec<_> = theirs.into_iter().flatten().flat_map(str::lines).map(str::to_owned).collect();
    let mut ours = request_problems(spec);
    theirs.sort();
    ours.sort();
    compare(out, "request_problems", &json!(theirs), &json!(ours));
}

fn compare_refusal(out: &mut Vec<String>, expected: &Value, refusal: &RunRefusal) {
    let theirs = expected["error"].as_str();
    let accidental = ["AttributeError", "TypeError", "KeyError", "AssertionError", "InvalidVersion"];
    let is_accident = expected["error_type"].as_str().is_some_and(|kind| accidental.contains(&kind));
    let same = match theirs {
        Some(theirs) => fields(&refusal.0) == fields(theirs) || (is_accident && refusal.0.ends_with(theirs)),
        None => false,
    };
    if !same {
        out.push(format!("error: expected {}, got {:?}", expected["error"], refusal.0));
    }
}

/// The parts of a validation error, sorted: Python writes them in the order of its hashes.
fn fields(error: &str) -> Vec<&str> {
    let mut fields: Vec<_> =
        error.trim_matches(['{', '}']).split("], ").map(|part| part.trim_end_matches(']')).collect();
    fields.sort_unstable();
    fields
}

/// Adds a line for every place where two values differ. An absent key and `null` are not the same.
fn compare(out: &mut Vec<String>, place: &str, expected: &Value, got: &Value) {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            let keys: BTreeSet<&String> = expected.keys().chain(got.keys()).collect();
            for key in keys {
                let place = format!("{place}.{key}");
                match (expected.get(key), got.get(key)) {
                    (Some(expected), Some(got)) => compare(out, &place, expected, got),
                    (Some(expected), None) => out.push(format!("{place}: expected {expected}, got nothing")),
                    (None, got) => out.push(format!("{place}: expected nothing, got {}", got.unwrap_or(&Value::Null))),
                }
            }
        }
        (Value::Array(expected), Value::Array(got)) if expected.len() == got.len() => {
            for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
                compare(out, &format!("{place}[{index}]"), expected, got);
            }
        }
        _ if expected == got => {}
        _ => out.push(format!("{place}: expected {expected}, got {got}")),
    }
}

fn agent_settings(agent: &Value, rules: Rules) -> AgentSettings {
    let config = &agent["config"];
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let secret = |value: &Value| value.as_str().map(SecretString::from);
    let sends_logs = config["send_flow_run_logs"].as_bool().unwrap();
    let env_vars = agent["env_vars"].as_object().into_iter().flatten();
    AgentSettings {
        rules,
        backend: if config["backend"] == "server" { Backend::Server } else { Backend::Cloud },
        api: text(&config["api"]).unwrap(),
        api_key: secret(&config["api_key"]),
        auth_token: secret(&config["auth_token"]),
        tenant_id: text(&config["tenant_id"]),
        labels: serde_json::from_value(agent.get("labels").cloned().unwrap_or_else(|| json!([]))).unwrap(),
        env_vars: env_vars.map(|(name, value)| (name.clone(), text(value).unwrap())).collect(),
        no_cloud_logs: agent.get("no_cloud_logs").and_then(Value::as_bool).unwrap_or(!sends_logs),
        logging_level: text(&config["logging_level"]).unwrap(),
        cluster: text(&agent["cluster"]),
        launch_type: text(&agent["launch_type"]).map(|kind| match &*kind.to_uppercase() {
            "FARGATE" => LaunchType::Fargate,
            "EC2" => LaunchType::Ec2,
            other => panic!("no launch type {other}"),
        }),
        task_role_arn: text(&agent["task_role_arn"]),
        execution_role_arn: text(&agent["execution_role_arn"]),
        task_definition: agent["task_definition"].as_object().cloned(),
        run_task_kwargs: agent["run_task_kwargs"].as_object().cloned().unwrap_or_default(),
    }
}
