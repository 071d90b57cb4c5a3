//! What the launcher asks of AWS: the part of ECS it uses, and the two questions about the default network.

use crate::aws::AwsError;
use crate::aws::ec2::Ec2;
use crate::aws::ecs::{DescribedDefinition, Ecs, RunTaskAnswer, Task};
use serde_json::{Map, Value};
use std::future::Future;

/// The calls to ECS that a launch needs; see [`Ecs`] for what each does.
pub trait EcsCalls: Send + Sync {
    /// `RunTask` with exactly this body.
    fn run_task(&self, body: &Map<String, Value>) -> impl Future<Output = Result<RunTaskAnswer, AwsError>> + Send;

    /// `RegisterTaskDefinition` with exactly this body → ARN.
    fn register_task_definition(
        &self,
        body: &Map<String, Value>,
    ) -> impl Future<Output = Result<String, AwsError>> + Send;

    /// `DescribeTaskDefinition` with its tags.
    fn describe_task_definition(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<DescribedDefinition, AwsError>> + Send;

    /// The newest active revisions of a family, newest first → ARNs.
    fn list_task_definitions(
        &self,
        family: &str,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<String>, AwsError>> + Send;

    /// `DescribeTasks`, at most 100 ARNs.
    fn describe_tasks(
        &self,
        cluster: Option<&str>,
        task_arns: &[String],
    ) -> impl Future<Output = Result<Vec<Task>, AwsError>> + Send;

    /// `ListTasks` by `startedBy`: tasks that run or are to run → ARNs.
    fn list_tasks(
        &self,
        cluster: Option<&str>,
        started_by: &str,
    ) -> impl Future<Output = Result<Vec<String>, AwsError>> + Send;

    /// `ListTasks` by `startedBy`: tasks that are being stopped, or stopped a while ago → ARNs.
    fn list_stopping_tasks(
        &self,
        cluster: Option<&str>,
        started_by: &str,
    ) -> impl Future<Output = Result<Vec<String>, AwsError>> + Send;

    /// `StopTask`.
    fn stop_task(
        &self,
        cluster: Option<&str>,
        task_arn: &str,
        reason: &str,
    ) -> impl Future<Output = Result<(), AwsError>> + Send;
}

/// The calls to EC2 that find a network.
pub trait NetworkCalls: Send + Sync {
    /// Id of the region's default VPC, if there is one.
    fn default_vpc(&self) -> impl Future<Output = Result<Option<String>, AwsError>> + Send;

    /// Whether the region has this VPC.
    fn vpc_exists(&self, vpc: &str) -> impl Future<Output = Result<bool, AwsError>> + Send;

    /// Ids of a VPC's subnets, in the order of the answer; none if there is no such VPC.
    fn subnets(&self, vpc: &str) -> impl Future<Output = Result<Vec<String>, AwsError>> + Send;
}

impl EcsCalls for Ecs {
    async fn run_task(&self, body: &Map<String, Value>) -> Result<RunTaskAnswer, AwsError> {
        Self::run_task(self, body).await
    }

    async fn register_task_definition(&self, body: &Map<String, Value>) -> Result<String, AwsError> {
        Self::register_task_definition(self, body).await
    }

    async fn describe_task_definition(&self, name: &str) -> Result<DescribedDefinition, AwsError> {
        Self::describe_task_definition(self, name).await
    }

    async fn list_task_definitions(&self, family: &str, limit: usize) -> Result<Vec<String>, AwsError> {
        Self::list_task_definitions(self, family, limit).await
    }

    async fn describe_tasks(&self, cluster: Option<&str>, task_arns: &[String]) -> Result<Vec<Task>, AwsError> {
        Self::describe_tasks(self, cluster, task_arns).await
    }

    async fn list_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        Self::list_tasks(self, cluster, started_by).await
    }

    async fn list_stopping_tasks(&self, cluster: Option<&str>, started_by: &str) -> Result<Vec<String>, AwsError> {
        Self::list_stopping_tasks(self, cluster, started_by).await
    }

    async fn stop_task(&self, cluster: Option<&str>, task_arn: &str, reason: &str) -> Result<(), AwsError> {
        Self::stop_task(self, cluster, task_arn, reason).await
    }
}

impl NetworkCalls for Ec2 {
    async fn default_vpc(&self) -> Result<Option<String>, AwsError> {
        Ok(self.default_vpcs().await?.into_iter().next())
    }

    async fn vpc_exists(&self, vpc: &str) -> Result<bool, AwsError> {
        Self::vpc_exists(self, vpc).await
    }

    async fn subnets(&self, vpc: &str) -> Result<Vec<String>, AwsError> {
        Self::subnets(self, vpc).await
    }
}
