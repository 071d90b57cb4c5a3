//! Asks AWS what [`super::ecs`] judges. Thin.

use super::ecs::{Cluster, ObservedEcs, Pushed};
use super::permissions::{SimulatedDecision, simulate};
use super::why;
use super::wishes::{RoleRequest, Wishes, region_of};
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::image::EcrImage;
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

/// Looks at all that is wanted.
pub(super) async fn observe(reads: &Reads, wishes: &Wishes) -> ObservedEcs {
    let mut beyond = BTreeMap::new();
    let names: BTreeSet<&String> = wishes.images.keys().map(|image| &image.name).collect();
    let of_ecr = names.into_iter().filter_map(|name| Some((name.clone(), EcrImage::of(name)?)));
    let images = some("images", of_ecr, &mut beyond).into_iter().map(|(name, registry)| async move {
        let seen = image(&reads.in_region(&registry.region), &registry).await;
        (name, seen)
    });
    let clusters = some("clusters", wishes.providers.keys(), &mut beyond).into_iter();
    let clusters = clusters.map(|arn| async move { (arn.clone(), cluster(reads, arn).await) });
    let roles = some("roles", wishes.roles.keys(), &mut beyond).into_iter();
    let roles = roles.map(|arn| async move { (arn.clone(), trust(reads, arn).await) });
    let execution = execution(reads, some("execution roles", wishes.execution.iter(), &mut beyond));
    let groups = some("log groups", wishes.log_groups.iter(), &mut beyond).into_iter();
    let groups =
        groups.map(|arn| async move { (arn.clone(), group_exists(&reads.in_region(region_of(arn)), arn).await) });
    let (clusters, roles, execution, images, log_groups) =
        tokio::join!(join_all(clusters), join_all(roles), execution, join_all(images), join_all(groups));
    ObservedEcs {
        clusters: clusters.into_iter().collect(),
        roles: roles.into_iter().collect(),
        execution,
        images: images.into_iter().collect(),
        log_groups: log_groups.into_iter().collect(),
        beyond,
    }
}

/// The first of them, and how many there are where that is not all.
fn some<T>(
    what: &'static str,
    all: impl Iterator<Item = T>,
    beyond: &mut BTreeMap<&'static str, (usize, usize)>,
) -> Vec<T> {
    let mut all: Vec<T> = all.collect();
    if all.len() > MOST {
        beyond.insert(what, (MOST, all.len()));
        all.truncate(MOST);
    }
    all
}

async fn cluster(reads: &Reads, arn: &str) -> Result<Option<Cluster>, AwsError> {
    let target = "AmazonEC2ContainerServiceV20141113.DescribeClusters";
    let answer = reads.in_region(region_of(arn)).json(Service::Ecs, target, &json!({"clusters": [arn]})).await;
    cluster_of(&answer?)
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

/// What execution roles may.
async fn execution(
    reads: &Reads,
    wanted: Vec<(&String, &BTreeSet<RoleRequest>)>,
) -> BTreeMap<String, Vec<(RoleRequest, SimulatedDecision)>> {
    let asked = wanted.into_iter().map(|(role, requests)| async move {
        let all: Vec<_> = requests.iter().map(|one| (one.action, one.resource.as_str(), &one.context)).collect();
        let decisions = simulate(reads, role, &all).await;
        (role.clone(), requests.iter().cloned().zip(decisions).collect::<Vec<_>>())
    });
    let mut all: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
    let is_open = |(request, decision): &(RoleRequest, SimulatedDecision)| {
        *decision == SimulatedDecision::Implicit && request.action.starts_with("ecr:") && request.resource != "*"
    };
    let open = all.values().flatten().filter(|one| is_open(one)).map(|(request, _)| request.resource.clone());
    let repositories: BTreeSet<String> = open.collect();
    let decided = join_all(repositories.into_iter().map(|repository| async move {
        let decision = repository_decides(reads, &repository).await;
        (repository, decision)
    }));
    let decided: BTreeMap<_, _> = decided.await.into_iter().collect();
    for one in all.values_mut().flatten().filter(|one| is_open(one)) {
        if let Some(decision) = decided.get(&one.0.resource) {
            one.1 = decision.clone();
        }
    }
    all
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

async fn image(reads: &Reads, registry: &EcrImage) -> Result<Option<Pushed>, AwsError> {
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

async fn manifest(reads: &Reads, registry: &EcrImage, id: &Value) -> Result<Option<Value>, AwsError> {
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
