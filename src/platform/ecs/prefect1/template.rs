//! Where a run's task definition template lies.

use super::run_config;
use crate::config::Rules;
use crate::model::RunRefusal;
use crate::prefect1::flow_run::{AgentSettings, FlowRun};

/// A template that has to be loaded before the run's launch can be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplatePath {
    /// As the run config says it.
    pub written: String,
    /// What it means.
    pub place: TemplatePlace,
}

/// Where a template lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplatePlace {
    /// A file on the agent's machine (`agent://`, `file://`, `local://` or a bare path): its path there.
    AgentFile(String),
    /// `s3://bucket/key`, `http(s)://…` or `ssm://name`, as written.
    Remote,
}

/// The template that `run` needs; `None` if it needs none.
///
/// The refusal says why the run config, or its path's scheme, cannot be used.
pub fn template_path(agent: &AgentSettings, run: &FlowRun) -> Result<Option<TemplatePath>, RunRefusal> {
    let config = run_config::load(agent, run)?;
    config.task_definition_path.map(|path| classify(path, agent.rules)).transpose()
}

fn classify(written: String, rules: Rules) -> Result<TemplatePath, RunRefusal> {
    let (scheme, rest) = split_scheme(&written);
    let place = match (scheme.as_str(), rules) {
        ("" | "file" | "local" | "agent", _) => TemplatePlace::AgentFile(path_of(rest).to_owned()),
        ("s3" | "http" | "https" | "ssm", _) => TemplatePlace::Remote,
        ("gcs", _) | ("gs", Rules::V1) => {
            return Err(RunRefusal(format!(
                "Task definitions on Google Cloud Storage are not supported ({written}): put the template on s3://, \
                 https:// or ssm://, or into the run config's `task_definition`"
            )));
        }
        _ => return Err(RunRefusal(format!("Unsupported file scheme {written}"))),
    };
    Ok(TemplatePath { written, place })
}

/// The scheme in small letters, empty if there is none, and what follows its colon.
fn split_scheme(path: &str) -> (String, &str) {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    };
    match path.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => (scheme.to_ascii_lowercase(), rest),
        _ => (String::new(), path),
    }
}

/// What follows `//host`, without query and fragment.
fn path_of(rest: &str) -> &str {
    let path = match rest.strip_prefix("//") {
        Some(authority) => authority.find(['/', '?', '#']).map_or("", |at| &authority[at..]),
        None => rest,
    };
    path.find(['?', '#']).map_or(path, |end| &path[..end])
}
