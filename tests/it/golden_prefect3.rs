//! Golden cases: what the real `ECSWorker` of Prefect 3.8.8 (prefect-aws 0.7.12) made of a flow run, and which calls to
//! AWS it made then, against ours. A small interpreter answers the calls from the case, in the worker's order.
//!
//! Deliberate deviations, none of which depends on the case:
//!
//! - `clientToken` and `startedBy` are always ours.
//! - A family that ECS would refuse is made one that it takes; the worker sends it as it is.
//! - `prefect_api_key_secret_arn` without a key of the worker's own (`KeyError: 'PREFECT_API_KEY'`) is fine.
//! - Whole numbers as texts (`"256"`) become numbers in container overrides; botocore refuses them.
//! - A `taskDefinition` that is null or empty (`AssertionError`) counts as none.
//! - `aws_credentials: null` (`AttributeError`) counts as none.
//! - What botocore refuses is refused before anything is asked of AWS, so also before a VPC is found to be missing. (The
//!   calls before are compared all the same, as far as they go.)

mod play;

use play::Play;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v3");

#[test]
fn requests_are_those_of_prefect_3_8() {
    let templates = read(&Path::new(FOLDER).join("_templates.json"));
    let mut names: Vec<_> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| !path.file_name().unwrap().to_string_lossy().starts_with('_'));
    names.sort();
    assert!(names.len() >= 99, "only {} cases in {FOLDER}", names.len());
    let mut report = String::new();
    let mut failed = 0;
    for path in &names {
        let mut case = read(path);
        if let Some(name) = case["work_pool"]["base_job_template"]["$template"].as_str().map(str::to_owned) {
            case["work_pool"]["base_job_template"] = templates[&name].clone();
        }
        let differences = differences(&case);
        if !differences.is_empty() {
            failed += 1;
            writeln!(report, "{}: {}", case["id"], case["description"]).unwrap();
            for line in &differences {
                writeln!(report, "    {line}").unwrap();
            }
        }
    }
    assert!(failed == 0, "{failed} of {} cases differ:\n{report}", names.len());
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn differences(case: &Value) -> Vec<String> {
    let expected = &case["expected"];
    let played = Play::of(case);
    let mut out = Vec::new();
    let forgiven = is_forgiven(expected);
    if let (Some(prepared), false) = (&played.prepared, forgiven && expected["prepared"].is_null()) {
        compare(&mut out, "prepared", &expected["prepared"], prepared);
    }
    compare(&mut out, "requests to Prefect", &json!(references(expected)), &json!(played.asked));
    let network_trouble = ["Failed to find", "InvalidVpcID", "not found within VPC"];
    let theirs_later = network_trouble.iter().any(|text| expected["error"].as_str().is_some_and(|e| e.contains(text)));
    if !forgiven {
        if played.failed_to_launch {
            compare(&mut out, "an error", &json!(expected["error"].is_string()), &json!(true));
        } else if !(played.refused_early && theirs_later) {
            compare(&mut out, "error", &without_digits(&expected["error"]), &json!(played.error));
        }
        compare(&mut out, "infrastructure_pid", &expected["infrastructure_pid"], &json!(played.pid));
    } else if let Some(error) = &played.error {
        out.push(format!("error: forgiven, but ours refuses too: {error}"));
    }
    let mut theirs: Vec<Value> = expected["aws_calls"].as_array().unwrap().iter().map(comparable).collect();
    let mut ours: Vec<Value> = played.calls.iter().map(comparable).collect();
    if played.refused_early || forgiven {
        let both = theirs.len().min(ours.len());
        theirs.truncate(both);
        ours.truncate(both);
    }
    compare(&mut out, "aws_calls", &json!(theirs), &json!(ours));
    out
}

/// Whether the worker failed where we do not.
fn is_forgiven(expected: &Value) -> bool {
    let error = expected["error"].as_str().unwrap_or_default();
    match expected["error_type"].as_str() {
        Some("KeyError") => error == "KeyError: 'PREFECT_API_KEY'",
        Some("AssertionError") => error.starts_with("AssertionError: Task definition ARN mismatch"),
        Some("AttributeError") => error == "AttributeError: 'NoneType' object has no attribute 'get_client'",
        Some("ParamValidationError") => error.lines().skip(1).all(is_about_digits),
        _ => false,
    }
}

/// Whether botocore complains about a whole number that is a text.
fn is_about_digits(line: &str) -> bool {
    let value = line.split(", ").find_map(|part| part.strip_prefix("value: "));
    line.contains("overrides.containerOverrides[")
        && line.contains("type: <class 'str'>, valid types: <class 'int'>")
        && value.is_some_and(|value| value.parse::<i64>().is_ok())
}

fn without_digits(error: &Value) -> Value {
    let Some(error) = error.as_str() else { return error.clone() };
    json!(error.lines().filter(|line| !is_about_digits(line)).collect::<Vec<_>>().join("\n"))
}

/// The blocks and variables that the worker read.
fn references(expected: &Value) -> BTreeSet<&str> {
    let asked = expected["prefect_http_during_render"].as_array().unwrap().iter().map(|path| path.as_str().unwrap());
    asked.filter(|path| !path.starts_with("GET /deployments/") && !path.starts_with("GET /flows/")).collect()
}

/// A call without what is deliberately different.
fn comparable(call: &Value) -> Value {
    let mut call = call.clone();
    let params = call["params"].as_object_mut().unwrap();
    for ours in ["startedBy", "clientToken"] {
        params.shift_remove(ours);
    }
    if let Some(family) = params.get("family").and_then(Value::as_str) {
        params["family"] = json!(allowed(family));
    }
    if let Some(arn) = params.get("taskDefinition").and_then(Value::as_str)
        && let Some((start, rest)) = arn.split_once(":task-definition/")
        && let Some((family, revision)) = rest.rsplit_once(':')
    {
        params["taskDefinition"] = json!(format!("{start}:task-definition/{}:{revision}", allowed(family)));
    }
    json!({"op": call["op"], "params": call["params"], "region": call["region"], "access_key": call["access_key"]})
}

fn allowed(family: &str) -> String {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let mut out = String::new();
    let mut in_run = false;
    for c in family.chars() {
        if is_allowed(c) {
            out.push(c);
        } else if !in_run {
            out.push('-');
        }
        in_run = !is_allowed(c);
    }
    out.truncate(255);
    out
}

/// Adds a line for every place where two values differ. An absent key and `null` are not the same.
pub(crate) fn compare(out: &mut Vec<String>, place: &str, expected: &Value, got: &Value) {
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
