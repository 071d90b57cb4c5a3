//! What ECS would refuse in a launch's requests because of its shape: found before anything is registered or started.

use super::{Definition, LaunchSpec};
use crate::ecs_model::{Operation, Problems, UnknownMembers, check};
use serde_json::Value;
use std::iter;

/// What is wrong with the definition that a launch would register.
pub fn definition_problems(spec: &LaunchSpec, unknown: UnknownMembers) -> Problems<'_> {
    match &spec.definition {
        Definition::Own(body) => check(Operation::RegisterTaskDefinition, body, &[], unknown),
        Definition::Existing { .. } => Problems::default(),
    }
}

/// What is wrong with the request that would start its task.
pub fn run_task_problems(spec: &LaunchSpec, unknown: UnknownMembers) -> Problems<'_> {
    check(Operation::RunTask, &spec.run_task, &["taskDefinition"], unknown)
}

/// What ECS would refuse in the requests of `spec`, one sentence each in the words of botocore (`Invalid type for
/// parameter overrides.cpu, value: 5, type: <class 'int'>, valid types: <class 'str'>`); empty if nothing is wrong.
pub fn request_problems(spec: &LaunchSpec) -> Vec<String> {
    let unknown = UnknownMembers::Refuse;
    let both = [definition_problems(spec, unknown), run_task_problems(spec, unknown)];
    both.iter().flat_map(Problems::sentences).collect()
}

/// The text of botocore's `ParamValidationError`, and what to do about members that are not known; `None` if nothing is
/// wrong. `may_show`: whether people may read this value, which is of the wrong type.
pub fn refusal(problems: &[Problems<'_>], may_show: &dyn Fn(&Value) -> bool) -> Option<String> {
    if problems.iter().all(Problems::is_empty) {
        return None;
    }
    let mut advice: Vec<String> = problems.iter().filter_map(Problems::advice).collect();
    advice.dedup();
    let lines = problems.iter().flat_map(|problems| problems.sentences_showing(may_show)).chain(advice);
    let lines: Vec<String> = iter::once("Parameter validation failed:".to_owned()).chain(lines).collect();
    Some(lines.join("\n"))
}
