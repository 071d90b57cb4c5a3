//! What the stories' AWS account has: the roles as the template makes them with its default parameters, a cluster, an
//! image, a network.

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

fn in_clusters() -> Value {
    json!({"ArnLike": {"ecs:cluster": "arn:aws:ecs:us-east-1:123456789012:cluster/*"}})
}

fn poll_role() -> Role {
    let parameter = |path: &str| format!("arn:aws:ssm:us-east-1:123456789012:parameter/psa/test/{path}");
    let read = ["config", "config/*", "files/*", "secrets", "secrets/*", "state", "state/*"].map(parameter);
    let read: Vec<&str> = read.iter().map(String::as_str).collect();
    let (definition, task) = ("arn:aws:ecs:*:123456789012:task-definition/*", "arn:aws:ecs:*:123456789012:task/*");
    let created = json!({"StringEquals": {"ecs:CreateAction": ["RegisterTaskDefinition", "RunTask"]}});
    let passed = json!({"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}});
    role(
        "lambda.amazonaws.com",
        vec![
            allow(&["ssm:GetParameter", "ssm:GetParametersByPath"], &read, Value::Null),
            allow(&["ssm:PutParameter"], &[&parameter("state/*")], Value::Null),
            allow(&["ecs:RunTask"], &[definition], in_clusters()),
            allow(&["ecs:DescribeTasks", "ecs:StopTask"], &[task], in_clusters()),
            allow(&["ecs:ListTasks"], &["*"], in_clusters()),
            allow(&["ecs:RegisterTaskDefinition"], &[definition], Value::Null),
            allow(&["ecs:DescribeTaskDefinition", "ecs:ListTaskDefinitions"], &["*"], Value::Null),
            allow(&["ecs:TagResource"], &[task, definition], created),
            allow(&["ec2:DescribeSubnets", "ec2:DescribeVpcs"], &["*"], Value::Null),
            allow(&["iam:PassRole"], &["arn:aws:iam::123456789012:role/prefect-serverless-agent/*"], passed),
        ],
    )
}

fn task_events_role() -> Role {
    let parameter = |path: &str| format!("arn:aws:ssm:us-east-1:123456789012:parameter/psa/test/{path}");
    let read = ["config", "config/*", "files/*", "secrets", "secrets/*"].map(parameter);
    let read: Vec<&str> = read.iter().map(String::as_str).collect();
    let streams =
        ["prefect*", "/prefect/*"].map(|group| format!("arn:aws:logs:*:123456789012:log-group:{group}:log-stream:*"));
    role(
        "lambda.amazonaws.com",
        vec![
            allow(
                &[
                    "sqs:ChangeMessageVisibility",
                    "sqs:DeleteMessage",
                    "sqs:GetQueueAttributes",
                    "sqs:ReceiveMessage",
                    "sqs:SendMessage",
                ],
                &["arn:aws:sqs:us-east-1:123456789012:psa-task-events"],
                Value::Null,
            ),
            allow(&["sqs:SendMessage"], &["arn:aws:sqs:us-east-1:123456789012:psa-task-events-failures"], Value::Null),
            allow(&["ssm:GetParameter", "ssm:GetParametersByPath"], &read, Value::Null),
            allow(&["ssm:GetParameter", "ssm:PutParameter"], &[&parameter("state/*/deaths")], Value::Null),
            allow(&["ecs:DescribeTasks"], &["arn:aws:ecs:*:123456789012:task/*"], in_clusters()),
            allow(&["ecs:ListTasks"], &["*"], in_clusters()),
            allow(&["ecs:DeregisterTaskDefinition", "ecs:DescribeTaskDefinition"], &["*"], Value::Null),
            allow(&["logs:GetLogEvents"], &streams.each_ref().map(String::as_str), Value::Null),
        ],
    )
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
    iam.roles.insert("psa-PollRole-1".into(), poll_role());
    iam.roles.insert("psa-TaskEventsRole-1".into(), task_events_role());
    iam.roles.insert("execution".into(), execution_role());
    iam.roles.insert("task".into(), role("ecs-tasks.amazonaws.com", Vec::new()));
    let image = Image::Index(vec!["amd64".into(), "arm64".into()]);
    ecr.repositories.insert("flows".into(), [("1".to_owned(), image)].into());
    ecs.attached.insert(cluster, vec!["FARGATE".into(), "FARGATE_SPOT".into()]);
    quotas.values.insert("L-3032A538".into(), 6.0);
    logs.create_group(&world::route::Scope::default(), "prefect");
}
