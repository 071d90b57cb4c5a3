//! Settings that Prefect's backend keeps for an `agent_config_id`.

use super::errors::{Parsed, Problem};
use super::values::{self, path_key};
use super::{AgentConfig, Prefect1Config};
use serde_json::Value;

/// Replaces the keys that the settings name: `labels`, `env_vars`, `name`, `max_polls`, `no_cloud_logs`. A null leaves
/// the configuration's value. Unknown and wrong settings are not applied; they come back as warnings, for people.
pub fn apply_backend_settings(config: &mut AgentConfig<Prefect1Config>, settings: &Value) -> Vec<String> {
    let Value::Object(settings) = settings else {
        let problem = Problem::here(values::kind(settings), "a mapping");
        return vec![warning(&problem)];
    };
    let mut warnings = Vec::new();
    for (key, value) in settings.iter().filter(|(_, value)| !value.is_null()) {
        if let Err(problems) = apply(config, key, value) {
            warnings.extend(problems.into_iter().map(|problem| warning(&problem.under(&path_key(key)))));
        }
    }
    warnings
}

fn apply(config: &mut AgentConfig<Prefect1Config>, key: &str, value: &Value) -> Parsed<()> {
    let one = &mut config.generation;
    match key {
        "labels" => one.labels = values::labels(value)?,
        "no_cloud_logs" => one.no_cloud_logs = values::flag(value)?,
        "env_vars" => config.env_vars = values::env_vars(value)?,
        "name" => config.name = values::text(value)?,
        "max_polls" => {
            let allowed = "a whole number of at least 0";
            config.max_polls = Some(values::whole(0..=i64::MAX.unsigned_abs(), allowed)(value)?);
        }
        _ => {
            let allowed = "labels, env_vars, name, max_polls, no_cloud_logs";
            return Err(vec![Problem::here("an unknown setting", allowed)]);
        }
    }
    Ok(())
}

fn warning(problem: &Problem) -> String {
    format!("a setting that the backend keeps for the agent's `agent_config_id` is not applied: {problem}")
}
