//! What `init` prints is held to what the functions then ask of AWS: written down for `tests/deploy/test_init.py`, which asks
//! the policies of the template about it.

use super::{POOL, init, object, pool, role, stock};
use crate::command::process::end;
use crate::support::{Deployment, KEY, ROOT, ids, labels};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use world::prefect1::FlowRunSpec;
use world::prefect3::{DeploymentSpec, RunSpec};

/// Services whose requests the role of `poll` must allow.
const AWS: [&str; 6] = ["ecs", "ec2", "ssm", "sts", "s3", "logs"];

/// What policies look at, in any request of the functions.
const LOOKED_AT: [&str; 9] =
    ["cluster", "taskDefinition", "family", "familyPrefix", "taskRoleArn", "executionRoleArn", "Path", "Name", "Names"];

/// A request's body as policies see it, without what is different each time.
fn seen(body: &Value) -> Value {
    let mut seen = json!({});
    for key in LOOKED_AT {
        if let Some(value) = body.get(key) {
            seen[key] = value.clone();
        }
    }
    for key in ["taskRoleArn", "executionRoleArn"] {
        if let Some(role) = body["overrides"].get(key) {
            seen["overrides"][key] = role.clone();
        }
    }
    if let Some(containers) = body["containerDefinitions"].as_array() {
        let group = |container: &Value| container["logConfiguration"]["options"]["awslogs-group"].clone();
        let logs = |container| json!({"logConfiguration": {"options": {"awslogs-group": group(container)}}});
        seen["containerDefinitions"] = containers.iter().map(logs).collect();
    }
    if body["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
        seen["tags"] = json!(["some"]);
    }
    seen
}

/// A deployment whose id is the same each time.
fn deployed_as(deployment: &Deployment, number: usize, job_variables: Value) -> String {
    deployment.world.prefect3_deployment(DeploymentSpec {
        id: Some(format!("00000000-0000-4000-8000-{number:012}")),
        name: format!("d{number}"),
        job_variables: object(job_variables),
        ..DeploymentSpec::default()
    })
}

/// Sets the agent up as `init` says, launches a run of each of these deployments, and writes both down. Problems of no others
/// than `broken` are found, and some of each.
async fn wrote_down(deployment: &Deployment, name: &str, deployments: &[String], every: u32, broken: &[&str]) {
    let due = || {
        for id in deployments {
            deployment.world.prefect3_run(RunSpec { deployment: Some(id.clone()), ..RunSpec::default() });
        }
        deployments.len()
    };
    wrote_down_by(deployment, name, (every, ""), due, broken).await;
}

/// The same with further flags, and with what makes runs due; how many.
async fn wrote_down_by(
    deployment: &Deployment,
    name: &str,
    (every, flags): (u32, &str),
    due: impl FnOnce() -> usize,
    broken: &[&str],
) {
    let folder = tempfile::tempdir().unwrap();
    let line = format!("--yes --json --write --agent etl --root {ROOT} --every {every} {flags}");
    let mut command = init(deployment, folder.path(), &line);
    command.env("PREFECT__CLOUD__API_KEY", KEY);
    let outcome = end(command).await.well().json();
    let problems = outcome["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "problem");
    let about: BTreeSet<&str> = problems.map(|problem| problem["about"].as_str().unwrap()).collect();
    assert_eq!(about, broken.iter().copied().chain(["api"]).collect(), "{:#}", outcome["findings"]);

    let before = deployment.world.requests("*", "*").len();
    let count = due();
    let report = deployment.poll().await;
    assert_eq!(ids(&report["agents"]["etl"], "launched").len(), count, "{report:#}");
    let requests = deployment.world.requests("*", "*").into_iter().skip(before);
    let requests: Vec<_> = requests.filter(|request| AWS.contains(&request.service.as_str())).collect();
    let form = |request: &world::Request| {
        let body = seen(&serde_json::from_str(&request.body).unwrap_or(Value::Null));
        let mut form = json!({"service": request.service, "operation": request.operation, "body": body});
        if request.service == "s3" {
            form["line"] = json!(request.line);
        }
        form.to_string()
    };
    // Each once, in an order that does not depend on who came first.
    let distinct: BTreeSet<String> = requests.iter().map(form).collect();
    let distinct: Vec<Value> = distinct.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let written = json!({
        "account": outcome["account"],
        "region": outcome["region"],
        "every": every,
        "parameters": outcome["stack"]["parameters"],
        "sam": outcome["commands"]["sam"],
        "cloudformation": outcome["commands"]["cloudformation"][1],
        "requests": distinct,
    });
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/deploy/init/{name}.json"));
    let text = format!("{written:#}\n");
    if std::env::var_os("PSA_WRITE_FIXTURES").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    assert_eq!(known, text, "{} is not what init and poll do: PSA_WRITE_FIXTURES=1 writes it anew", file.display());
}

#[tokio::test]
async fn the_stock_pool_of_a_stock_account() {
    let deployment = Deployment::empty().await;
    pool(&deployment, POOL, "ecs", &stock());
    deployment.world.ecs_cluster("flows");
    let daily = deployed_as(&deployment, 1, json!({}));
    wrote_down(&deployment, "stock", &[daily], 1, &[]).await;
}

#[tokio::test]
async fn three_deployments_with_roles_log_groups_and_clusters_of_their_own() {
    let deployment = Deployment::empty().await;
    pool(&deployment, POOL, "ecs", &json!({"execution_role_arn": role("ecsTaskExecutionRole")}));
    for cluster in ["etl", "ml"] {
        deployment.world.ecs_cluster(cluster);
    }
    let logs = |group: &str| json!({"awslogs-group": group});
    let deployments = [
        json!({"cluster": "etl", "task_role_arn": role("etl-flows"), "configure_cloudwatch_logs": true}),
        json!({
            "cluster": "ml", "task_role_arn": role("team/ml-flows"), "execution_role_arn": role("team/ml-execution"),
            "configure_cloudwatch_logs": true, "cloudwatch_logs_options": logs("/company/ml"),
        }),
        json!({"configure_cloudwatch_logs": true, "cloudwatch_logs_options": logs("/company/reports"), "cpu": 512}),
    ];
    let ids = (1..).zip(deployments).map(|(number, variables)| deployed_as(&deployment, number, variables));
    let ids: Vec<String> = ids.collect();
    wrote_down(&deployment, "hand_made", &ids, 1, &[]).await;
}

#[tokio::test]
async fn flows_of_prefect_1_with_templates_in_buckets_and_roles_of_their_own() {
    let deployment = Deployment::empty().await;
    for cluster in ["flows", "ml"] {
        deployment.world.ecs_cluster(cluster);
    }
    let template = |group: &str| {
        let logs =
            json!({"logDriver": "awslogs", "options": {"awslogs-group": group, "awslogs-stream-prefix": "flows"}});
        let flow = json!({"name": "flow", "logConfiguration": logs});
        json!({"cpu": "256", "memory": "512", "networkMode": "awsvpc", "containerDefinitions": [flow]}).to_string()
    };
    for (bucket, key, group) in [("company", "base.yaml", "/company/flows"), ("team", "ml/def.yaml", "/company/ml")] {
        deployment.world.lock().s3.put(bucket, key, template(group));
    }
    let own = json!({"type": "ECSRun", "task_role_arn": role("ml-flows"), "run_task_kwargs": {"cluster": "ml"},
                     "task_definition_path": "s3://team/ml/def.yaml"});
    let runs = [json!({"type": "ECSRun"}), own];
    for run_config in runs.clone() {
        deployment.schedule(FlowRunSpec { run_config, labels: labels(&["prod"]), ..FlowRunSpec::default() });
    }
    let flags = format!(
        "--prefect 1 --api {} -l prod --cluster flows --task-role-arn {} --execution-role-arn {} \
         --task-definition s3://company/base.yaml",
        deployment.world.prefect1_url(),
        role("flows"),
        role("ecsTaskExecutionRole"),
    );
    wrote_down_by(&deployment, "prefect_1", (1, &flags), || runs.len(), &[]).await;
}

#[tokio::test]
async fn job_variables_that_would_widen_the_policies_are_left_out_of_the_parameters() {
    let deployment = Deployment::empty().await;
    pool(&deployment, POOL, "ecs", &stock());
    deployment.world.ecs_cluster("flows");
    let daily = deployed_as(&deployment, 1, json!({}));
    let wide = [
        json!({"task_role_arn": "*"}),
        json!({"task_role_arn": "arn:aws:iam::*:role/*"}),
        json!({"task_role_arn": format!("a,{}", role("Admin"))}),
        json!({"execution_role_arn": role("a?")}),
        json!({"cluster": "*"}),
        json!({"cloudwatch_logs_options": {"awslogs-group": "*"}}),
        json!({"aws_credentials": {"assume_role_arn": "arn:aws:iam::*:role/x"}}),
    ];
    let broken: Vec<String> = (2..).take(wide.len()).map(|number| format!("hello/d{number}")).collect();
    for (number, variables) in (2..).zip(wide) {
        deployed_as(&deployment, number, variables);
    }
    let broken: Vec<&str> = broken.iter().map(String::as_str).collect();
    wrote_down(&deployment, "widening", &[daily], 5, &broken).await;
}
