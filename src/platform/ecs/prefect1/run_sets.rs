//! What a run's own configuration decided about its launch, as opposed to its agent's.

use super::run_config::EcsRunConfig;
use serde_json::Value;

/// Top-level keys of `RunTask` that the run set, roles it named, and `taskDefinition` when it names or brings its own:
/// a refusal on account of one of them is the run's fault, not the agent's.
pub(super) fn run_sets(config: &EcsRunConfig) -> Vec<String> {
    let kwargs = config.run_task_kwargs.as_ref().and_then(Value::as_object);
    let mut sets: Vec<String> = kwargs.into_iter().flat_map(|kwargs| kwargs.keys().cloned()).collect();
    let own_definition = config.task_definition.is_some()
        || config.task_definition_path.is_some()
        || config.task_definition_arn.is_some();
    let named = [
        ("overrides.taskRoleArn", config.task_role_arn.is_some()),
        ("overrides.executionRoleArn", config.execution_role_arn.is_some()),
        ("taskDefinition", own_definition),
    ];
    sets.extend(named.into_iter().filter(|(_, set)| *set).map(|(key, _)| key.to_owned()));
    sets
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_run_says_is_the_runs_and_nothing_else() {
        assert!(run_sets(&EcsRunConfig::default()).is_empty());
        let config = EcsRunConfig {
            run_task_kwargs: Some(json!({"cluster": "mine", "tags": []})),
            execution_role_arn: Some("role".into()),
            task_definition_arn: Some("family".into()),
            image: Some("image".into()),
            ..EcsRunConfig::default()
        };
        assert_eq!(run_sets(&config), ["cluster", "tags", "overrides.executionRoleArn", "taskDefinition"]);
    }
}
