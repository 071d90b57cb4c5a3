//! The requests that the runs of the agents will make with the functions' own roles, and what widens these. Pure.

use super::Function;
use crate::check::codes::{
    ASSUME_DENIED, Code, LOGS_DENIED, OBJECT_DENIED, OTHER_DENIED, PARAMETER_DENIED, PASS_ROLE_DENIED, RUN_TASK_DENIED,
};
use crate::check::events::{FAILURES, QUEUE};
use crate::check::stack::Stack;
use crate::config::Root;
use crate::survey::place::{names_one_thing, partition};
use crate::survey::{Home, Needs, Survey, SurveyedDefinition};
use std::collections::{BTreeMap, BTreeSet};

/// A context key and its value.
pub type ConditionContext = Option<(&'static str, String)>;

/// A request that would be made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// By whom.
    pub function: Function,
    /// E.g. `ecs:RunTask`.
    pub action: &'static str,
    /// ARN, or `*` where there is none.
    pub resource: String,
    /// What comes with it.
    pub context: ConditionContext,
    /// What widens the role: a parameter of the stack, with what it has to hold.
    pub remedy: Remedy,
}

/// What widens a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Another entry in a list of ARNs: `ClusterArns`, `PassableRoleArns`, …
    Parameter(&'static str, String),
    /// A parameter that is to be `ENABLED`.
    Setting(&'static str),
    /// The template of today has it.
    Template,
}

/// The parameter of the stack that lets definitions be deregistered.
const DEREGISTER: &str = "DeregisterTaskDefinitions";

impl Remedy {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Parameter("ClusterArns", _) => RUN_TASK_DENIED,
            Self::Parameter("PassableRoleArns", _) => PASS_ROLE_DENIED,
            Self::Parameter("TaskLogArns", _) => LOGS_DENIED,
            Self::Parameter("S3ObjectArns", _) => OBJECT_DENIED,
            Self::Parameter("ExtraParameterArns", _) => PARAMETER_DENIED,
            Self::Parameter("AssumableRoleArns", _) => ASSUME_DENIED,
            Self::Parameter(..) | Self::Setting(_) | Self::Template => OTHER_DENIED,
        }
    }

    /// Whether what it adds to a parameter allows one thing there.
    pub fn names_one_thing(&self) -> bool {
        match self {
            Self::Parameter(name, arn) => names_one_thing(name, arn.strip_suffix(":log-stream:*").unwrap_or(arn)),
            Self::Setting(_) | Self::Template => true,
        }
    }
}

/// What Lambda does with the queue of events as the function, and the function itself.
const WITH_QUEUE: &[&str] = &[
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
];

/// Everything that the runs of these surveys need of the functions' own roles.
pub fn wanted(root: &Root, home: &Home, stack: &Stack, surveys: &[&Survey]) -> Vec<Wanted> {
    let mut all = BTreeSet::new();
    own_parameters(root, home, &mut all);
    // The functions of a stack from before there was a queue write no deaths down.
    if stack.resource(QUEUE).is_some() {
        let deaths = home.place().arn("ssm", &home.region, &format!("parameter{}/etl/deaths", root.state()));
        all.insert(of(Function::TaskEvents, "ssm:PutParameter", deaths, None, Remedy::Template));
    }
    for survey in surveys {
        launches(survey, &mut all);
        beside(&survey.needs, home, &mut all);
    }
    if let Ok(account) = &home.account {
        // A stack from before there was a queue has only that of the failures.
        for (queue, actions) in [(QUEUE, WITH_QUEUE), (FAILURES, &["sqs:SendMessage"])] {
            let Some(url) = stack.resource(queue) else { continue };
            let name = url.rsplit('/').next().unwrap_or_default();
            let resource = format!("arn:{}:sqs:{}:{account}:{name}", home.partition, home.region);
            let each =
                actions.iter().map(|action| of(Function::TaskEvents, action, resource.clone(), None, Remedy::Template));
            all.extend(each);
        }
    }
    all.into_iter().collect()
}

fn of(function: Function, action: &'static str, resource: String, context: ConditionContext, remedy: Remedy) -> Wanted {
    Wanted { function, action, resource, context, remedy }
}

/// What every poll reads and writes.
fn own_parameters(root: &Root, home: &Home, all: &mut BTreeSet<Wanted>) {
    let arn = |path: String| home.place().arn("ssm", &home.region, &format!("parameter{path}"));
    let mut parameters = |function, action, path| {
        all.insert(of(function, action, arn(path), None, Remedy::Template));
    };
    for function in [Function::Poll, Function::TaskEvents] {
        parameters(function, "ssm:GetParametersByPath", root.config());
        parameters(function, "ssm:GetParametersByPath", root.secrets());
    }
    parameters(Function::Poll, "ssm:GetParametersByPath", root.state());
    parameters(Function::Poll, "ssm:PutParameter", format!("{}/etl/status", root.state()));
}

/// What launching takes, where the functions launch with their own roles.
fn launches(survey: &Survey, all: &mut BTreeSet<Wanted>) {
    let mut definitions: BTreeMap<_, BTreeSet<(String, bool)>> = BTreeMap::new();
    let launches = survey.launches.iter().filter(|launch| launch.is_served).chain(&survey.defaults);
    for rendered in launches.filter_map(|launch| launch.rendered.as_ref().ok()) {
        let (family, is_registered) = match &rendered.definition {
            SurveyedDefinition::Register(body) => (body.get("family").and_then(|family| family.as_str()), true),
            SurveyedDefinition::Named { name, .. } => (Some(name.as_str()), false),
        };
        let family = family.unwrap_or_default().rsplit('/').next().unwrap_or_default();
        let family = family.split(':').next().unwrap_or_default().to_owned();
        definitions.entry(rendered.place.clone()).or_default().insert((family, is_registered));
    }
    for (place, needs) in survey.needs.own() {
        let arn = |resource: &str| place.arn("ecs", &place.region, resource);
        for cluster in needs.clusters.keys() {
            let context = Some(("ecs:cluster", cluster.clone()));
            let remedy = Remedy::Parameter("ClusterArns", cluster.clone());
            let name = cluster.rsplit('/').next().unwrap_or_default();
            let task = arn(&format!("task/{name}/0123456789abcdef0123456789abcdef"));
            let mut with_cluster = |function, action, resource: &str| {
                all.insert(of(function, action, resource.to_owned(), context.clone(), remedy.clone()));
            };
            for (family, _) in definitions.get(place).into_iter().flatten() {
                with_cluster(Function::Poll, "ecs:RunTask", &arn(&format!("task-definition/{family}:1")));
            }
            for (function, action) in [
                (Function::Poll, "ecs:DescribeTasks"),
                (Function::Poll, "ecs:StopTask"),
                (Function::TaskEvents, "ecs:DescribeTasks"),
            ] {
                with_cluster(function, action, &task);
            }
            with_cluster(Function::Poll, "ecs:ListTasks", "*");
            with_cluster(Function::TaskEvents, "ecs:ListTasks", "*");
            let created = Some(("ecs:CreateAction", "RunTask".to_owned()));
            all.insert(of(Function::Poll, "ecs:TagResource", task, created, Remedy::Template));
        }
        for (family, _) in definitions.get(place).into_iter().flatten().filter(|(_, is_registered)| *is_registered) {
            let definition = arn(&format!("task-definition/{family}:1"));
            let created = Some(("ecs:CreateAction", "RegisterTaskDefinition".to_owned()));
            all.insert(of(Function::Poll, "ecs:RegisterTaskDefinition", definition.clone(), None, Remedy::Template));
            all.insert(of(Function::Poll, "ecs:TagResource", definition, created, Remedy::Template));
        }
        for role in needs.task_roles.keys().chain(needs.execution_roles.keys()) {
            // The service is called so in all partitions.
            let context = Some(("iam:PassedToService", "ecs-tasks.amazonaws.com".to_owned()));
            let remedy = Remedy::Parameter("PassableRoleArns", role.clone());
            all.insert(of(Function::Poll, "iam:PassRole", role.clone(), context, remedy));
        }
        for group in needs.read_log_groups.keys() {
            let remedy = Remedy::Parameter("TaskLogArns", format!("{group}:log-stream:*"));
            let stream = format!("{group}:log-stream:prefect/flow/0123456789abcdef");
            all.insert(of(Function::TaskEvents, "logs:GetLogEvents", stream, None, remedy));
        }
        let anywhere = |function, action| of(function, action, "*".to_owned(), None, Remedy::Template);
        if !needs.vpcs.is_empty() {
            all.extend(["ec2:DescribeVpcs", "ec2:DescribeSubnets"].map(|action| anywhere(Function::Poll, action)));
        }
        all.extend([
            anywhere(Function::Poll, "ecs:DescribeTaskDefinition"),
            anywhere(Function::Poll, "ecs:ListTaskDefinitions"),
            anywhere(Function::TaskEvents, "ecs:DescribeTaskDefinition"),
        ]);
        if !needs.deregistered.is_empty() {
            let (action, resource) = ("ecs:DeregisterTaskDefinition", "*".to_owned());
            all.insert(of(Function::TaskEvents, action, resource, None, Remedy::Setting(DEREGISTER)));
        }
    }
}

/// Documents and roles of other accounts.
fn beside(needs: &Needs, home: &Home, all: &mut BTreeSet<Wanted>) {
    for object in needs.s3_objects.keys() {
        let arn = format!("arn:{}:s3:::{object}", partition(&home.region));
        let remedy = Remedy::Parameter("S3ObjectArns", arn.clone());
        all.insert(of(Function::Poll, "s3:GetObject", arn, None, remedy));
    }
    for parameter in needs.parameters.keys() {
        let name = format!("parameter/{}", parameter.trim_start_matches('/'));
        let arn = if parameter.starts_with("arn:") {
            parameter.clone()
        } else {
            home.place().arn("ssm", &home.region, &name)
        };
        let remedy = Remedy::Parameter("ExtraParameterArns", arn.clone());
        all.insert(of(Function::Poll, "ssm:GetParameter", arn, None, remedy));
    }
    for role in needs.assumed_roles().keys() {
        for function in [Function::Poll, Function::TaskEvents] {
            let remedy = Remedy::Parameter("AssumableRoleArns", role.clone());
            all.insert(of(function, "sts:AssumeRole", role.clone(), None, remedy));
        }
    }
}
