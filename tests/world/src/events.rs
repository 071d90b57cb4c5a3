//! EventBridge and its Scheduler: rules, their targets and schedules, to be looked at; nothing happens by them.

use crate::{
    World,
    answer::{ServiceError, aws_json, json, service_error},
    route::Scope,
    s3::percent_decode,
};
use axum::{
    body::Bytes,
    http::{Uri, request::Parts},
    response::Response,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Rules and schedules of the world's own account.
#[derive(Default)]
pub struct Events {
    /// Of the own region, by name.
    pub rules: BTreeMap<String, Rule>,
    /// Of other regions, by region and name.
    pub elsewhere: BTreeMap<String, BTreeMap<String, Rule>>,
    /// By name.
    pub schedules: BTreeMap<String, Schedule>,
}

/// A rule of the default bus.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `ENABLED` or `DISABLED`.
    pub state: String,
    /// Its pattern, as JSON.
    pub pattern: String,
    /// ARNs of its targets.
    pub targets: Vec<String>,
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The group that it is in; names are unique in the account here.
    pub group: String,
    /// `ENABLED` or `DISABLED`.
    pub state: String,
    /// `rate(1 minute)`, …
    pub expression: String,
    /// ARN of what it calls.
    pub target: String,
}

/// Answers one request to EventBridge.
pub fn handle(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let Ok(input) = serde_json::from_slice::<Value>(body) else {
        return aws_json(Err(ServiceError::new("SerializationException", "")));
    };
    let state = world.lock();
    let rule = |name: &str| {
        let message = format!("Rule {name} does not exist on EventBus default.");
        state.events.rules.get(name).ok_or_else(|| ServiceError::new("ResourceNotFoundException", message))
    };
    aws_json(match operation {
        "DescribeRule" => {
            let name = input["Name"].as_str().unwrap_or_default();
            rule(name).map(|rule| {
                json!({
                    "Name": name,
                    "Arn": scope.arn("events", &format!("rule/{name}")),
                    "EventPattern": rule.pattern,
                    "State": rule.state,
                    "EventBusName": "default",
                })
            })
        }
        "ListTargetsByRule" => rule(input["Rule"].as_str().unwrap_or_default()).map(|rule| {
            let target = |(number, arn): (usize, &String)| json!({"Id": format!("Target{number}"), "Arn": arn});
            json!({"Targets": rule.targets.iter().enumerate().map(target).collect::<Vec<_>>()})
        }),
        "ListRuleNamesByTarget" => {
            let arn = input["TargetArn"].as_str().unwrap_or_default();
            let of_region = if scope.region == crate::REGION {
                Some(&state.events.rules)
            } else {
                state.events.elsewhere.get(&scope.region)
            };
            let rules = of_region.into_iter().flatten();
            let of_target = rules.filter(|(_, rule)| rule.targets.iter().any(|target| target == arn));
            Ok(json!({"RuleNames": of_target.map(|(name, _)| name).collect::<Vec<_>>()}))
        }
        _ => Err(ServiceError::new("UnknownOperationException", "")),
    })
}

/// Answers one request to the Scheduler: `GET /schedules/{name}?groupName={group}`, of the default group without a query.
pub fn scheduler(world: &World, scope: &Scope, parts: &Parts) -> Response {
    let name = schedule_name(&parts.uri);
    let group =
        parts.uri.query().and_then(|query| query.strip_prefix("groupName=")).map_or("default".into(), percent_decode);
    let state = world.lock();
    let Some(schedule) = state.events.schedules.get(&name).filter(|schedule| schedule.group == group) else {
        let message = format!("Schedule {name} does not exist.");
        return service_error("scheduler", ServiceError::new("ResourceNotFoundException", message).status(404));
    };
    json(
        200,
        &json!({
            "Arn": scope.arn("scheduler", &format!("schedule/{group}/{name}")),
            "Name": name,
            "GroupName": group,
            "State": schedule.state,
            "ScheduleExpression": schedule.expression,
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {"Arn": schedule.target},
        }),
    )
}

fn schedule_name(uri: &Uri) -> String {
    percent_decode(uri.path().strip_prefix("/schedules/").unwrap_or_default())
}
