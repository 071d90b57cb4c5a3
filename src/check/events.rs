//! The events that tell what became of tasks: the rules and what they send to, other accounts, and the queues of what waits
//! and of what could not be told.

use super::codes::{
    EVENTS_UNKNOWN, FAILURES_WAIT, FORWARDING_MISSING, QUEUE_UNREAD, RULE_DISABLED, RULE_MISSING, TARGET_MISSING,
};
use super::configuration::{again, anew, counted, polled};
use super::ecs::who;
use super::stack::Stack;
use super::wishes::Askers;
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::config::{AgentConfig, LoadedAgent, Root};
use crate::survey::place::account_of;
use crate::survey::{DEFAULTS, Home, LaunchPlace, Survey};
use crate::transport::shape::at;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Logical id of the rule for our own tasks.
pub const OWN_TASKS: &str = "OwnTasksRule";
/// Logical id of the rule for the tasks of Python workers.
pub const WORKERS_TASKS: &str = "WorkersTasksRule";
/// Logical id of the queue that they send to.
pub const QUEUE: &str = "TaskEventsQueue";
/// Logical id of the queue of what could not be told for hours.
pub const DEAD_LETTERS: &str = "TaskEventsDeadLetters";
/// Logical id of the queue of what reached the function without the queue, and could not be told.
pub const FAILURES: &str = "TaskEventsFailures";
/// Logical id of what hands the queue's messages to the function.
pub const MAPPING: &str = "TaskEventsFunctionQueue";
/// Logical id of the function that tells.
pub const TASK_EVENTS: &str = "TaskEventsFunction";

/// Logical ids of what an event passes on its route to the function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRoute {
    own_tasks: &'static str,
    workers_tasks: &'static str,
    /// What the rules send to.
    target: &'static str,
    /// What that is, for people.
    kind: &'static str,
    /// What the rules do with it.
    does: &'static str,
    /// What they do not do when something is wrong.
    does_not: &'static str,
    /// Those that are looked into.
    queues: &'static [&'static str],
}

/// By a queue, as the template has it.
const BY_QUEUE: EventRoute = EventRoute {
    own_tasks: OWN_TASKS,
    workers_tasks: WORKERS_TASKS,
    target: QUEUE,
    kind: "queue",
    does: "sends to",
    does_not: "does not send to",
    queues: &[QUEUE, DEAD_LETTERS, FAILURES],
};
/// As in stacks of version 0.1: the rules call the function themselves.
const DIRECT: EventRoute = EventRoute {
    own_tasks: "TaskEventsFunctionOwnTasks",
    workers_tasks: "TaskEventsFunctionWorkersTasks",
    target: TASK_EVENTS,
    kind: "function",
    does: "calls",
    does_not: "does not call",
    queues: &[FAILURES],
};

impl EventRoute {
    /// That of a stack. While it is updated it has the old rules until it has the new ones; what was deleted by hand is
    /// still a resource of it.
    fn of(stack: &Stack) -> Self {
        let is_former = stack.resource(OWN_TASKS).is_none() && stack.resource(DIRECT.own_tasks).is_some();
        if is_former { DIRECT } else { BY_QUEUE }
    }

    /// Whether a rule's target is what this stack's rules send to.
    fn is_target(self, stack: &Stack, arn: &str) -> bool {
        let id = stack.resource(self.target).unwrap_or_default();
        if self.target == TASK_EVENTS {
            return arn.ends_with(&format!(":function:{id}")) || arn == id;
        }
        // The id of a queue is its URL, which ends in account and name.
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        matches!(parts.as_slice(), [_, _, "sqs", _, account, name] if id.ends_with(&format!("/{account}/{name}")))
    }

    /// What the rules send to, for people.
    fn target_named(self, stack: &Stack) -> String {
        let id = stack.resource(self.target).unwrap_or(self.target);
        // Of a queue's URL, the name.
        format!("the {} {}", self.kind, id.rsplit('/').next().unwrap_or(id))
    }
}

/// A rule of `EventBridge`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// `ENABLED`, whatever else it is.
    pub is_enabled: bool,
    /// ARNs of what it sends to.
    pub targets: Vec<String>,
}

/// What was seen.
#[derive(Debug)]
pub struct ObservedEvents {
    /// `None`: there is no such rule.
    pub own_tasks: Result<Option<Rule>, AwsError>,
    /// `None`: there is no such rule.
    pub workers_tasks: Result<Option<Rule>, AwsError>,
    /// State of what hands the queue's messages to the function, e.g. `Enabled`; the inner `None`: it is gone; the outer one:
    /// the stack has no queue of events.
    pub mapping: Option<Result<Option<String>, AwsError>>,
    /// Messages in the queues of the stack, by logical id; `None`: there is no such queue.
    pub queues: Vec<(&'static str, Result<Option<u64>, AwsError>)>,
}

/// Looks.
pub async fn observe(reads: &Reads, stack: &Stack) -> ObservedEvents {
    let route = EventRoute::of(stack);
    let queues = route.queues.iter().map(|id| async move { (*id, waiting(reads, stack.resource(id)).await) });
    let mapping = async {
        match route.target {
            QUEUE => Some(mapping(reads, stack.resource(MAPPING)).await),
            _ => None,
        }
    };
    let (own_tasks, workers_tasks, mapping, queues) = tokio::join!(
        rule(reads, stack.resource(route.own_tasks)),
        rule(reads, stack.resource(route.workers_tasks)),
        mapping,
        join_all(queues),
    );
    ObservedEvents { own_tasks, workers_tasks, mapping, queues }
}

async fn mapping(reads: &Reads, id: Option<&str>) -> Result<Option<String>, AwsError> {
    let Some(id) = id else { return Ok(None) };
    match reads.rest(Service::Lambda, &["2015-03-31", "event-source-mappings", id]).await {
        Err(error) if error.code() == Some("ResourceNotFoundException") => Ok(None),
        answer => reads::text(&answer?, "State").map(|state| Some(state.to_owned())),
    }
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

/// How many events in a queue may be received.
const VISIBLE: &str = "ApproximateNumberOfMessages";
/// How many wait for their turn: by a receive that hid them, or since they were sent.
const HIDDEN: [&str; 2] = ["ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed"];

async fn waiting(reads: &Reads, url: Option<&str>) -> Result<Option<u64>, AwsError> {
    let Some(url) = url else { return Ok(None) };
    let names: Vec<&str> = [VISIBLE].into_iter().chain(HIDDEN).collect();
    let body = json!({"QueueUrl": url, "AttributeNames": names});
    match reads.json(Service::Sqs, "AmazonSQS.GetQueueAttributes", &body).await {
        Err(error) if error.code().is_some_and(|code| code.contains("QueueDoesNotExist")) => Ok(None),
        Err(error) => Err(error),
        Ok(answer) => counted_in(&answer).map(Some),
    }
}

fn counted_in(answer: &Value) -> Result<u64, AwsError> {
    let number = |name: &str| {
        let count = at(answer, &["Attributes", name])?;
        Some(count.as_str().and_then(|count| count.parse::<u64>().ok()))
    };
    let hidden = HIDDEN.iter().filter_map(|name| number(name));
    let counts: Option<Vec<u64>> = [number(VISIBLE).flatten()].into_iter().chain(hidden).collect();
    let counts = counts.ok_or_else(|| AwsError::Malformed("GetQueueAttributes answered no number".into()))?;
    Ok(counts.into_iter().fold(0, u64::saturating_add))
}

/// Whether what becomes of tasks will be told.
pub fn judge(root: &Root, stack: &Stack, observed: &ObservedEvents) -> Looked {
    let (mut looked, route) = (Looked::default(), EventRoute::of(stack));
    judge_rule(stack, route, route.own_tasks, &observed.own_tasks, true, &mut looked);
    let watches_workers = stack.parameter("WorkersTasksState") == "ENABLED";
    judge_rule(stack, route, route.workers_tasks, &observed.workers_tasks, watches_workers, &mut looked);
    if let Some(mapping) = &observed.mapping {
        judge_mapping(stack, mapping, &mut looked);
    }
    for (id, waiting) in &observed.queues {
        judge_queue(root, stack, id, waiting, &mut looked);
    }
    looked
}

fn judge_mapping(stack: &Stack, mapping: &Result<Option<String>, AwsError>, looked: &mut Looked) {
    let id = stack.resource(MAPPING).unwrap_or(MAPPING);
    let subject = format!("event source {id}");
    match mapping {
        // One that is being made or changed is enabled soon.
        Ok(Some(state)) if matches!(state.as_str(), "Enabled" | "Enabling" | "Creating" | "Updating") => {
            looked.is_well(Group::Events, "the function reads the queue of events");
        }
        Ok(Some(state)) => {
            let sentence =
                format!("it is {state}: nobody is told of tasks that die, and events are gone after four days");
            let mend = format!("aws lambda update-event-source-mapping --uuid {id} --enabled");
            looked.found(QUEUE_UNREAD.found(subject, sentence, mend));
        }
        Ok(None) => {
            let sentence = "it is gone: nobody is told of tasks that die, and events are gone after four days";
            looked.found(QUEUE_UNREAD.found(subject, sentence, anew(stack)));
        }
        Err(error) => {
            let sentence = format!("it could not be asked: {}", why(error));
            looked.found(EVENTS_UNKNOWN.found(subject, sentence, "allow lambda:GetEventSourceMapping"));
        }
    }
}

fn judge_queue(root: &Root, stack: &Stack, id: &str, waiting: &Result<Option<u64>, AwsError>, looked: &mut Looked) {
    let (what, told, lost) = match id {
        QUEUE => ("the queue of events", "", "nobody is told of tasks that die"),
        DEAD_LETTERS => ("the dead-letter queue", " in all tries", "what cannot be told is lost"),
        _ => ("the queue of failures", ", each with the error beside it", "what cannot be told is lost"),
    };
    let of_stack = format!("stack {}", stack.name);
    match waiting {
        Ok(Some(0)) => looked.is_well(Group::Events, format!("{what} is empty")),
        Ok(Some(count)) if id == QUEUE => {
            let sentence = format!("{what} has {}, each to be told in its turn", counted_events(*count));
            looked.is_well(Group::Events, sentence);
        }
        Ok(Some(count)) => {
            let sentence = format!("{} could not be told to Prefect{told}", counted_events(*count));
            let mend = format!("prefect-serverless-agent redrive --root {}", root.as_str());
            let subject = format!("queue {}", stack.resource(id).unwrap_or(id));
            looked.found(FAILURES_WAIT.found(subject, sentence, mend));
        }
        Ok(None) => looked.found(RULE_MISSING.found(of_stack, format!("{what} is gone: {lost}"), anew(stack))),
        Err(error) => {
            let sentence = format!("what waits in its queues could not be asked: {}", why(error));
            looked.found(EVENTS_UNKNOWN.found(of_stack, sentence, "allow sqs:GetQueueAttributes"));
        }
    }
}

fn counted_events(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "event")
}

/// `is_wanted`: the stack is meant to have it enabled.
fn judge_rule(
    stack: &Stack,
    route: EventRoute,
    logical_id: &str,
    rule: &Result<Option<Rule>, AwsError>,
    is_wanted: bool,
    looked: &mut Looked,
) {
    let name = stack.resource(logical_id).unwrap_or(logical_id);
    let subject = format!("rule {name}");
    let whose =
        if logical_id == route.own_tasks { "flow runs whose tasks die" } else { "tasks of Python workers that die" };
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
            let target = route.target_named(stack);
            if !rule.targets.iter().any(|arn| route.is_target(stack, arn)) {
                let sentence = format!("it {} {target}: nobody is told of {whose}", route.does_not);
                looked.found(TARGET_MISSING.found(&subject, sentence, anew(stack)));
            } else if rule.is_enabled {
                looked.is_well(Group::Events, format!("rule {name}: enabled, and {} {target}", route.does));
            }
        }
    }
}

/// Where tasks are launched beyond the functions' own account and region, from where nobody tells of them without being
/// asked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Elsewhere {
    /// Other accounts, and whose tasks run there.
    pub accounts: BTreeMap<String, Askers>,
    /// Other regions of the own account, and whose tasks run there.
    pub regions: BTreeMap<String, Askers>,
}

impl Elsewhere {
    /// As configurations and rendered launches name them.
    pub fn of(home: &Home, agents: &[LoadedAgent], surveys: &[(&AgentConfig, &Survey)]) -> Self {
        let mut elsewhere = Self::default();
        for (agent, config, _) in polled(agents) {
            let account = config.assume_role_arn.as_deref().and_then(account_of);
            elsewhere.add(home, account, &home.region, format!("agent {}", agent.agent));
        }
        for (config, survey) in surveys {
            for launch in survey.counted_launches() {
                let Ok(rendered) = &launch.rendered else { continue };
                let LaunchPlace { account, region, .. } = &rendered.place;
                let asker =
                    if launch.asker == DEFAULTS { format!("agent {}", config.agent) } else { launch.asker.clone() };
                elsewhere.add(home, account.as_deref(), region, asker);
            }
        }
        elsewhere
    }

    fn add(&mut self, home: &Home, account: Option<&str>, region: &str, asker: String) {
        let Some(account) = account else { return };
        if home.account.as_deref().is_ok_and(|own| own != account) {
            self.accounts.entry(account.to_owned()).or_default().insert(asker);
        } else if region != home.region {
            self.regions.entry(region.to_owned()).or_default().insert(asker);
        }
    }
}

/// The bus that the stack's rules are on.
fn bus(home: &Home) -> String {
    let account = home.account.as_deref().unwrap_or_default();
    format!("arn:{}:events:{}:{account}:event-bus/default", home.partition, home.region)
}

/// Whether a rule of each region sends events to the stack's bus.
pub async fn observe_regions(
    reads: &Reads,
    home: &Home,
    elsewhere: &Elsewhere,
) -> BTreeMap<String, Result<bool, AwsError>> {
    let body = &json!({"TargetArn": bus(home)});
    let looking = elsewhere.regions.keys().map(|region| async move {
        let target = "AWSEvents.ListRuleNamesByTarget";
        let answer = reads.in_region(region).json(Service::Events, target, body).await;
        (region.clone(), answer.and_then(|answer| Ok(!reads::list(&answer, "RuleNames")?.is_empty())))
    });
    join_all(looking).await.into_iter().collect()
}

/// Whether what becomes of tasks in other accounts and regions will be told. What another account forwards is not asked there.
pub fn judge_elsewhere(
    stack: &Stack,
    home: &Home,
    elsewhere: &Elsewhere,
    regions: &BTreeMap<String, Result<bool, AwsError>>,
) -> Looked {
    let mut looked = Looked::default();
    let let_in: Vec<&str> = stack.parameter("ForwardingAccountIds").split(',').map(str::trim).collect();
    for (account, askers) in elsewhere.accounts.iter().filter(|(account, _)| !let_in.contains(&account.as_str())) {
        let all: Vec<&str> = let_in.iter().copied().filter(|id| !id.is_empty()).chain([account.as_str()]).collect();
        let sentence = format!(
            "{} launch there, and this stack does not let its events in: nobody is told of tasks that die there",
            who(askers)
        );
        let parameter = format!("ForwardingAccountIds={}, and deploy infra/forward-events.yaml there", all.join(","));
        looked.found(FORWARDING_MISSING.found(format!("account {account}"), sentence, again(stack, &parameter)));
    }
    for (region, askers) in &elsewhere.regions {
        let subject = format!("region {region}");
        match regions.get(region) {
            Some(Ok(true)) => {
                looked.is_well(Group::Events, format!("{subject}: a rule there sends events to this stack's bus"));
            }
            Some(Ok(false)) => {
                let sentence = format!(
                    "{} launch there, and no rule there sends events to this stack's bus: nobody is told of tasks that die there",
                    who(askers)
                );
                let mend = format!(
                    "aws cloudformation deploy --region {region} --template-file infra/forward-events.yaml --stack-name \
                     {}-forward-events --capabilities CAPABILITY_IAM --parameter-overrides EventBusArn={}",
                    stack.name,
                    bus(home)
                );
                looked.found(FORWARDING_MISSING.found(subject, sentence, mend));
            }
            Some(Err(error)) => {
                let sentence = format!("whether a rule there sends events here could not be asked: {}", why(error));
                looked.found(EVENTS_UNKNOWN.found(subject, sentence, "allow events:ListRuleNamesByTarget"));
            }
            None => {}
        }
    }
    looked
}

#[cfg(test)]
mod tests;
