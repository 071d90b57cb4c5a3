//! What a run's own job variables decided about its launch, as opposed to its work pool.

use crate::platform::ecs::target::{CHOSEN_ACCOUNT, CHOSEN_KEYS};
use serde_json::{Map, Value};

/// Keys as in [`LaunchSpec::run_sets`](crate::platform::ecs::LaunchSpec::run_sets): what is different without job variables.
///
/// `with` and `without` are the configuration with and without the job variables of deployment and flow run.
pub(super) fn run_sets(with: &Map<String, Value>, without: &Map<String, Value>) -> Vec<String> {
    let differs = |path: &[&str]| at(with, path) != at(without, path);
    let mut sets: Vec<String> = Vec::new();
    for configuration in [with, without] {
        for key in configuration.get("task_run_request").and_then(Value::as_object).into_iter().flat_map(Map::keys) {
            if differs(&["task_run_request", key]) && !sets.contains(key) {
                sets.push(key.clone());
            }
        }
    }
    let elsewhere: [(&str, &[&[&str]]); 6] = [
        ("cluster", &[&["cluster"]]),
        ("networkConfiguration", &[&["vpc_id"], &["network_configuration"]]),
        ("tags", &[&["labels"]]),
        (CHOSEN_ACCOUNT, &[&["aws_credentials"]]),
        (
            "overrides.taskRoleArn",
            &[&["task_run_request", "overrides", "taskRoleArn"], &["task_definition", "taskRoleArn"]],
        ),
        (
            "overrides.executionRoleArn",
            &[&["task_run_request", "overrides", "executionRoleArn"], &["task_definition", "executionRoleArn"]],
        ),
    ];
    for (key, paths) in elsewhere {
        if paths.iter().any(|path| differs(path)) && !sets.iter().any(|set| set == key) {
            sets.push(key.into());
        }
    }
    if keys_differ(with.get("aws_credentials"), without.get("aws_credentials")) {
        sets.push(CHOSEN_KEYS.into());
    }
    sets
}

/// A reference to a block is compared as it is written: what it brings along comes from whoever wrote it.
fn keys_differ(with: Option<&Value>, without: Option<&Value>) -> bool {
    const KEYS: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
    match (with, without) {
        (Some(Value::Object(with)), Some(Value::Object(without))) => {
            KEYS.iter().any(|key| with.get(*key) != without.get(*key))
        }
        (with, without) => with != without,
    }
}

fn at<'a>(configuration: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(configuration.get(*first)?, |value, key| value.get(key))
}

#[cfg(test)]
mod tests;
