//! `CloudFormation`: stacks that somebody deployed, looked at in the query protocol's XML; and what a deployed stack makes of
//! the other fakes.

use crate::{
    State, World,
    answer::{ServiceError, escape, service_error, xml},
    events::{Rule, Schedule},
    iam::Role,
    route::{Form, Scope},
};
use axum::{body::Bytes, response::Response};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write};

/// A stack to deploy: its template evaluated, references resolved.
#[derive(Clone, Debug, Deserialize)]
pub struct Deployed {
    /// Its name.
    pub name: String,
    /// What it is deployed with.
    pub parameters: BTreeMap<String, String>,
    /// What it tells.
    pub outputs: BTreeMap<String, String>,
    /// By logical id.
    pub resources: BTreeMap<String, DeployedResource>,
}

/// A resource of it.
#[derive(Clone, Debug, Deserialize)]
pub struct DeployedResource {
    /// `AWS::SQS::Queue`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Its physical id.
    pub id: String,
    /// Its properties, as far as a fake knows them.
    #[serde(default)]
    pub properties: Value,
}

impl Deployed {
    /// Makes the stack, and the rules, schedules, queues, roles and event sources that are its own.
    pub fn make(&self, state: &mut State) {
        let resource =
            |(logical, one): (&String, &DeployedResource)| (logical.clone(), (one.kind.clone(), one.id.clone()));
        let stack = Stack {
            name: self.name.clone(),
            status: "UPDATE_COMPLETE".into(),
            parameters: self.parameters.clone(),
            outputs: self.outputs.clone(),
            resources: self.resources.iter().map(resource).collect(),
        };
        state.cloudformation.stacks.retain(|one| one.name != stack.name);
        state.cloudformation.stacks.push(stack);
        for resource in self.resources.values() {
            resource.make(state);
        }
    }
}

impl DeployedResource {
    fn make(&self, state: &mut State) {
        let (id, properties) = (self.id.clone(), &self.properties);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let listed = |value: &Value| value.as_array().cloned().unwrap_or_default();
        match self.kind.as_str() {
            "AWS::Events::Rule" => {
                let rule_state = properties["State"].as_str().unwrap_or("ENABLED").to_owned();
                let targets = listed(&properties["Targets"]).iter().map(|target| text(&target["Arn"])).collect();
                let rule = Rule { state: rule_state, pattern: properties["EventPattern"].to_string(), targets };
                state.events.rules.insert(id, rule);
            }
            "AWS::Scheduler::Schedule" => {
                let schedule = Schedule {
                    group: properties["GroupName"].as_str().unwrap_or("default").to_owned(),
                    state: properties["State"].as_str().unwrap_or("ENABLED").to_owned(),
                    expression: text(&properties["ScheduleExpression"]),
                    target: text(&properties["Target"]["Arn"]),
                };
                state.events.schedules.insert(id, schedule);
            }
            "AWS::IAM::Role" => {
                let policies = listed(&properties["Policies"]);
                let policies = policies.iter().map(|policy| policy["PolicyDocument"].clone()).collect();
                state.iam.roles.insert(id, Role { trust: properties["AssumeRolePolicyDocument"].clone(), policies });
            }
            "AWS::Lambda::EventSourceMapping" => {
                state.lambda.mappings.insert(id, "Enabled".into());
            }
            "AWS::SQS::Queue" => {
                state.sqs.queues.entry(id).or_default();
            }
            _ => {}
        }
    }
}

/// The stacks of the world's own account and region.
#[derive(Default)]
pub struct CloudFormation {
    /// In the order they are answered.
    pub stacks: Vec<Stack>,
}

/// A stack.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// Its name.
    pub name: String,
    /// `CREATE_COMPLETE`, …
    pub status: String,
    /// What it was deployed with.
    pub parameters: BTreeMap<String, String>,
    /// What it tells.
    pub outputs: BTreeMap<String, String>,
    /// Logical ids, with type and physical id.
    pub resources: BTreeMap<String, (String, String)>,
}

/// Stacks of one page.
const PAGE: usize = 50;

/// Answers one request of the query protocol.
pub fn handle(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let form = Form::parse(body);
    let state = world.lock();
    let result = match operation {
        "DescribeStacks" => state.cloudformation.describe_stacks(scope, &form),
        "DescribeStackResources" => state.cloudformation.describe_resources(scope, &form),
        _ => Err(ServiceError::new("InvalidAction", format!("Could not find operation {operation}"))),
    };
    match result {
        Ok(fields) => xml(format!(
            "<{operation}Response xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><{operation}Result>{fields}</{operation}Result><ResponseMetadata><RequestId>{}</RequestId></ResponseMetadata></{operation}Response>",
            crate::ids::uuid()
        )),
        Err(error) => service_error("cloudformation", error),
    }
}

impl CloudFormation {
    fn named(&self, name: &str) -> Result<&Stack, ServiceError> {
        let missing = || ServiceError::new("ValidationError", format!("Stack with id {name} does not exist"));
        self.stacks.iter().find(|stack| stack.name == name).ok_or_else(missing)
    }

    fn describe_stacks(&self, scope: &Scope, form: &Form) -> Result<String, ServiceError> {
        let (stacks, next): (Vec<&Stack>, usize) = if let Some(name) = form.get("StackName") {
            (vec![self.named(name)?], self.stacks.len())
        } else {
            let start = form.get("NextToken").and_then(|token| token.parse().ok()).unwrap_or(0);
            (self.stacks.iter().skip(start).take(PAGE).collect(), start + PAGE)
        };
        let mut members = String::new();
        for stack in stacks {
            let pairs = |list: &str, key: &str, value: &str, pairs: &BTreeMap<String, String>| {
                let members = pairs.iter().map(|(name, text)| {
                    format!("<member><{key}>{}</{key}><{value}>{}</{value}></member>", escape(name), escape(text))
                });
                format!("<{list}>{}</{list}>", members.collect::<String>())
            };
            let _ = write!(
                members,
                "<member><StackName>{}</StackName><StackId>{}</StackId><StackStatus>{}</StackStatus>{}{}</member>",
                escape(&stack.name),
                escape(&stack.id(scope)),
                escape(&stack.status),
                pairs("Parameters", "ParameterKey", "ParameterValue", &stack.parameters),
                pairs("Outputs", "OutputKey", "OutputValue", &stack.outputs),
            );
        }
        let more = if next < self.stacks.len() { format!("<NextToken>{next}</NextToken>") } else { String::new() };
        Ok(format!("<Stacks>{members}</Stacks>{more}"))
    }

    fn describe_resources(&self, scope: &Scope, form: &Form) -> Result<String, ServiceError> {
        let stack = self.named(form.get("StackName").unwrap_or_default())?;
        let members = stack.resources.iter().map(|(logical, (kind, physical))| {
            format!(
                "<member><StackName>{}</StackName><StackId>{}</StackId><LogicalResourceId>{}</LogicalResourceId><PhysicalResourceId>{}</PhysicalResourceId><ResourceType>{}</ResourceType><ResourceStatus>CREATE_COMPLETE</ResourceStatus></member>",
                escape(&stack.name),
                escape(&stack.id(scope)),
                escape(logical),
                escape(physical),
                escape(kind)
            )
        });
        Ok(format!("<StackResources>{}</StackResources>", members.collect::<String>()))
    }
}

impl Stack {
    fn id(&self, scope: &Scope) -> String {
        scope.arn("cloudformation", &format!("stack/{}/00000000-0000-0000-0000-000000000000", self.name))
    }
}
