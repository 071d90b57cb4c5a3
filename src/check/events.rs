//! The events that tell what became of tasks: the rules and their targets, other accounts, the queue of failures.

use super::codes::{EVENTS_UNKNOWN, FAILURES_WAIT, FORWARDING_MISSING, RULE_DISABLED, RULE_MISSING, TARGET_MISSING};
use super::configuration::{again, anew, counted};
use super::stack::Stack;
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::config::LoadedAgent;
use crate::transport::shape::at;
use futures_util::future::{join, join3};
use serde_json::{Value, json};

/// Logical id of the rule for our own tasks.
pub const OWN_TASKS: &str = "TaskEventsFunctionOwnTasks";
/// Logical id of the rule for the tasks of Python workers.
pub const WORKERS_TASKS: &str = "TaskEventsFunctionWorkersTasks";
/// Logical id of the function that they call.
pub const TASK_EVENTS: &str = "TaskEventsFunction";
/// Logical id of the queue of what could not be told.
pub const FAILURES: &str = "TaskEventsFailures";

/// A rule of `EventBridge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `ENABLED`, whatever else it is.
    pub is_enabled: bool,
    /// ARNs of what it calls.
    pub targets: Vec<String>,
}

/// What was seen.
#[derive(Debug)]
pub struct ObservedEvents {
    /// `None`: there is no such rule.
    pub own_tasks: Result<Option<Rule>, AwsError>,
    /// `None`: there is no such rule.
    pub workers_tasks: Result<Option<Rule>, AwsError>,
    /// Messages in the queue of failures; `None`: there is no such queue.
    pub failures: Result<Option<u64>, AwsError>,
}

/// Looks.
pub async fn observe(reads: &Reads, stack: &Stack) -> ObservedEvents {
    let (own_tasks, workers_tasks, failures) = join3(
        rule(reads, stack.resource(OWN_TASKS)),
        rule(reads, stack.resource(WORKERS_TASKS)),
        waiting(reads, stack),
    )
    .await;
    ObservedEvents { own_tasks, workers_tasks, failures }
}

async fn rule(reads: &Reads, name: Option<&str>) -> Result<Option<Rule>, AwsError> {
    let Some(name) = name else { return Ok(None) };
    let (described, targets) = (json!({"Name": name}), json!({"Rule": name}));
    let (described, targets) = join(
        reads.json(Service::Events, "AWSEvents.DescribeRule", &described),
        reads.json(Service::Events, "AWSEvents.ListTargetsByRule", &targets),
    )
    .await;
    let described = match described {
        Err(error) if error.code() == Some("ResourceNotFoundException") => return Ok(None),
        described => described?,
    };
    rule_of(&described, &targets?).map(Some)
}

fn rule_of(described: &Value, targets: &Value) -> Result<Rule, AwsError> {
    let arns = reads::list(targets, "Targets")?.iter().map(|target| reads::text(target, "Arn").map(str::to_owned));
    Ok(Rule {
        is_enabled: reads::text(described, "State")?.starts_with("ENABLED"),
        targets: arns.collect::<Result<_, _>>()?,
    })
}

async fn waiting(reads: &Reads, stack: &Stack) -> Result<Option<u64>, AwsError> {
    let Some(url) = stack.resource(FAILURES) else { return Ok(None) };
    let body = json!({"QueueUrl": url, "AttributeNames": ["ApproximateNumberOfMessages"]});
    match reads.json(Service::Sqs, "AmazonSQS.GetQueueAttributes", &body).await {
        Err(error) if error.code().is_some_and(|code| code.contains("QueueDoesNotExist")) => Ok(None),
        Err(error) => Err(error),
        Ok(answer) => {
            let count = at(&answer, &["Attributes", "ApproximateNumberOfMessages"]);
            let count = count.and_then(|count| count.as_str()).and_then(|count| count.parse().ok());
            count.map(Some).ok_or_else(|| AwsError::Malformed("GetQueueAttributes answered no number".into()))
        }
    }
}

/// Whether what becomes of tasks will be told.
pub fn judge(stack: &Stack, observed: &ObservedEvents, agents: &[LoadedAgent]) -> Looked {
    let mut looked = Looked::default();
    judge_rule(stack, OWN_TASKS, &observed.own_tasks, true, &mut looked);
    let watches_workers = stack.parameter("WorkersTasksState") == "ENABLED";
    judge_rule(stack, WORKERS_TASKS, &observed.workers_tasks, watches_workers, &mut looked);
    match &observed.failures {
        Ok(Some(0)) => looked.is_well(Group::Events, "the queue of failures is empty"),
        Ok(Some(count)) => {
            let url = stack.resource(FAILURES).unwrap_or_default();
            let sentence =
                format!("{} could not be told to Prefect, each with the error beside it", counted_events(*count));
            let mend = format!("aws sqs receive-message --queue-url {url} --message-attribute-names All");
            looked.found(FAILURES_WAIT.found(format!("queue {url}"), sentence, mend));
        }
        Ok(None) => {
            let sentence = "its queue of failures is gone: what cannot be told is lost";
            looked.found(RULE_MISSING.found(format!("stack {}", stack.name), sentence, anew(stack)));
        }
        Err(error) => {
            let sentence = format!("the queue of failures could not be asked: {}", why(error));
            looked.found(EVENTS_UNKNOWN.found(
                format!("stack {}", stack.name),
                sentence,
                "allow sqs:GetQueueAttributes",
            ));
        }
    }
    judge_forwarding(stack, agents, &mut looked);
    looked
}

fn counted_events(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "event")
}

/// `is_wanted`: the stack is meant to have it enabled.
fn judge_rule(
    stack: &Stack,
    logical_id: &str,
    rule: &Result<Option<Rule>, AwsError>,
    is_wanted: bool,
    looked: &mut Looked,
) {
    let name = stack.resource(logical_id).unwrap_or(logical_id);
    let subject = format!("rule {name}");
    let whose = if logical_id == OWN_TASKS { "flow runs whose tasks die" } else { "tasks of Python workers that die" };
    match rule {
        Err(error) => {
            let mend = "allow events:DescribeRule and events:ListTargetsByRule";
            looked.found(EVENTS_UNKNOWN.found(subject, format!("it could not be asked: {}", why(error)), mend));
        }
        Ok(None) => {
            let sentence = format!("it is gone: nobody is told of {whose}");
            looked.found(RULE_MISSING.found(subject, sentence, anew(stack)));
        }
        Ok(Some(rule)) => {
            if is_wanted && !rule.is_enabled {
                let sentence = format!("it is disabled: nobody is told of {whose}");
                looked.found(RULE_DISABLED.found(&subject, sentence, format!("aws events enable-rule --name {name}")));
            }
            let function = stack.resource(TASK_EVENTS).unwrap_or_default();
            let calls = |arn: &String| arn.ends_with(&format!(":function:{function}")) || arn == function;
            if !rule.targets.iter().any(calls) {
                let sentence = format!("it does not call the function {function}: nobody is told of {whose}");
                looked.found(TARGET_MISSING.found(&subject, sentence, anew(stack)));
            } else if rule.is_enabled {
                looked.is_well(Group::Events, format!("rule {name}: enabled, and calls {function}"));
            }
        }
    }
}

/// Tasks that are launched in another account send their events from there.
fn judge_forwarding(stack: &Stack, agents: &[LoadedAgent], looked: &mut Looked) {
    let let_in: Vec<&str> = stack.parameter("ForwardingAccountIds").split(',').map(str::trim).collect();
    for agent in agents {
        let Ok((config, _)) = &agent.result else { continue };
        let role = config.assume_role_arn.as_deref();
        let Some(account) = role.and_then(|role| role.split(':').nth(4)) else { continue };
        if !let_in.contains(&account) {
            let all: Vec<&str> = let_in.iter().copied().filter(|id| !id.is_empty()).chain([account]).collect();
            let sentence = format!(
                "it launches in the account {account}, whose events this stack does not let in: nobody is told of tasks \
                 that die there"
            );
            let parameter =
                format!("ForwardingAccountIds={}, and deploy infra/forward-events.yaml there", all.join(","));
            looked.found(FORWARDING_MISSING.found(
                format!("agent {}", agent.agent),
                sentence,
                again(stack, &parameter),
            ));
        }
    }
}

#[cfg(test)]
mod tests;
