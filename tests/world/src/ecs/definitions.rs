//! Registered task definitions: finding, describing, listing, deregistering.

use super::{Ecs, listing::page};
use crate::{answer::ServiceError, route::Scope, world::epoch_seconds};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// A registered task definition.
#[derive(Clone, Debug)]
pub struct Definition {
    /// The family.
    pub family: String,
    /// The revision, from 1.
    pub revision: u64,
    /// `taskDefinitionArn`
    pub arn: String,
    /// False once it is deregistered.
    pub active: bool,
    /// As `DescribeTaskDefinition` gives it: with all defaults, without tags.
    pub description: Value,
    /// `tags`: objects with `key` and `value`.
    pub tags: Vec<Value>,
    pub(super) scope: Scope,
}

impl Definition {
    /// A container definition.
    pub fn container(&self, name: &str) -> Option<&Value> {
        self.containers().iter().find(|container| container["name"] == name)
    }

    /// The container definitions.
    pub fn containers(&self) -> &[Value] {
        self.description["containerDefinitions"].as_array().map_or(&[], Vec::as_slice)
    }

    /// A text at the top of the description; empty when there is none.
    pub(super) fn text(&self, key: &str) -> &str {
        self.description[key].as_str().unwrap_or_default()
    }

    /// Whether tasks of it can run on Fargate.
    pub(super) fn is_fargate(&self) -> bool {
        self.description["compatibilities"].as_array().is_some_and(|all| all.contains(&json!("FARGATE")))
    }
}

impl Ecs {
    /// Finds by family (its latest active revision), `family:revision` or ARN; deregistered ones by revision only.
    pub fn find_definition(&self, scope: &Scope, reference: &str) -> Option<&Definition> {
        let name = match reference.strip_prefix("arn:") {
            None => reference,
            Some(_) => reference.strip_prefix(&scope.arn("ecs", "task-definition/"))?,
        };
        let mut of_scope = self.definitions.iter().filter(|definition| definition.scope == *scope);
        match name.split_once(':') {
            Some((family, revision)) => {
                of_scope.find(|definition| definition.family == family && definition.revision.to_string() == revision)
            }
            None => of_scope
                .filter(|definition| definition.active && definition.family == name)
                .max_by_key(|definition| definition.revision),
        }
    }

    pub(super) fn describe_definition(&self, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
        let found = self.find_definition(scope, input["taskDefinition"].as_str().unwrap_or_default());
        let definition =
            found.ok_or_else(|| ServiceError::new("ClientException", "Unable to describe task definition."))?;
        let mut description = definition.description.clone();
        if self.options.reorder_environment {
            reorder(&mut description);
        }
        let mut answer = json!({"taskDefinition": description});
        let with_tags = input["include"].as_array().is_some_and(|include| include.contains(&json!("TAGS")));
        // Without `include` the member is there, and empty.
        answer["tags"] = if with_tags { json!(definition.tags) } else { json!([]) };
        Ok(answer)
    }

    pub(super) fn list_definitions(&self, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
        let family = input["familyPrefix"].as_str();
        let active = match input["status"].as_str().unwrap_or("ACTIVE") {
            "ACTIVE" => true,
            "INACTIVE" => false,
            other => return Err(ServiceError::new("InvalidParameterException", format!("Invalid status: {other}"))),
        };
        let accepted = |definition: &&Definition| {
            definition.scope == *scope
                && definition.active == active
                && family.is_none_or(|family| definition.family == family)
        };
        let mut found: Vec<&Definition> = self.definitions.iter().filter(accepted).collect();
        found.sort_by(|one, two| (&one.family, one.revision).cmp(&(&two.family, two.revision)));
        if input["sort"] == "DESC" {
            found.reverse();
        }
        let arns: Vec<Value> = found.iter().map(|definition| json!(definition.arn)).collect();
        page("taskDefinitionArns", &arns, input)
    }

    pub(super) fn deregister(
        &mut self,
        scope: &Scope,
        input: &Value,
        now: OffsetDateTime,
    ) -> Result<Value, ServiceError> {
        let reference = input["taskDefinition"].as_str().unwrap_or_default();
        let name = reference.rsplit('/').next().unwrap_or_default();
        if !name.contains(':') {
            return Err(ServiceError::new("ClientException", "Revision is missing."));
        }
        let arn = self.find_definition(scope, reference).map(|definition| definition.arn.clone());
        let Some(definition) = self.definitions.iter_mut().find(|definition| arn.as_ref() == Some(&definition.arn))
        else {
            return Err(ServiceError::new(
                "ClientException",
                "The specified task definition does not exist. Specify a valid account, family, revision and try again.",
            ));
        };
        if !definition.active {
            return Err(ServiceError::new(
                "ClientException",
                "The specified task definition is inactive. Specify an active task definition and try again.",
            ));
        }
        definition.active = false;
        definition.description["status"] = json!("INACTIVE");
        definition.description["deregisteredAt"] = json!(epoch_seconds(now));
        Ok(json!({"taskDefinition": definition.description}))
    }

    pub(super) fn describe_clusters(&self, scope: &Scope, input: &Value) -> Value {
        let wanted = input["clusters"]
            .as_array()
            .cloned()
            .filter(|all| !all.is_empty())
            .unwrap_or_else(|| vec![json!("default")]);
        let (mut clusters, mut failures) = (Vec::new(), Vec::new());
        for cluster in wanted {
            match self.cluster(scope, &json!({"cluster": cluster})) {
                Ok(arn) => {
                    let status = self.cluster_states.get(&arn).map_or("ACTIVE", String::as_str);
                    let providers = self.attached.get(&arn).cloned().unwrap_or_default();
                    clusters.push(json!({
                        "clusterArn": arn, "clusterName": arn.rsplit('/').next(), "status": status,
                        "capacityProviders": providers,
                    }));
                }
                Err(_) => failures.push(json!({"arn": cluster, "reason": "MISSING"})),
            }
        }
        json!({"clusters": clusters, "failures": failures})
    }

    pub(super) fn tag_resource(&mut self, input: &Value) -> Result<Value, ServiceError> {
        let arn = input["resourceArn"].as_str().unwrap_or_default();
        let tags = input["tags"].as_array().cloned().unwrap_or_default();
        let held =
            self.definitions.iter_mut().find(|definition| definition.arn == arn).map(|definition| &mut definition.tags);
        let held = held.or_else(|| self.tasks.iter_mut().find(|task| task.arn == arn).map(|task| &mut task.tags));
        let Some(held) = held else {
            return Err(ServiceError::new("ClientException", "The specified resource was not found."));
        };
        for tag in tags {
            held.retain(|known| known["key"] != tag["key"]);
            held.push(tag);
        }
        Ok(json!({}))
    }
}

/// ECS keeps `environment` as a set: descriptions give it in an order of their own.
fn reorder(description: &mut Value) {
    for container in description["containerDefinitions"].as_array_mut().into_iter().flatten() {
        if let Some(environment) = container["environment"].as_array_mut() {
            environment.sort_by_key(|entry| entry["name"].as_str().map(|name| name.chars().rev().collect::<String>()));
        }
    }
}
