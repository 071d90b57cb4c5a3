//! Services: only as they are described; nothing keeps their tasks running.

use super::{Ecs, register};
use crate::{World, answer::ServiceError, route::Scope, world::epoch_seconds};
use serde_json::{Value, json};
use time::OffsetDateTime;

/// A service asked for in one call at most.
const MOST: usize = 10;

/// A service of a cluster.
#[derive(Clone, Debug)]
pub struct Service {
    /// `serviceName`
    pub name: String,
    /// `clusterArn`
    pub cluster_arn: String,
    /// `taskDefinition`: an ARN.
    pub task_definition: String,
    /// `desiredCount`
    pub desired_count: u64,
    created_at: OffsetDateTime,
}

impl Service {
    /// ARN of the service of this name in a cluster.
    fn arn(cluster_arn: &str, name: &str) -> String {
        format!("{}/{name}", cluster_arn.replace(":cluster/", ":service/"))
    }

    fn describe(&self) -> Value {
        json!({
            "serviceArn": Self::arn(&self.cluster_arn, &self.name),
            "serviceName": self.name,
            "clusterArn": self.cluster_arn,
            "loadBalancers": [],
            "serviceRegistries": [],
            "status": "ACTIVE",
            "desiredCount": self.desired_count,
            "runningCount": self.desired_count,
            "pendingCount": 0,
            "launchType": "FARGATE",
            "taskDefinition": self.task_definition,
            "createdAt": epoch_seconds(self.created_at),
            "schedulingStrategy": "REPLICA",
            "enableECSManagedTags": false,
            "propagateTags": "NONE",
            "enableExecuteCommand": false,
        })
    }
}

impl Ecs {
    /// `DescribeServices`: by name or ARN; those that are not there are failures.
    pub(super) fn describe_services(&self, scope: &Scope, input: &Value) -> Result<Value, ServiceError> {
        let cluster_arn = self.cluster(scope, input)?;
        let asked: Vec<&str> = input["services"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if asked.is_empty() {
            return Err(ServiceError::new("InvalidParameterException", "Services cannot be empty."));
        }
        if asked.len() > MOST {
            return Err(ServiceError::new("InvalidParameterException", "Too many services specified."));
        }
        let (mut services, mut failures) = (Vec::new(), Vec::new());
        for name in asked {
            let name = name.rsplit('/').next().unwrap_or(name);
            let found = self.services.iter().find(|service| service.cluster_arn == cluster_arn && service.name == name);
            match found {
                Some(service) => services.push(service.describe()),
                None => failures.push(json!({"arn": Service::arn(&cluster_arn, name), "reason": "MISSING"})),
            }
        }
        Ok(json!({"services": services, "failures": failures}))
    }
}

impl Ecs {
    /// `CreateService`, without anything that would start its tasks.
    pub(super) fn create_service(
        &mut self,
        scope: &Scope,
        input: &Value,
        now: OffsetDateTime,
    ) -> Result<Value, ServiceError> {
        let cluster_arn = self.cluster(scope, input)?;
        let definition = self.find_definition(scope, input["taskDefinition"].as_str().unwrap_or_default());
        let definition = definition.ok_or_else(|| {
            let message = "Unable to describe task definition.";
            ServiceError::new("ClientException", message)
        })?;
        let service = Service {
            name: input["serviceName"].as_str().unwrap_or_default().to_owned(),
            cluster_arn,
            task_definition: definition.arn.clone(),
            desired_count: input["desiredCount"].as_u64().unwrap_or_default(),
            created_at: now,
        };
        let description = service.describe();
        self.services.push(service);
        Ok(json!({"service": description}))
    }
}

impl World {
    /// Makes a service in a cluster of the world's own account and region, which is made too; its definition is registered.
    ///
    /// # Panics
    /// When ECS would refuse the definition.
    #[allow(clippy::panic, reason = "a test that seeds nonsense must hear of it at once")]
    pub fn ecs_service(&self, cluster: &str, name: &str, definition: &Value) {
        let scope = Scope::default();
        let registered = register::store(self, &scope, definition).unwrap_or_else(|error| panic!("{error:?}"));
        let mut state = self.lock();
        let now = state.now();
        state.ecs.create_cluster(&scope, cluster);
        let definition = &registered["taskDefinition"]["taskDefinitionArn"];
        let input = json!({"cluster": cluster, "serviceName": name, "taskDefinition": definition, "desiredCount": 1});
        if let Err(error) = state.ecs.create_service(&scope, &input, now) {
            panic!("{error:?}");
        }
    }
}
