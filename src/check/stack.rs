//! The stack that polls for a root: found by its output `ParameterRoot`, with what it is made of.

use super::why;
use crate::aws::AwsError;
use crate::aws::reads::Reads;
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
        let Some(mut stack) = stacks.iter().find_map(|stack| stack_of(stack, root)) else { return Self::Missing };
        let named = [("StackName".to_owned(), stack.name.clone())];
        match reads.query(Service::CloudFormation, "DescribeStackResources", &named).await {
            Ok(answer) => {
                stack.resources = items_at(&answer, &["StackResources"]).iter().filter_map(resource_of).collect();
                Self::Found(Box::new(stack))
            }
            Err(error) => Self::Unknown(why(&error)),
        }
    }
}

/// The stack, if it stands and polls for the root.
fn stack_of(stack: &Value, root: &Root) -> Option<Stack> {
    let status = text_at(stack, &["StackStatus"])?;
    let is_there = !status.starts_with("DELETE_COMPLETE") && !status.starts_with("REVIEW_");
    let of_root = items_at(stack, &["Outputs"]).iter().any(|output| {
        text_at(output, &["OutputKey"]) == Some("ParameterRoot")
            && text_at(output, &["OutputValue"]) == Some(root.as_str())
    });
    let pair = |parameter: &Value| {
        let text = |key| text_at(parameter, &[key]).unwrap_or_default().to_owned();
        (text("ParameterKey"), text("ParameterValue"))
    };
    (is_there && of_root).then_some(Stack {
        name: text_at(stack, &["StackName"])?.to_owned(),
        parameters: items_at(stack, &["Parameters"]).iter().map(pair).collect(),
        resources: BTreeMap::new(),
    })
}

fn resource_of(resource: &Value) -> Option<(String, String)> {
    let status = text_at(resource, &["ResourceStatus"]).unwrap_or_default();
    if status == "DELETE_COMPLETE" {
        return None;
    }
    let text = |key| text_at(resource, &[key]).map(str::to_owned);
    Some((text("LogicalResourceId")?, text("PhysicalResourceId")?))
}

/// Logical id of the schedule.
pub const SCHEDULE: &str = "PollFunctionSchedule";

/// The stack's schedule; `None`: it is gone.
pub async fn schedule(reads: &Reads, stack: &Stack) -> Result<Option<Schedule>, AwsError> {
    let Some(id) = stack.resource(SCHEDULE) else { return Ok(None) };
    // `group|name`, or the name alone.
    let name = id.rsplit('|').next().unwrap_or(id);
    match reads.rest(Service::Scheduler, &["schedules", name], "").await {
        Ok(answer) => Ok(Some(Schedule {
            name: name.to_owned(),
            expression: text_at(&answer, &["ScheduleExpression"]).unwrap_or_default().to_owned(),
            is_enabled: text_at(&answer, &["State"]) == Some("ENABLED"),
        })),
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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
            assert_eq!(stack_of(&described(status, of), &root).is_some(), is_it, "{status} {of}");
        }
        let stack = stack_of(&described("CREATE_COMPLETE", "/psa/prod"), &root).unwrap();
        assert_eq!((stack.parameter("ScheduleState"), stack.parameter("ClusterArns")), ("ENABLED", ""));
    }

    #[test]
    fn what_was_deleted_is_no_resource() {
        let resource =
            |status: &str| json!({"LogicalResourceId": "A", "PhysicalResourceId": "a", "ResourceStatus": status});
        assert_eq!(resource_of(&resource("CREATE_COMPLETE")), Some(("A".into(), "a".into())));
        assert_eq!(resource_of(&resource("DELETE_COMPLETE")), None);
    }
}
