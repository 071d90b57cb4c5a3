//! Where runs go: clusters and their capacity providers, sizes that exist, execution roles and what they may do, images
//! and their architecture, log groups.

use super::codes::{
    ARCHITECTURE_DIFFERS, CAPACITY_PROVIDER_UNATTACHED, CLUSTER_INACTIVE, CLUSTER_MISSING, DEFINITION_MISSING,
    ECS_UNKNOWN, EXECUTION_DENIED, FARGATE_SIZE_ILLEGAL, IMAGE_MISSING, LOG_GROUP_MISSING, ROLE_MISSING,
    ROLE_UNTRUSTED,
};
use super::configuration::counted;
use super::permissions::SimulatedDecision;
use super::wishes::{Image, Wishes};
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::survey::Undescribed;
use crate::transport::shape::{items_at, text_at};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[cfg(test)]
mod tests;

/// What was seen of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// `ACTIVE`, …
    pub status: String,
    /// Attached to it.
    pub capacity_providers: Vec<String>,
}

/// What was seen of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// As containers' platforms call them: `amd64`, `arm64`; empty = not told.
    pub architectures: BTreeSet<String>,
}

/// What was seen. `Ok(None)`: there is none of that name.
#[derive(Debug, Default)]
pub struct ObservedEcs {
    /// By ARN.
    pub clusters: BTreeMap<String, Result<Option<Cluster>, AwsError>>,
    /// Trust policies, by the roles' ARNs.
    pub roles: BTreeMap<String, Result<Option<Value>, AwsError>>,
    /// What execution roles may: by role, then by action and resource.
    pub execution: BTreeMap<String, Vec<(String, String, SimulatedDecision)>>,
    /// By the images as they are written.
    pub images: BTreeMap<String, Result<Option<Pushed>, AwsError>>,
    /// Log groups that nobody creates, by ARN: whether they exist.
    pub log_groups: BTreeMap<String, Result<bool, AwsError>>,
}

/// Whether runs can go where they are sent.
pub fn judge(wishes: &Wishes, observed: &ObservedEcs) -> Looked {
    let mut looked = Looked::default();
    judge_clusters(wishes, observed, &mut looked);
    judge_sizes(wishes, &mut looked);
    judge_roles(observed, &mut looked);
    judge_images(wishes, observed, &mut looked);
    for (group, exists) in &observed.log_groups {
        let name = group.split_once("log-group:").map_or(group.as_str(), |(_, name)| name);
        match exists {
            Ok(true) => {}
            Ok(false) => {
                let sentence = "there is no such log group, and nobody creates it: tasks do not start";
                let mend = format!("aws logs create-log-group --log-group-name {name}");
                looked.found(LOG_GROUP_MISSING.found(format!("log group {name}"), sentence, mend));
            }
            Err(error) => unknown(&mut looked, format!("log group {name}"), error, "logs:DescribeLogGroups"),
        }
    }
    for (account, askers) in &wishes.elsewhere {
        let sentence = format!("{} launch there, with other credentials: nothing of it is looked at", who(askers));
        let mend = "check with credentials of that account, and --config";
        looked.found(ECS_UNKNOWN.found(format!("account {account}"), sentence, mend));
    }
    for (name, Undescribed { why, is_missing }) in &wishes.unknown_definitions {
        let subject = format!("task definition {name}");
        let mend = format!("aws ecs describe-task-definition --task-definition {name}");
        looked.found(if *is_missing {
            let sentence = format!("there is none of this name, or none any more: its tasks would not start ({why})");
            DEFINITION_MISSING.found(subject, sentence, mend)
        } else {
            let sentence = format!("it is not known what it says, and so not what its tasks need: {why}");
            ECS_UNKNOWN.found(subject, sentence, mend)
        });
    }
    looked
}

fn unknown(looked: &mut Looked, subject: String, error: &AwsError, permission: &str) {
    let sentence = format!("it could not be asked: {}", why(error));
    looked.found(ECS_UNKNOWN.found(subject, sentence, format!("allow {permission}")));
}

fn judge_clusters(wishes: &Wishes, observed: &ObservedEcs, looked: &mut Looked) {
    for (arn, cluster) in &observed.clusters {
        let subject = format!("cluster {arn}");
        let name = arn.rsplit('/').next().unwrap_or_default();
        match cluster {
            Err(error) => unknown(looked, subject, error, "ecs:DescribeClusters"),
            Ok(None) => {
                let mend =
                    format!("aws ecs create-cluster --cluster-name {name} --capacity-providers FARGATE FARGATE_SPOT");
                looked.found(CLUSTER_MISSING.found(subject, "there is no such cluster", mend));
            }
            Ok(Some(cluster)) if cluster.status != "ACTIVE" => {
                let sentence = format!("it is {}: nothing starts there", cluster.status);
                let mend =
                    format!("aws ecs create-cluster --cluster-name {name}, or name another cluster in the work pool");
                looked.found(CLUSTER_INACTIVE.found(subject, sentence, mend));
            }
            Ok(Some(cluster)) => {
                let wanted = wishes.providers.get(arn).into_iter().flatten();
                let missing: Vec<&String> =
                    wanted.filter(|provider| !cluster.capacity_providers.contains(provider)).collect();
                for provider in &missing {
                    let sentence = format!("the capacity provider {provider} is not attached to it");
                    let all =
                        cluster.capacity_providers.iter().chain([*provider]).cloned().collect::<Vec<_>>().join(" ");
                    let mend = format!(
                        "aws ecs put-cluster-capacity-providers --cluster {name} --capacity-providers {all} \
                         --default-capacity-provider-strategy …"
                    );
                    looked.found(CAPACITY_PROVIDER_UNATTACHED.found(&subject, sentence, mend));
                }
                if missing.is_empty() {
                    looked.is_well(Group::Ecs, format!("cluster {name}: active"));
                }
            }
        }
    }
}

fn judge_sizes(wishes: &Wishes, looked: &mut Looked) {
    for ((cpu, memory), askers) in &wishes.fargate_sizes {
        let Some(allowed) = fargate_memory(cpu) else {
            let sentence = format!("Fargate has no tasks of {cpu} CPU units");
            let mend = "set `cpu` to 256, 512, 1024, 2048, 4096, 8192 or 16384, and `memory` to what goes with it";
            looked.found(FARGATE_SIZE_ILLEGAL.found(who(askers), sentence, mend));
            continue;
        };
        if mebibytes(memory).is_none_or(|memory| !allowed.contains(memory)) {
            let sentence = format!("Fargate has no tasks of {cpu} CPU units with {memory} MiB");
            let mend = format!("set `memory` to {}, or another `cpu`", allowed.in_words());
            looked.found(FARGATE_SIZE_ILLEGAL.found(who(askers), sentence, mend));
        }
    }
}

/// The runs, for people.
pub(super) fn who(askers: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = askers.iter().take(3).map(String::as_str).collect();
    let more = askers.len().saturating_sub(names.len());
    let more = (more > 0).then(|| format!("{more} more"));
    names.extend(more.as_deref());
    names.join(", ")
}

/// The memory that goes with an amount of CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    least: u32,
    most: u32,
    step: u32,
}

impl Memory {
    fn contains(self, mebibytes: u32) -> bool {
        // 256 CPU units double instead.
        let is_step = if self.least == 512 {
            mebibytes.is_power_of_two()
        } else {
            (mebibytes - self.least.min(mebibytes)).is_multiple_of(self.step)
        };
        (self.least..=self.most).contains(&mebibytes) && is_step
    }

    fn in_words(self) -> String {
        if self.least == 512 {
            return "512, 1024 or 2048".into();
        }
        format!("{} to {} in steps of {}", self.least, self.most, self.step)
    }
}

/// What Fargate has for this CPU, written as ECS takes it (`256`, `.25 vCPU`); `None`: nothing.
pub fn fargate_memory(cpu: &str) -> Option<Memory> {
    let of = |least, most, step| Some(Memory { least, most, step });
    match units(cpu, "vcpu")? {
        256 => of(512, 2048, 512),
        512 => of(1024, 4096, 1024),
        1024 => of(2048, 8192, 1024),
        2048 => of(4096, 16_384, 1024),
        4096 => of(8192, 30_720, 1024),
        8192 => of(16_384, 61_440, 4096),
        16_384 => of(32_768, 122_880, 8192),
        _ => None,
    }
}

fn mebibytes(memory: &str) -> Option<u32> {
    units(memory, "gb")
}

/// CPU units of an amount of CPU.
pub(super) fn cpu_units(cpu: &str) -> Option<u32> {
    units(cpu, "vcpu")
}

/// `256`, `.25 vCPU`, `2 GB`.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small whole number")]
fn units(text: &str, unit: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    match text.strip_suffix(unit) {
        None => text.parse().ok(),
        Some(number) => {
            let units = number.trim().parse::<f64>().ok()? * 1024.0;
            (units.fract() == 0.0 && (0.0..=1_000_000.0).contains(&units)).then_some(units as u32)
        }
    }
}

fn judge_roles(observed: &ObservedEcs, looked: &mut Looked) {
    for (arn, trust) in &observed.roles {
        let subject = format!("role {arn}");
        let name = arn.rsplit('/').next().unwrap_or_default();
        match trust {
            Err(error) => unknown(looked, subject, error, "iam:GetRole"),
            Ok(None) => {
                let sentence = "there is no such role";
                let mend = "deploy infra/cluster.yaml, or name a role that exists in the work pool";
                looked.found(ROLE_MISSING.found(subject, sentence, mend));
            }
            Ok(Some(trust)) if !trusts_ecs_tasks(trust) => {
                let sentence = "it does not trust ecs-tasks.amazonaws.com, so no task can have it";
                let mend = format!(
                    "aws iam update-assume-role-policy --role-name {name} --policy-document '{{\"Version\": \"2012-10-17\", \
                     \"Statement\": [{{\"Effect\": \"Allow\", \"Principal\": {{\"Service\": \"ecs-tasks.amazonaws.com\"}}, \
                     \"Action\": \"sts:AssumeRole\"}}]}}'"
                );
                looked.found(ROLE_UNTRUSTED.found(subject, sentence, mend));
            }
            Ok(Some(_)) => {
                let asked = observed.execution.get(arn).map(Vec::as_slice).unwrap_or_default();
                judge_execution(arn, asked, looked);
            }
        }
    }
}

/// Whether a trust policy lets ECS's tasks have its role.
pub fn trusts_ecs_tasks(policy: &Value) -> bool {
    let texts = |value: Option<&Value>| -> Vec<String> {
        match value {
            Some(Value::String(text)) => vec![text.clone()],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        }
    };
    let statements = match policy.get("Statement") {
        Some(statement @ Value::Object(_)) => std::slice::from_ref(statement),
        _ => items_at(policy, &["Statement"]),
    };
    let is_it = |statement: &Value| {
        let services = texts(statement.get("Principal").and_then(|principal| principal.get("Service")));
        let actions = texts(statement.get("Action"));
        services.iter().any(|service| service == "ecs-tasks.amazonaws.com")
            && actions.iter().any(|action| matches!(action.as_str(), "sts:AssumeRole" | "sts:*" | "*"))
    };
    let of_effect = |effect: &str| {
        statements.iter().any(|statement| text_at(statement, &["Effect"]) == Some(effect) && is_it(statement))
    };
    of_effect("Allow") && !of_effect("Deny")
}

fn judge_execution(role: &str, asked: &[(String, String, SimulatedDecision)], looked: &mut Looked) {
    let mut denied: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut unasked = BTreeSet::new();
    for (action, resource, decision) in asked {
        match decision {
            SimulatedDecision::Allowed => {}
            SimulatedDecision::Implicit | SimulatedDecision::Explicit => {
                denied.entry(resource).or_default().insert(action);
            }
            SimulatedDecision::Unknown(why) => {
                unasked.insert(why.as_str());
            }
        }
    }
    for (resource, actions) in &denied {
        let actions = actions.iter().copied().collect::<Vec<_>>();
        let sentence = format!("tasks start with it, and it may not {} of {resource}", actions.join(", "));
        let statement = actions.iter().map(|action| format!("\"{action}\"")).collect::<Vec<_>>().join(", ");
        let name = role.rsplit('/').next().unwrap_or_default();
        let mend = format!(
            "aws iam put-role-policy --role-name {name} --policy-name prefect --policy-document '{{\"Version\": \
             \"2012-10-17\", \"Statement\": [{{\"Effect\": \"Allow\", \"Action\": [{statement}], \"Resource\": \
             \"{resource}\"}}]}}'"
        );
        looked.found(EXECUTION_DENIED.found(format!("role {role}"), sentence, mend));
    }
    for why in &unasked {
        let sentence = format!("what it may do could not be asked: {why}");
        looked.found(ECS_UNKNOWN.found(format!("role {role}"), sentence, "allow iam:SimulatePrincipalPolicy"));
    }
    if denied.is_empty() && unasked.is_empty() && !asked.is_empty() {
        let name = role.rsplit('/').next().unwrap_or_default();
        looked.is_well(
            Group::Ecs,
            format!("execution role {name}: pulls, logs and reads the secrets that its tasks need"),
        );
    }
}

fn judge_images(wishes: &Wishes, observed: &ObservedEcs, looked: &mut Looked) {
    let mut well = BTreeSet::new();
    for (Image { name, architecture }, askers) in &wishes.images {
        let Some(pushed) = observed.images.get(name) else { continue };
        let subject = format!("image {name}");
        match pushed {
            Err(error) => unknown(looked, subject, error, "ecr:BatchGetImage and ecr:GetDownloadUrlForLayer"),
            Ok(None) => {
                let sentence = format!("the registry has no such image; {} would not start", who(askers));
                let mend = format!("docker push {name}, or correct `image`");
                looked.found(IMAGE_MISSING.found(subject, sentence, mend));
            }
            Ok(Some(Pushed { architectures })) if architectures.is_empty() || architectures.contains(*architecture) => {
                well.insert(name);
            }
            Ok(Some(Pushed { architectures })) => {
                let there = architectures.iter().cloned().collect::<Vec<_>>().join(", ");
                let sentence = format!("it is built for {there}, and {} would run it on {architecture}", who(askers));
                let wanted = if there == "arm64" { "ARM64" } else { "X86_64" };
                let mend = format!(
                    "docker buildx build --platform linux/{architecture} --push -t {name} ., or set \
                     runtimePlatform.cpuArchitecture to {wanted} in the job template"
                );
                looked.found(ARCHITECTURE_DIFFERS.found(subject, sentence, mend));
            }
        }
    }
    if !well.is_empty() {
        looked.is_well(Group::Ecs, format!("{}: there, and of the right architecture", counted(well.len(), "image")));
    }
}
