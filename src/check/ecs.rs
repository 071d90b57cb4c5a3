//! Where runs go: clusters and their capacity providers, sizes that exist, execution roles and what they may do, images
//! and their architecture, log groups.

use super::codes::{
    ARCHITECTURE_DIFFERS, CAPACITY_PROVIDER_UNATTACHED, CLUSTER_INACTIVE, CLUSTER_MISSING, DEFINITION_MISSING,
    ECS_UNKNOWN, EXECUTION_DENIED, IMAGE_MISSING, LOG_GROUP_MISSING, ROLE_MISSING, ROLE_UNTRUSTED,
};
use super::configuration::counted;
use super::permissions::SimulatedDecision;
use super::trust::trusts_ecs_tasks;
use super::wishes::{Image, RoleRequest, Wishes};
use super::{Group, Looked, fargate, why};
use crate::aws::AwsError;
use crate::survey::Undescribed;
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
    /// What execution roles may.
    pub execution: BTreeMap<String, Vec<(RoleRequest, SimulatedDecision)>>,
    /// By the images as they are written.
    pub images: BTreeMap<String, Result<Option<Pushed>, AwsError>>,
    /// Log groups that nobody creates, by ARN: whether they exist.
    pub log_groups: BTreeMap<String, Result<bool, AwsError>>,
    /// Of which kinds not all were looked at: how many were, of how many.
    pub beyond: BTreeMap<&'static str, (usize, usize)>,
}

/// Whether runs can go where they are sent.
pub fn judge(wishes: &Wishes, observed: &ObservedEcs) -> Looked {
    let mut looked = Looked::default();
    judge_clusters(wishes, observed, &mut looked);
    fargate::judge(wishes, &mut looked);
    judge_roles(wishes, observed, &mut looked);
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
    for (what, (some, all)) in &observed.beyond {
        let sentence = format!("only {some} of {all} are looked at");
        looked.found(ECS_UNKNOWN.found(*what, sentence, "look at fewer agents at once, with --agent"));
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

/// The runs, for people.
pub(super) fn who(askers: &BTreeSet<String>) -> String {
    let mut names: Vec<&str> = askers.iter().take(3).map(String::as_str).collect();
    let more = askers.len().saturating_sub(names.len());
    let more = (more > 0).then(|| format!("{more} more"));
    names.extend(more.as_deref());
    names.join(", ")
}

fn judge_roles(wishes: &Wishes, observed: &ObservedEcs, looked: &mut Looked) {
    let nowhere = BTreeSet::new();
    for (arn, trust) in &observed.roles {
        let subject = format!("role {arn}");
        let regions = wishes.roles.get(arn).unwrap_or(&nowhere);
        let name = arn.rsplit('/').next().unwrap_or_default();
        match trust {
            Err(error) => unknown(looked, subject, error, "iam:GetRole"),
            Ok(None) => {
                let sentence = "there is no such role";
                let mend = "deploy infra/cluster.yaml, or name a role that exists in the work pool";
                looked.found(ROLE_MISSING.found(subject, sentence, mend));
            }
            Ok(Some(trust)) => {
                match trusts_ecs_tasks(trust, arn, regions) {
                    Some(true) => {}
                    Some(false) => {
                        let sentence = "it does not trust ecs-tasks.amazonaws.com, so no task can have it";
                        let mend = format!(
                            "aws iam update-assume-role-policy --role-name {name} --policy-document '{{\"Version\": \
                             \"2012-10-17\", \"Statement\": [{{\"Effect\": \"Allow\", \"Principal\": {{\"Service\": \
                             \"ecs-tasks.amazonaws.com\"}}, \"Action\": \"sts:AssumeRole\"}}]}}'"
                        );
                        looked.found(ROLE_UNTRUSTED.found(subject, sentence, mend));
                        continue;
                    }
                    None => {
                        let sentence = "whether it trusts ecs-tasks.amazonaws.com depends on what is not judged here";
                        let mend = format!("aws iam get-role --role-name {name}, and read its trust policy");
                        looked.found(ECS_UNKNOWN.found(subject, sentence, mend));
                    }
                }
                let asked = observed.execution.get(arn).map(Vec::as_slice).unwrap_or_default();
                judge_execution(arn, asked, looked);
            }
        }
    }
}

fn judge_execution(role: &str, asked: &[(RoleRequest, SimulatedDecision)], looked: &mut Looked) {
    let mut denied: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut unasked = BTreeSet::new();
    for (RoleRequest { action, resource, .. }, decision) in asked {
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
    let (mut there, mut fitting) = (BTreeSet::new(), BTreeSet::new());
    for (Image { name, architecture }, askers) in &wishes.images {
        let Some(pushed) = observed.images.get(name) else { continue };
        let subject = format!("image {name}");
        let architectures = match pushed {
            Err(error) => {
                unknown(looked, subject, error, "ecr:BatchGetImage and ecr:GetDownloadUrlForLayer");
                continue;
            }
            Ok(None) => {
                let sentence = format!("the registry has no such image; {} would not start", who(askers));
                let mend = format!("docker push {name}, or correct `image`");
                looked.found(IMAGE_MISSING.found(subject, sentence, mend));
                continue;
            }
            Ok(Some(Pushed { architectures })) => architectures,
        };
        match architecture {
            // What it runs on, or what it is built for, is not told.
            _ if architectures.is_empty() => drop(there.insert(name)),
            None => drop(there.insert(name)),
            Some(architecture) if architectures.contains(*architecture) => drop(fitting.insert(name)),
            Some(architecture) => {
                let built = architectures.iter().cloned().collect::<Vec<_>>().join(", ");
                let sentence = format!("it is built for {built}, and {} would run it on {architecture}", who(askers));
                let wanted = if built == "arm64" { "ARM64" } else { "X86_64" };
                let mend = format!(
                    "docker buildx build --platform linux/{architecture} --push -t {name} ., or set \
                     runtimePlatform.cpuArchitecture to {wanted} in the job template"
                );
                looked.found(ARCHITECTURE_DIFFERS.found(subject, sentence, mend));
            }
        }
    }
    for (images, said) in [(fitting, "there, and of the right architecture"), (there, "there")] {
        if !images.is_empty() {
            looked.is_well(Group::Ecs, format!("{}: {said}", counted(images.len(), "image")));
        }
    }
}
