//! The stack that polls for a root: found by its output `ParameterRoot`, with what it is made of.

use super::why;
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::config::Root;
use crate::transport::shape::{items_at, text_at};
use serde_json::Value;
use std::collections::BTreeMap;

/// A deployed stack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// What it was deployed with.
    pub parameters: BTreeMap<String, String>,
    /// Physical ids by logical ids.
    pub resources: BTreeMap<String, String>,
}

impl Stack {
    /// A resource.
    pub fn resource(&self, logical_id: &str) -> Option<&str> {
        self.resources.get(logical_id).map(String::as_str).filter(|id| !id.is_empty())
    }

    /// A parameter; empty where it has none.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map(String::as_str).unwrap_or_default()
    }
}

/// The schedule, as `EventBridge` Scheduler describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// `rate(1 minute)`, `cron(…)`.
    pub expression: String,
    /// `ENABLED` or not.
    pub is_enabled: bool,
}

/// Whether a root has a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeployedStack {
    /// This one.
    Found(Box<Stack>),
    /// None of this region.
    Missing,
    /// It could not be asked, and why.
    Unknown(String),
}

impl DeployedStack {
    /// Looks for the stack of a root.
    pub async fn find(reads: &Reads, root: &Root) -> Self {
        let tokens = ("Stacks", "NextToken", "NextToken");
        let stacks = match reads.pages(Service::CloudFormation, "DescribeStacks", &[], tokens).await {
            Ok(stacks) => stacks,
            Err(error) => return Self::Unknown(why(&error)),
        };
        let mut stack = match of_root(&stacks, root) {
            Ok(Some(stack)) => stack,
            Ok(None) => return Self::Missing,
            Err(error) => return Self::Unknown(why(&error)),
        };
        let named = [("StackName".to_owned(), stack.name.clone())];
        let answer = reads.query(Service::CloudFormation, "DescribeStackResources", &named).await;
        match answer.and_then(|answer| resources_of(&answer)) {
            Ok(resources) => {
                stack.resources = resources;
                Self::Found(Box::new(stack))
            }
            Err(error) => Self::Unknown(why(&error)),
        }
    }
}

/// The one among them that stands and polls for the root.
fn of_root(stacks: &[Value], root: &Root) -> Result<Option<Stack>, AwsError> {
    for stack in stacks {
        if let Some(stack) = stack_of(stack, root)? {
            return Ok(Some(stack));
        }
    }
    Ok(None)
}

/// The stack, if it stands and polls for the root. One without outputs has no list of them.
fn stack_of(stack: &Value, root: &Root) -> Result<Option<Stack>, AwsError> {
    let status = reads::text(stack, "StackStatus")?;
    let is_there = !status.starts_with("DELETE_COMPLETE") && !status.starts_with("REVIEW_");
    let of_root = items_at(stack, &["Outputs"]).iter().any(|output| {
        text_at(output, &["OutputKey"]) == Some("ParameterRoot")
            && text_at(output, &["OutputValue"]) == Some(root.as_str())
    });
    let pair = |parameter: &Value| {
        let text = |key| text_at(parameter, &[key]).unwrap_or_default().to_owned();
        (text("ParameterKey"), text("ParameterValue"))
    };
    if !is_there || !of_root {
        return Ok(None);
    }
    Ok(Some(Stack {
        name: reads::text(stack, "StackName")?.to_owned(),
        parameters: reads::list(stack, "Parameters")?.iter().map(pair).collect(),
        resources: BTreeMap::new(),
    }))
}

/// Physical ids by logical ids. What was never made has no physical one.
fn resources_of(answer: &Value) -> Result<BTreeMap<String, String>, AwsError> {
    let mut resources = BTreeMap::new();
    for resource in reads::list(answer, "StackResources")? {
        let logical = reads::text(resource, "LogicalResourceId")?;
        if reads::text(resource, "ResourceStatus")? != "DELETE_COMPLETE"
            && let Some(physical) = text_at(resource, &["PhysicalResourceId"])
        {
            resources.insert(logical.to_owned(), physical.to_owned());
        }
    }
    Ok(resources)
}

/// Logical id of the schedule, and what it was called before it had a group.
const SCHEDULES: [&str; 2] = ["PollFunctionTick", "PollFunctionSchedule"];

/// Logical id of the schedule's group.
const SCHEDULE_GROUP: &str = "ScheduleGroup";

/// Logical id of the poke function.
pub const POKE_FUNCTION: &str = "PokeFunction";

/// A function URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionUrl {
    /// The function's name.
    pub function: String,
    /// Where it is.
    pub url: String,
    /// Who may call it: `NONE`, `AWS_IAM`.
    pub auth_type: String,
}

/// The URL that starts polls; `None`: the stack has none, or somebody deleted it.
pub async fn poke_url(reads: &Reads, stack: &Stack) -> Result<Option<FunctionUrl>, AwsError> {
    let Some(function) = stack.resource(POKE_FUNCTION) else { return Ok(None) };
    match reads.rest(Service::Lambda, &["2021-10-31", "functions", function, "url"]).await {
        Ok(answer) => function_url_of(function, &answer).map(Some),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(error),
    }
}

fn function_url_of(function: &str, answer: &Value) -> Result<FunctionUrl, AwsError> {
    Ok(FunctionUrl {
        function: function.to_owned(),
        url: reads::text(answer, "FunctionUrl")?.to_owned(),
        auth_type: reads::text(answer, "AuthType")?.to_owned(),
    })
}

/// The stack's schedule; `None`: it is gone.
pub async fn schedule(reads: &Reads, stack: &Stack) -> Result<Option<Schedule>, AwsError> {
    let Some((logical, name)) = SCHEDULES.iter().find_map(|id| Some((*id, stack.resource(id)?))) else {
        return Ok(None);
    };
    // One of before is in the default group.
    let group = stack.resource(SCHEDULE_GROUP).filter(|_| logical == "PollFunctionTick").unwrap_or("default");
    match reads.rest_of(Service::Scheduler, &["schedules", name], &[("groupName", group)]).await {
        Ok(answer) => schedule_of(name, &answer).map(Some),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(error),
    }
}

fn schedule_of(name: &str, answer: &Value) -> Result<Schedule, AwsError> {
    Ok(Schedule {
        name: name.to_owned(),
        expression: reads::text(answer, "ScheduleExpression")?.to_owned(),
        is_enabled: reads::text(answer, "State")? == "ENABLED",
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::testing::without_each;
    use super::*;
    use serde_json::json;

    fn described(status: &str, root: &str) -> Value {
        json!({
            "StackName": "psa", "StackStatus": status,
            "Outputs": [{"OutputKey": "HealthUrl", "OutputValue": "/psa/prod"},
                        {"OutputKey": "ParameterRoot", "OutputValue": root}],
            "Parameters": [{"ParameterKey": "ScheduleState", "ParameterValue": "ENABLED"},
                           {"ParameterKey": "ClusterArns", "ParameterValue": ""}],
        })
    }

    #[test]
    fn a_stack_is_known_by_the_root_that_it_polls() {
        let root = Root::new("/psa/prod");
        for (status, of, is_it) in [
            ("CREATE_COMPLETE", "/psa/prod", true),
            ("UPDATE_ROLLBACK_COMPLETE", "/psa/prod", true),
            ("CREATE_COMPLETE", "/psa/prod2", false),
            ("DELETE_COMPLETE", "/psa/prod", false),
            ("REVIEW_IN_PROGRESS", "/psa/prod", false),
        ] {
            assert_eq!(stack_of(&described(status, of), &root).unwrap().is_some(), is_it, "{status} {of}");
        }
        let stack = stack_of(&described("CREATE_COMPLETE", "/psa/prod"), &root).unwrap().unwrap();
        assert_eq!((stack.parameter("ScheduleState"), stack.parameter("ClusterArns")), ("ENABLED", ""));
    }

    #[test]
    fn what_was_deleted_is_no_resource() {
        let of = |status: &str, physical: &str| {
            let one = json!({"LogicalResourceId": "A", "PhysicalResourceId": physical, "ResourceStatus": status});
            resources_of(&json!({"StackResources": [one]})).unwrap()
        };
        assert_eq!(of("CREATE_COMPLETE", "a"), [("A".to_owned(), "a".to_owned())].into());
        assert_eq!(of("DELETE_COMPLETE", "a"), BTreeMap::new());
        assert_eq!(of("CREATE_FAILED", ""), BTreeMap::new());
    }

    #[test]
    fn an_answer_that_lacks_something_says_nothing_of_what_there_is() {
        let root = Root::new("/psa/prod");
        let ours = described("CREATE_COMPLETE", "/psa/prod");
        for (key, lacking) in without_each(&ours) {
            let read = of_root(&[lacking], &root);
            match key.as_str() {
                // Stacks of others may have none at all.
                "Outputs" => assert_eq!(read, Ok(None)),
                _ => assert!(matches!(read, Err(AwsError::Malformed(_))), "{key}: {read:?}"),
            }
        }
        let schedule = json!({"ScheduleExpression": "rate(1 minute)", "State": "ENABLED"});
        assert!(schedule_of("psa", &schedule).unwrap().is_enabled);
        for (key, lacking) in without_each(&schedule) {
            assert!(matches!(schedule_of("psa", &lacking), Err(AwsError::Malformed(_))), "{key}");
        }
        let url = json!({"FunctionUrl": "https://x.on.aws/", "AuthType": "NONE"});
        assert_eq!(function_url_of("psa-poke", &url).unwrap().url, "https://x.on.aws/");
        for (key, lacking) in without_each(&url) {
            assert!(matches!(function_url_of("psa-poke", &lacking), Err(AwsError::Malformed(_))), "{key}");
        }
        let resource = json!({"LogicalResourceId": "A", "ResourceStatus": "CREATE_COMPLETE"});
        for (key, lacking) in without_each(&resource) {
            let read = resources_of(&json!({"StackResources": [lacking]}));
            assert!(matches!(read, Err(AwsError::Malformed(_))), "{key}");
        }
        assert!(matches!(resources_of(&json!({})), Err(AwsError::Malformed(_))));
    }
}
