//! What the stories' AWS account has beside the stack: roles of tasks, a cluster, an image, a network.

use serde_json::{Value, json};
use world::ecr::Image;
use world::iam::Role;
use world::{RunningWorld, State};

/// The image of the one deployment.
pub(super) const IMAGE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/flows:1";
/// The execution role of the one deployment.
pub(super) const EXECUTION: &str = "arn:aws:iam::123456789012:role/prefect-serverless-agent/execution";
/// The task role of the one deployment.
pub(super) const TASK: &str = "arn:aws:iam::123456789012:role/prefect-serverless-agent/task";
/// The cluster of the one deployment.
pub(super) const CLUSTER: &str = "arn:aws:ecs:us-east-1:123456789012:cluster/prefect";

/// Job variables of the one deployment.
pub(super) fn job_variables() -> Value {
    json!({
        "image": IMAGE,
        "cluster": CLUSTER,
        "execution_role_arn": EXECUTION,
        "task_role_arn": TASK,
        "launch_type": "FARGATE",
        "cpu": 512,
        "memory": 1024,
        "configure_cloudwatch_logs": true,
        "vpc_id": "vpc-default",
        "network_configuration": {
            "subnets": ["subnet-default-a"], "securityGroups": ["sg-default"], "assignPublicIp": "ENABLED",
        },
    })
}

/// As infra/cluster.yaml has it.
fn trust(service: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": "123456789012"}},
    }]})
}

/// A statement that allows.
pub(super) fn allow(actions: &[&str], resources: &[&str], condition: Value) -> Value {
    let mut statement = json!({"Effect": "Allow", "Action": actions, "Resource": resources});
    if !condition.is_null() {
        statement["Condition"] = condition;
    }
    statement
}

fn role(service: &str, statements: Vec<Value>) -> Role {
    Role { trust: trust(service), policies: vec![json!({"Version": "2012-10-17", "Statement": statements})] }
}

/// What `AmazonECSTaskExecutionRolePolicy` allows, and the keys of the agents.
fn execution_role() -> Role {
    let managed = [
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:GetDownloadUrlForLayer",
        "ecr:BatchGetImage",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "logs:CreateLogGroup",
    ];
    let keys = "arn:aws:ssm:us-east-1:123456789012:parameter/psa/test/secrets/*/api-key";
    let statements = vec![allow(&managed, &["*"], Value::Null), allow(&["ssm:GetParameters"], &[keys], Value::Null)];
    role("ecs-tasks.amazonaws.com", statements)
}

/// Makes all of it.
pub(super) fn furnish(world: &RunningWorld) {
    let cluster = world.ecs_cluster("prefect");
    let mut state = world.lock();
    let State { iam, ecr, ecs, quotas, logs, .. } = &mut *state;
    iam.roles.insert("execution".into(), execution_role());
    iam.roles.insert("task".into(), role("ecs-tasks.amazonaws.com", Vec::new()));
    let image = Image::Index(vec!["amd64".into(), "arm64".into()]);
    ecr.repositories.insert("flows".into(), [("1".to_owned(), image)].into());
    ecs.attached.insert(cluster, vec!["FARGATE".into(), "FARGATE_SPOT".into()]);
    quotas.values.insert("L-3032A538".into(), 6.0);
    logs.create_group(&world::route::Scope::default(), "prefect");
}
