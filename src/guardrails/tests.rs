#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod allowed;
mod attempts;
mod members;
mod proposals;

use super::members::Decision;
use super::*;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const REGISTRY: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";

fn image(name: &str) -> String {
    format!("{REGISTRY}/flows/{name}@sha256:{}", "a".repeat(64))
}

fn globs(texts: &[&str]) -> Globs {
    Globs::new(texts.iter().map(|text| Glob::new(text).unwrap()).collect())
}

/// Every rule there is.
fn strict() -> Guardrails {
    Guardrails {
        mode: Mode::Enforce,
        images: Some(globs(&[&format!("{REGISTRY}/flows/*")])),
        image_digest: true,
        cpu: Some(4096),
        memory: Some(8192),
        ephemeral_storage: Some(50),
        task_roles: Some(globs(&["arn:aws:iam::123456789012:role/flows/*"])),
        execution_roles: Some(globs(&["flows-execution"])),
        clusters: Some(globs(&["prefect", "arn:aws:ecs:eu-west-1:123456789012:cluster/batch-*"])),
        subnets: Some(globs(&["subnet-a", "subnet-b"])),
        security_groups: Some(globs(&["sg-flows"])),
        launch_types: Some(globs(&["FARGATE"])),
        capacity_providers: Some(globs(&["FARGATE", "FARGATE_SPOT"])),
        public_ip: false,
        task_definitions: DefinitionRule::Own,
        command: false,
        denied_variables: Some(globs(&["AWS_*", "LD_*", "PREFECT_API_URL"])),
        secrets: Some(globs(&[
            "arn:aws:secretsmanager:*:*:secret:flows/*",
            "arn:aws:ssm:*:123456789012:parameter/flows/*",
        ])),
        privileged: false,
        volumes: Some(vec![VolumeKind::Efs]),
        network_modes: Some(globs(&["awsvpc"])),
    }
}

/// A launch that asks for what is allowed.
fn modest() -> Value {
    json!({
        "RegisterTaskDefinition": {
            "family": "prefect_pool_nightly",
            "networkMode": "awsvpc",
            "executionRoleArn": "arn:aws:iam::123456789012:role/flows-execution",
            "cpu": "1024",
            "memory": "2 GB",
            "ephemeralStorage": {"sizeInGiB": 30},
            "containerDefinitions": [
                {"name": "prefect", "image": image("etl"), "environment": [{"name": "TZ", "value": "UTC"}]},
                {"name": "side", "image": image("side"), "privileged": false},
            ],
            "volumes": [{"name": "data", "efsVolumeConfiguration": {"fileSystemId": "fs-1"}}, {"name": "room", "host": {}}],
        },
        "RunTask": {
            "taskDefinition": "prefect_pool_nightly:1",
            "cluster": "prefect",
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration":
                {"subnets": ["subnet-a"], "securityGroups": ["sg-flows"], "assignPublicIp": "DISABLED"}},
            "overrides": {
                "taskRoleArn": "arn:aws:iam::123456789012:role/flows/etl",
                "containerOverrides": [{"name": "prefect", "command": COMMAND, "environment": [
                    {"name": "PREFECT_API_URL", "value": "https://prefect/api"}]}],
            },
            "clientToken": "token",
            "startedBy": "prefect/etl/run",
        },
    })
}

const COMMAND: [&str; 3] = ["prefect", "flow-run", "execute"];

/// What the agent itself asks for.
fn own() -> BTreeSet<Asked> {
    let url = Asked::Variable { name: "PREFECT_API_URL".into(), value: "https://prefect/api".into() };
    [Asked::Command(COMMAND.map(str::to_owned).to_vec()), url].into()
}

/// Puts a value at a place such as `RunTask/overrides/cpu`; what is on the way is made. `+` = a new item of a list.
fn put(into: &mut Value, place: &str, value: Value) {
    let mut here = into;
    for key in place.split('/') {
        here = match (here, key) {
            (Value::Array(items), "+") => {
                items.push(Value::Null);
                items.last_mut().unwrap()
            }
            (Value::Array(items), index) => &mut items[index.parse::<usize>().unwrap()],
            (slot, "+") => {
                *slot = json!([null]);
                &mut slot[0]
            }
            (slot, key) => &mut slot[key],
        };
    }
    *here = value;
}

struct Launch {
    bodies: Value,
    origin: DefinitionOrigin,
    network: NetworkOrigin,
    names_are_ours: bool,
}

impl Launch {
    fn with(changes: &[(&str, Value)]) -> Self {
        let mut bodies = modest();
        for (place, value) in changes {
            put(&mut bodies, place, value.clone());
        }
        Self { bodies, origin: DefinitionOrigin::Own, network: NetworkOrigin::Brought, names_are_ours: true }
    }

    fn body(&self, name: &str) -> &Map<String, Value> {
        self.bodies[name].as_object().unwrap()
    }

    fn requests(&self) -> Requests<'_> {
        Requests {
            definition: self.body("RegisterTaskDefinition"),
            origin: self.origin.clone(),
            run_task: self.body("RunTask"),
            network: self.network,
            names_are_ours: self.names_are_ours,
        }
    }

    fn judged(&self, guardrails: &Guardrails) -> Vec<Violation> {
        judge(guardrails, &self.requests(), &own())
    }
}

/// The path of a place in `members.txt`.
fn path_of(place: &str) -> String {
    let mut path = place.replacen("DescribeTaskDefinition", "RegisterTaskDefinition", 1);
    while let Some((before, rest)) = path.split_once('[').filter(|(_, rest)| !rest.starts_with(']')) {
        let after = rest.split_once(']').unwrap().1;
        path = format!("{before}\u{1}{after}");
    }
    path.replace('\u{1}', "[]").trim_end_matches("[]").to_owned()
}
