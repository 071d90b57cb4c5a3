//! What the tests of judgements have in common.
#![allow(clippy::unwrap_used)]

use super::Looked;
use super::stack::Stack;
use crate::aws::AwsError;
use crate::config::{Environment, LoadedAgent, Parameter, Root, load};
use crate::survey::{Home, Needs, RenderedLaunch, Survey, SurveyedDefinition, SurveyedLaunch};
use secrecy::SecretString;
use serde_json::Value;

/// The root of the tests.
pub(super) fn root() -> Root {
    Root::new("/psa/test")
}

/// Where the functions run.
pub(super) fn home() -> Home {
    Home::new(Ok("123456789012".into()), "us-east-1")
}

/// AWS says that this is not allowed.
pub(super) fn denied() -> AwsError {
    refused("AccessDeniedException")
}

/// AWS says this.
pub(super) fn refused(code: &str) -> AwsError {
    AwsError::Answer { status: 400, code: code.into(), message: "no".into(), resource_ids: Vec::new() }
}

/// A parameter of Parameter Store.
pub(super) fn parameter(name: &str, value: &str, is_secure: bool) -> Parameter {
    Parameter {
        name: name.into(),
        value: SecretString::from(value),
        arn: Some(format!("arn:aws:ssm:us-east-1:123456789012:parameter{name}")),
        is_secure,
        version: 1,
        last_modified: None,
    }
}

/// The agent `etl`, configured so.
pub(super) fn agents(config: &str) -> Vec<LoadedAgent> {
    load(&root(), &[parameter("/psa/test/config/etl", config, false)], &Environment::default()).agents
}

/// A stack with these parameters and resources.
pub(super) fn stack(parameters: &[(&str, &str)], resources: &[(&str, &str)]) -> Stack {
    let map =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Stack { name: "psa".into(), parameters: map(parameters), resources: map(resources) }
}

/// A launch of `hello/prod` with these requests.
pub(super) fn launch(definition: &Value, run_task: &Value) -> SurveyedLaunch {
    let rendered = RenderedLaunch {
        place: home().place(),
        definition: SurveyedDefinition::Register(definition.as_object().unwrap().clone()),
        run_task: run_task.as_object().unwrap().clone(),
        network: None,
        flow_container: "flow".into(),
        deregisters: false,
        warning: None,
        differences: None,
        judgement: None,
    };
    SurveyedLaunch {
        asker: "hello/prod".into(),
        deployment_id: Some("1".into()),
        is_served: true,
        rendered: Ok(rendered),
    }
}

/// What is known where there is one launch.
pub(super) fn survey(launch: SurveyedLaunch) -> Survey {
    let mut needs = Needs::default();
    needs.add(&launch.asker, launch.rendered.as_ref().unwrap());
    Survey {
        home: home(),
        pool: None,
        defaults: None,
        launches: vec![launch],
        runs_unread: None,
        are_runs_truncated: false,
        needs,
    }
}

/// An answer without each of its members.
pub(super) fn without_each(answer: &Value) -> Vec<(String, Value)> {
    let whole = answer.as_object().unwrap();
    let without = |key: &String| {
        let mut lacking = whole.clone();
        lacking.shift_remove(key);
        (key.clone(), Value::Object(lacking))
    };
    whole.keys().map(without).collect()
}

/// Codes of the findings, in order.
pub(super) fn codes(looked: &Looked) -> Vec<&'static str> {
    looked.findings.iter().map(|finding| finding.code).collect()
}
