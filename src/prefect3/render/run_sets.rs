//! What a run's own job variables decided about its launch, as opposed to its work pool.

use serde_json::{Map, Value};

/// Keys as in [`LaunchSpec::run_sets`](crate::launch::LaunchSpec::run_sets): what is different without job variables.
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
    let elsewhere: [(&str, &[&[&str]]); 5] = [
        ("cluster", &[&["cluster"]]),
        ("networkConfiguration", &[&["vpc_id"], &["network_configuration"]]),
        ("tags", &[&["labels"]]),
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
    sets
}

fn at<'a>(configuration: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(configuration.get(*first)?, |value, key| value.get(key))
}

#[cfg(test)]
mod tests;
