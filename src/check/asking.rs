//! Asks AWS what [`super::ecs`] judges. Thin.

use super::ecs::{Cluster, ObservedEcs, Pushed};
use super::permissions::{Batch, SimulatedDecision, simulate};
use super::why;
use super::wishes::{Registry, Wishes};
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::transport::shape::{items_at, text_at};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Media types of images that are understood.
const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Images, roles, … of each kind that are looked at.
const MOST: usize = 40;

/// The region of an ARN.
fn region_of(arn: &str) -> &str {
    arn.split(':').nth(3).unwrap_or_default()
}

/// Looks at all that is wanted.
pub(super) async fn observe(reads: &Reads, wishes: &Wishes) -> ObservedEcs {
    let names: BTreeSet<&String> = wishes.images.keys().map(|image| &image.name).collect();
    let ecr = names.into_iter().filter_map(|name| Some((name.clone(), Registry::of(name)?)));
    let images = join_all(ecr.take(MOST).map(|(name, registry)| async move {
        let seen = image(&reads.in_region(&registry.region), &registry).await;
        (name, seen)
    }));
    let roles =
        join_all(wishes.roles.iter().take(MOST).map(|arn| async move { (arn.clone(), trust(reads, arn).await) }));
    let execution = join_all(
        wishes
            .execution
            .iter()
            .take(MOST)
            .map(|(role, wanted)| async move { (role.clone(), allowed(reads, role, wanted).await) }),
    );
    let groups = join_all(
        wishes
            .log_groups
            .iter()
            .take(MOST)
            .map(|arn| async move { (arn.clone(), group_exists(&reads.in_region(region_of(arn)), arn).await) }),
    );
    let (clusters, roles, execution, images, log_groups) =
        tokio::join!(clusters(reads, wishes), roles, execution, images, groups);
    ObservedEcs {
        clusters,
        roles: roles.into_iter().collect(),
        execution: execution.into_iter().collect(),
        images: images.into_iter().collect(),
        log_groups: log_groups.into_iter().collect(),
    }
}

async fn clusters(reads: &Reads, wishes: &Wishes) -> BTreeMap<String, Result<Option<Cluster>, AwsError>> {
    let asked = wishes.providers.keys().take(MOST).map(|arn| async move {
        let target = "AmazonEC2ContainerServiceV20141113.DescribeClusters";
        let answer = reads.in_region(region_of(arn)).json(Service::Ecs, target, &json!({"clusters": [arn]})).await;
        (arn.clone(), answer.and_then(|answer| cluster_of(&answer)))
    });
    join_all(asked).await.into_iter().collect()
}

/// It is missing where ECS says so, and not where it says nothing.
fn cluster_of(answer: &Value) -> Result<Option<Cluster>, AwsError> {
    if let Some(cluster) = reads::list(answer, "clusters")?.first() {
        let providers = reads::list(cluster, "capacityProviders")?.iter().filter_map(Value::as_str);
        let status = reads::text(cluster, "status")?.to_owned();
        return Ok(Some(Cluster { status, capacity_providers: providers.map(str::to_owned).collect() }));
    }
    let failure = reads::list(answer, "failures")?.first();
    match failure.and_then(|failure| text_at(failure, &["reason"])) {
        Some("MISSING") => Ok(None),
        reason => {
            Err(AwsError::Malformed(format!("DescribeClusters: {}", reason.unwrap_or("no cluster, and no reason"))))
        }
    }
}

async fn trust(reads: &Reads, arn: &str) -> Result<Option<Value>, AwsError> {
    let name = arn.rsplit('/').next().unwrap_or_default();
    let fields = [("RoleName".to_owned(), name.to_owned())];
    match reads.query(Service::Iam, "GetRole", &fields).await {
        Err(error) if error.code() == Some("NoSuchEntity") => Ok(None),
        Err(error) => Err(error),
        Ok(answer) => {
            let written = text_at(&answer, &["Role", "AssumeRolePolicyDocument"]).unwrap_or_default();
            let text = percent_encoding::percent_decode_str(written).decode_utf8_lossy();
            let policy = serde_json::from_str(&text);
            policy.map(Some).map_err(|_| AwsError::Malformed(format!("the trust policy of {name} is no JSON")))
        }
    }
}

async fn allowed(
    reads: &Reads,
    role: &str,
    wanted: &BTreeSet<(String, String)>,
) -> Vec<(String, String, SimulatedDecision)> {
    let mut by_action: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (action, resource) in wanted {
        by_action.entry(action).or_default().push(resource);
    }
    let asked = by_action.into_iter().map(|(action, resources)| async move {
        let batch = Batch { action, context: &None, region: reads.region() };
        let decisions = simulate(reads, role, batch, &resources).await;
        let mut all = Vec::new();
        for (resource, decision) in resources.into_iter().zip(decisions) {
            let decision = match decision {
                SimulatedDecision::Implicit if action.starts_with("ecr:") && resource != "*" => {
                    repository_decides(reads, resource).await
                }
                decision => decision,
            };
            all.push((action.to_owned(), resource.to_owned(), decision));
        }
        all
    });
    join_all(asked).await.into_iter().flatten().collect()
}

/// A repository's own policy may allow what the role's do not: then nothing is known.
async fn repository_decides(reads: &Reads, repository: &str) -> SimulatedDecision {
    let mut parts = repository.splitn(6, ':').skip(3);
    let (region, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let name = repository.split_once("repository/").map_or("", |(_, name)| name);
    let target = "AmazonEC2ContainerRegistry_V20150921.GetRepositoryPolicy";
    let body = json!({"registryId": account, "repositoryName": name});
    match reads.in_region(region).json(Service::Ecr, target, &body).await {
        Ok(_) => SimulatedDecision::Unknown("the repository has a policy of its own".into()),
        Err(error) if error.code() == Some("RepositoryPolicyNotFoundException") => SimulatedDecision::Implicit,
        Err(error) => SimulatedDecision::Unknown(why(&error)),
    }
}

async fn image(reads: &Reads, registry: &Registry) -> Result<Option<Pushed>, AwsError> {
    let id = match (&registry.digest, &registry.tag) {
        (Some(digest), _) => json!({"imageDigest": digest}),
        (None, tag) => json!({"imageTag": tag}),
    };
    let Some(manifest) = manifest(reads, registry, &id).await? else { return Ok(None) };
    let of_index: BTreeSet<String> = items_at(&manifest, &["manifests"])
        .iter()
        .filter_map(|one| text_at(one, &["platform", "architecture"]))
        // Attestations beside the images.
        .filter(|architecture| *architecture != "unknown")
        .map(str::to_owned)
        .collect();
    if !of_index.is_empty() {
        return Ok(Some(Pushed { architectures: of_index }));
    }
    let Some(digest) = text_at(&manifest, &["config", "digest"]) else {
        return Ok(Some(Pushed { architectures: BTreeSet::new() }));
    };
    // What an image is built for stands in its configuration, which is a layer like any other.
    let body = json!({"registryId": registry.account, "repositoryName": registry.repository, "layerDigest": digest});
    let target = "AmazonEC2ContainerRegistry_V20150921.GetDownloadUrlForLayer";
    let answer = reads.json(Service::Ecr, target, &body).await?;
    let url = text_at(&answer, &["downloadUrl"]).unwrap_or_default();
    let configuration = reads.fetch(url).await?;
    let architectures = text_at(&configuration, &["architecture"]).map(str::to_owned).into_iter().collect();
    Ok(Some(Pushed { architectures }))
}

async fn manifest(reads: &Reads, registry: &Registry, id: &Value) -> Result<Option<Value>, AwsError> {
    let body = json!({
        "registryId": registry.account, "repositoryName": registry.repository, "imageIds": [id],
        "acceptedMediaTypes": MANIFESTS,
    });
    let target = "AmazonEC2ContainerRegistry_V20150921.BatchGetImage";
    let answer = match reads.json(Service::Ecr, target, &body).await {
        Err(error) if error.code() == Some("RepositoryNotFoundException") => return Ok(None),
        answer => answer?,
    };
    if let Some(image) = items_at(&answer, &["images"]).first() {
        let text = text_at(image, &["imageManifest"]).unwrap_or_default();
        return serde_json::from_str(text).map(Some).map_err(|_| AwsError::Malformed("the manifest is no JSON".into()));
    }
    let failure = items_at(&answer, &["failures"]).first();
    match failure.and_then(|failure| text_at(failure, &["failureCode"])) {
        Some("ImageNotFound") => Ok(None),
        code => Err(AwsError::Malformed(format!("BatchGetImage: {}", code.unwrap_or("neither image nor failure")))),
    }
}

async fn group_exists(reads: &Reads, arn: &str) -> Result<bool, AwsError> {
    let name = arn.split_once("log-group:").map_or(arn, |(_, name)| name);
    let body = json!({"logGroupNamePrefix": name, "limit": 50});
    let answer = reads.json(Service::Logs, "Logs_20140328.DescribeLogGroups", &body).await?;
    is_listed(&answer, name)
}

fn is_listed(answer: &Value, group: &str) -> Result<bool, AwsError> {
    let names = reads::list(answer, "logGroups")?.iter().map(|group| reads::text(group, "logGroupName"));
    let names: Vec<&str> = names.collect::<Result<_, _>>()?;
    Ok(names.contains(&group))
}

#[cfg(test)]
mod tests;
