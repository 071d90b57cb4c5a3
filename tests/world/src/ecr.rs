//! Elastic Container Registry: images by repository and tag, with their manifests; and Service Quotas.

use crate::{
    World,
    answer::{ServiceError, aws_json, json},
};
use axum::{body::Bytes, http::Uri, response::Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The repositories of the world's own account, of all regions.
#[derive(Default)]
pub struct Ecr {
    /// Images by repository, then by tag.
    pub repositories: BTreeMap<String, BTreeMap<String, Image>>,
    /// Policies of repositories.
    pub policies: BTreeMap<String, String>,
}

/// An image.
#[derive(Clone, Debug)]
pub enum Image {
    /// For one processor: `amd64`, `arm64`.
    Single(String),
    /// For several.
    Index(Vec<String>),
}

/// Quotas by their codes.
pub struct Quotas {
    /// Their values.
    pub values: BTreeMap<String, f64>,
    /// Fargate's processors in use, as `CloudWatch` counts them; `None` = it has counted nothing.
    pub vcpus_used: Option<f64>,
}

impl Default for Quotas {
    /// As a new account has them.
    fn default() -> Self {
        Self { values: [("L-3032A538".to_owned(), 6.0)].into(), vcpus_used: None }
    }
}

impl Image {
    fn manifest(&self) -> Value {
        match self {
            Self::Single(architecture) => json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.oci.image.config.v1+json",
                    "size": 7, "digest": format!("sha256:{architecture}"),
                },
                "layers": [],
            }),
            Self::Index(architectures) => {
                let one = |architecture: &String| {
                    json!({
                        "mediaType": "application/vnd.oci.image.manifest.v1+json",
                        "size": 7, "digest": format!("sha256:of-{architecture}"),
                        "platform": {"architecture": architecture, "os": "linux"},
                    })
                };
                // As buildx pushes it, with an attestation.
                let attestation = json!({"platform": {"architecture": "unknown", "os": "unknown"}});
                let manifests: Vec<Value> = architectures.iter().map(one).chain([attestation]).collect();
                json!({
                    "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
                })
            }
        }
    }
}

/// Answers one request. `own`: the world's own address, where layers are fetched.
pub fn handle(world: &World, own: &str, operation: &str, body: &Bytes) -> Response {
    let Ok(input) = serde_json::from_slice::<Value>(body) else {
        return aws_json(Err(ServiceError::new("SerializationException", "")));
    };
    let name = input["repositoryName"].as_str().unwrap_or_default();
    let state = world.lock();
    let missing = || {
        let message = format!("The repository with name '{name}' does not exist in the registry");
        ServiceError::new("RepositoryNotFoundException", message)
    };
    let images = state.ecr.repositories.get(name).ok_or_else(missing);
    aws_json(images.and_then(|images| match operation {
        "BatchGetImage" => {
            let (mut found, mut failures) = (Vec::new(), Vec::new());
            for id in input["imageIds"].as_array().into_iter().flatten() {
                match images.get(id["imageTag"].as_str().unwrap_or_default()) {
                    Some(image) => found.push(json!({
                        "registryId": input["registryId"], "repositoryName": name, "imageId": id,
                        "imageManifest": image.manifest().to_string(),
                        "imageManifestMediaType": image.manifest()["mediaType"],
                    })),
                    None => failures.push(json!({
                        "imageId": id, "failureCode": "ImageNotFound", "failureReason": "Requested image not found",
                    })),
                }
            }
            Ok(json!({"images": found, "failures": failures}))
        }
        "GetDownloadUrlForLayer" => {
            let digest = input["layerDigest"].as_str().unwrap_or_default();
            let url = format!("{own}/_layers/{}", digest.trim_start_matches("sha256:"));
            Ok(json!({"downloadUrl": url, "layerDigest": digest}))
        }
        "GetRepositoryPolicy" => match state.ecr.policies.get(name) {
            Some(policy) => Ok(json!({"repositoryName": name, "policyText": policy})),
            None => Err(ServiceError::new("RepositoryPolicyNotFoundException", "Repository policy does not exist")),
        },
        _ => Err(ServiceError::new("UnknownOperationException", "")),
    }))
}

/// The configuration of an image, as its layer's address gives it.
pub fn layer(uri: &Uri) -> Response {
    let architecture = uri.path().rsplit('/').next().unwrap_or_default();
    json(200, &json!({"architecture": architecture, "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}}))
}

/// Answers one request to Service Quotas.
pub fn quotas(world: &World, operation: &str, body: &Bytes) -> Response {
    let input: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = input["QuotaCode"].as_str().unwrap_or_default();
    let value = world.lock().quotas.values.get(code).copied();
    aws_json(match (operation, value) {
        ("GetServiceQuota", Some(value)) => Ok(json!({"Quota": {
            "ServiceCode": input["ServiceCode"], "QuotaCode": code, "Value": value, "Unit": "None",
            "UsageMetric": {
                "MetricNamespace": "AWS/Usage", "MetricName": "ResourceCount", "MetricStatisticRecommendation": "Maximum",
                "MetricDimensions": {
                    "Class": "Standard/OnDemand", "Resource": "vCPU", "Service": "Fargate", "Type": "Resource",
                },
            },
        }})),
        ("GetServiceQuota", None) => Err(ServiceError::new(
            "NoSuchResourceException",
            "The request failed because the specified quota does not exist.",
        )),
        _ => Err(ServiceError::new("UnknownOperationException", "")),
    })
}
