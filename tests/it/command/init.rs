//! `prefect-serverless-agent init`: from what exists to a configuration, the stack's parameters, and what will not work.

mod asked;
mod differences;
mod others;
mod permissions;
mod sources;

use super::process::{agent, end};
use crate::support::{Deployment, ROOT};
use serde_json::{Map, Value, json};
use std::path::Path;
use tokio::process::Command;
use world::prefect3::{Auth, DeploymentSpec, POOL, PoolSpec, RunSpec, Worker};
use world::{Fault, FaultKind};

/// The template that Prefect's own worker writes for an `ecs` pool.
const TEMPLATE: &str = include_str!("../../../src/platform/ecs/work_pool_template/prefect3.json");

/// The key that the server knows.
const API_KEY: &str = "pnu_the-key-of-init";

/// `init` in a folder of its own, logged in.
fn init(deployment: &Deployment, folder: &Path, line: &str) -> Command {
    let mut command = agent(deployment, &format!("init {line}"));
    command.current_dir(folder).env("HOME", folder);
    command.env("PREFECT_API_URL", deployment.world.prefect3_url()).env("PREFECT_API_KEY", API_KEY);
    command
}

/// The template with these defaults of its variables.
fn template(defaults: &Value) -> Value {
    let mut template: Value = serde_json::from_str(TEMPLATE).unwrap();
    for (name, value) in defaults.as_object().unwrap() {
        template["variables"]["properties"][name]["default"] = value.clone();
    }
    template
}

fn pool(deployment: &Deployment, name: &str, kind: &str, defaults: &Value) {
    let spec =
        PoolSpec { name: name.into(), kind: kind.into(), base_job_template: template(defaults), ..PoolSpec::default() };
    deployment.world.prefect3_pool(spec);
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn deployed(deployment: &Deployment, name: &str, job_variables: Value) -> String {
    let job_variables = object(job_variables);
    deployment.world.prefect3_deployment(DeploymentSpec {
        name: name.into(),
        job_variables,
        ..DeploymentSpec::default()
    })
}

fn role(name: &str) -> String {
    format!("arn:aws:iam::{}:role/{name}", world::ACCOUNT)
}

/// What a stock account's pool says: the role that every account has, one cluster, logs.
fn stock() -> Value {
    json!({
        "cluster": "flows", "execution_role_arn": role("ecsTaskExecutionRole"), "task_role_arn": role("flows"),
        "configure_cloudwatch_logs": true,
    })
}

fn about<'a>(outcome: &'a Value, about: &str) -> Vec<&'a Value> {
    outcome["findings"].as_array().unwrap().iter().filter(|finding| finding["about"] == about).collect()
}

#[tokio::test]
async fn a_stock_pool_becomes_a_configuration_and_exactly_the_parameters_that_its_runs_need() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &stock());
    deployed(&deployment, "daily", json!({}));
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec![API_KEY.into()] });

    let outcome = end(init(&deployment, folder.path(), "--yes --json")).await.well().json();
    let cluster = format!("arn:aws:ecs:us-east-1:{}:cluster/flows", world::ACCOUNT);
    let logs = format!("arn:aws:logs:us-east-1:{}:log-group:prefect:log-stream:*", world::ACCOUNT);
    let roles = format!("{},{}", role("ecsTaskExecutionRole"), role("flows"));
    let expected = json!({"ClusterArns": cluster, "PassableRoleArns": roles, "TaskLogArns": logs});
    assert_eq!(outcome["stack"]["parameters"], expected, "{outcome:#}");
    let sam = outcome["commands"]["sam"].as_str().unwrap();
    assert!(sam.starts_with("sam deploy --stack-name prefect-serverless-agent --region us-east-1 "), "{sam}");
    assert!(sam.contains(&format!("PassableRoleArns={roles}")) && !sam.contains("ParameterRoot"), "{sam}");

    let file = folder.path().join(format!("{POOL}.yaml"));
    let text = std::fs::read_to_string(file).unwrap();
    let api = deployment.world.prefect3_url();
    assert_eq!(text, format!("prefect: 3\napi: {api}\nwork_pool: {POOL}\n"));
    assert_eq!(outcome["secrets"], json!([format!("/prefect-serverless-agent/prod/secrets/{POOL}/api-key")]));
    assert!(!outcome.to_string().contains(API_KEY), "the key is not shown");
    // Nothing was written anywhere else.
    let writes = ["PutParameter", "RegisterTaskDefinition", "RunTask"];
    assert!(deployment.world.requests("*", "*").iter().all(|request| !writes.contains(&request.operation.as_str())));
    assert_eq!(deployment.world.count("prefect3", "heartbeat"), 0, "it shows no sign of life");

    let again = end(init(&deployment, folder.path(), "--yes --root /psa/test")).await.well();
    assert!(again.stdout.contains("ParameterRoot=/psa/test") && again.stdout.contains("hello/daily: ok"), "{again:?}");
    assert!(again.stdout.contains("prefect-serverless-agent check --root /psa/test"), "{again:?}");
    assert!(again.stdout.contains("init --guardrails writes what they ask for today"), "{again:?}");
    assert!(!again.stdout.contains(API_KEY) && !again.stderr.contains(API_KEY), "{again:?}");
}

#[tokio::test]
async fn deployments_with_roles_clusters_and_logs_of_their_own_are_all_counted_and_those_that_fail_are_named() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &json!({"execution_role_arn": role("ecsTaskExecutionRole")}));
    deployed(&deployment, "one", json!({"task_role_arn": role("one"), "cluster": "etl"}));
    let logs = json!({
        "configure_cloudwatch_logs": true, "cloudwatch_logs_options": {"awslogs-group": "/company/two"},
        "execution_role_arn": role("team/exec"),
    });
    deployed(&deployment, "two", logs);
    deployed(&deployment, "wrong", json!({"vpc_id": 7, "network_configuration": {"subnets": ["subnet-1"]}}));

    let outcome = end(init(&deployment, folder.path(), "--yes --json")).await.well().json();
    let cluster = |name: &str| format!("arn:aws:ecs:us-east-1:{}:cluster/{name}", world::ACCOUNT);
    let parameters = &outcome["stack"]["parameters"];
    assert_eq!(parameters["ClusterArns"], json!([cluster("default"), cluster("etl")].join(",")));
    let roles = [role("ecsTaskExecutionRole"), role("one"), role("team/exec")].join(",");
    assert_eq!(parameters["PassableRoleArns"], json!(roles));
    let group = format!("arn:aws:logs:us-east-1:{}:log-group:/company/two:log-stream:*", world::ACCOUNT);
    assert_eq!(parameters["TaskLogArns"], json!(group));
    let [wrong] = about(&outcome, "hello/wrong").try_into().unwrap();
    assert_eq!(wrong["level"], "problem", "{wrong:#}");
    assert!(wrong["found"].as_str().unwrap().contains("vpc_id"), "{wrong:#}");
}

#[tokio::test]
async fn definitions_that_exist_are_looked_up_and_what_runs_in_another_account_is_reached_by_its_role() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &json!({}));
    let definition = json!({
        "family": "team", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
        "taskRoleArn": role("team-task"), "executionRoleArn": role("team-execution"),
        "containerDefinitions": [{
            "name": "prefect", "image": "x",
            "logConfiguration": {"logDriver": "awslogs", "options": {
                "awslogs-group": "/team", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "flows",
            }},
        }],
    });
    deployment.world.ecs_service("infra", "seed", &definition);
    deployed(&deployment, "named", json!({"task_definition_arn": "team:1"}));
    deployed(&deployment, "gone", json!({"task_definition_arn": "team:7"}));
    let launcher = "arn:aws:iam::210987654321:role/launcher";
    let elsewhere = json!({
        "aws_credentials": {"assume_role_arn": launcher, "region_name": "eu-west-1"},
        "execution_role_arn": "arn:aws:iam::210987654321:role/there", "cluster": "there",
    });
    deployed(&deployment, "elsewhere", elsewhere);

    let outcome = end(init(&deployment, folder.path(), "--yes --json")).await.well().json();
    let parameters = &outcome["stack"]["parameters"];
    let expected = json!({
        "ClusterArns": format!("arn:aws:ecs:us-east-1:{}:cluster/default", world::ACCOUNT),
        "PassableRoleArns": format!("{},{}", role("team-execution"), role("team-task")),
        "AssumableRoleArns": launcher,
        "TaskLogArns": format!("arn:aws:logs:us-east-1:{}:log-group:/team:log-stream:*", world::ACCOUNT),
        "ForwardingAccountIds": "210987654321",
    });
    assert_eq!(*parameters, expected, "{outcome:#}");
    let [gone] = about(&outcome, "team:7").try_into().unwrap();
    assert!(gone["level"] == "warning" && gone["next"].as_str().unwrap().contains("PassableRoleArns"), "{gone:#}");
    // The worst comes first; that the key cannot be a secret there is only worth knowing.
    let [elsewhere, _] = about(&outcome, "hello/elsewhere").try_into().unwrap();
    let next = elsewhere["next"].as_str().unwrap();
    assert!(next.contains("infra/forward-events.yaml") && next.contains("must trust"), "{elsewhere:#}");
}

#[tokio::test]
async fn a_role_of_another_account_is_asked_for_with_the_id_that_it_wants() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &stock());
    deployed(&deployment, "daily", json!({"task_definition_arn": "flows:1"}));
    let launcher = "arn:aws:iam::210987654321:role/launcher";
    let line = format!("--yes --json --assume-role-arn {launcher} --assume-role-external-id 6f1d2c3b");
    let outcome = end(init(&deployment, folder.path(), &line)).await.well().json();
    let text = outcome["configuration"]["text"].as_str().unwrap();
    assert!(text.contains(&format!("assume_role_arn: {launcher}\nassume_role_external_id: ")), "{text}");
    assert_eq!(outcome["stack"]["parameters"]["AssumableRoleArns"], launcher, "{outcome:#}");
    let asked = deployment.world.requests("sts", "AssumeRole");
    assert!(!asked.is_empty() && asked.iter().all(|one| one.body.contains("ExternalId=6f1d2c3b")), "{asked:?}");
}

#[tokio::test]
async fn what_will_not_work_as_it_is_is_said_with_what_to_do() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &json!({"image": "1.dkr.ecr.us-east-1.amazonaws.com/flows:1"}));
    deployed(&deployment, "daily", json!({}));
    deployment.world.prefect3_pause(POOL, None, true).unwrap();
    deployment.world.prefect3(|prefect3| {
        let pool = prefect3.work_pools.iter().find(|pool| pool.name == POOL).unwrap();
        prefect3.workers.push(Worker {
            id: "0a7b6c9e-1f5a-4f7b-8f4c-2d9d1a0b3c55".into(),
            created: pool.created,
            work_pool_id: pool.id.clone(),
            name: "ECSWorker old".into(),
            last_heartbeat_time: pool.created,
            heartbeat_interval_seconds: Some(30),
            online: true,
            metadata: Value::Null,
        });
    });

    let outcome =
        end(init(&deployment, folder.path(), "--yes --json --work-queue gone --prefect 3")).await.well().json();
    let found: Vec<&str> = about(&outcome, POOL).iter().map(|one| one["found"].as_str().unwrap()).collect();
    assert!(found.iter().any(|found| found.contains("paused")), "{outcome:#}");
    assert!(found.iter().any(|found| found.contains("ECSWorker old")), "{outcome:#}");
    assert_eq!(about(&outcome, "gone")[0]["level"], "problem", "{outcome:#}");
    // None of the deployments is served, so that the defaults count; they lack an execution role.
    // The worst comes first; that the key cannot be a secret is only worth knowing.
    let [defaults, _] = about(&outcome, "the defaults").try_into().unwrap();
    assert_eq!(defaults["level"], "problem", "{defaults:#}");
    assert!(defaults["found"].as_str().unwrap().contains("no execution role"), "{defaults:#}");
    let askers: Vec<&Value> = outcome["launches"].as_array().unwrap().iter().map(|one| &one["asker"]).collect();
    assert_eq!(askers, ["the defaults", "hello/daily"], "{outcome:#}");
    assert!(about(&outcome, "api")[0]["found"].as_str().unwrap().contains("this machine"), "{outcome:#}");
    let shown = end(init(&deployment, folder.path(), "--yes")).await;
    assert!(shown.stderr.contains("--force"), "another configuration is not overwritten: {shown:?}");
    let shown = end(init(&deployment, folder.path(), "--yes --force")).await.well();
    assert!(
        shown.stdout.contains("✘ hello/daily: the image") && shown.stdout.contains("next: set execution_role_arn"),
        "{shown:?}"
    );
}

#[tokio::test]
async fn a_key_that_is_refused_and_pools_that_cannot_be_served_end_it_before_anything_is_written() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec!["pnu_another".into()] });
    let refused = end(init(&deployment, folder.path(), "--yes")).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stderr.contains("refused the credentials") && refused.stderr.contains("--key-stdin"),
        "{refused:?}"
    );
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::None);

    let none = end(init(&deployment, folder.path(), "--yes")).await;
    assert!(none.stderr.contains("no work pool of type ecs") && none.stderr.contains("work-pool create"), "{none:?}");
    pool(&deployment, "images", "docker", &json!({}));
    pool(&deployment, "pushed", "ecs:push", &json!({}));
    let unknown = end(init(&deployment, folder.path(), "--yes --work-pool nowhere")).await;
    assert!(unknown.stderr.contains("\"nowhere\"") && unknown.stderr.contains("images (docker)"), "{unknown:?}");
    let odd = json!([{"name": "odd", "type": "ecs"}]).to_string();
    let kind = FaultKind::Status { status: 200, body: odd, content_type: "application/json".into() };
    let (service, operation) = ("prefect3".into(), "work_pools/filter".into());
    deployment.world.fault(Fault { service, operation, body_contains: None, skip: 0, count: 1, kind });
    let odd = end(init(&deployment, folder.path(), "--yes")).await;
    assert!(odd.stderr.contains("no work pool of type ecs was found, only these: 1 that cannot"), "{odd:?}");
    for (name, said) in [("images", "is of type \"docker\""), ("pushed", "push pool")] {
        let wrong = end(init(&deployment, folder.path(), &format!("--yes --work-pool {name}"))).await;
        assert!(wrong.code == Some(1) && wrong.stderr.contains(said), "{wrong:?}");
    }
    pool(&deployment, "a", "ecs", &json!({}));
    pool(&deployment, "b", "ecs", &json!({}));
    let several = end(init(&deployment, folder.path(), "")).await;
    assert!(several.stderr.contains("a (ecs), b (ecs)") && several.stderr.contains("--work-pool"), "{several:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was written");
}

#[tokio::test]
async fn written_to_parameter_store_the_function_polls_with_it() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &stock());
    deployment.world.ecs_cluster("flows");
    deployed(&deployment, "daily", json!({}));
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec![API_KEY.into()] });
    let line = format!("--write --root {ROOT} --agent etl");
    let unasked = end(init(&deployment, folder.path(), &line)).await;
    assert!(unasked.stderr.contains("--yes") && deployment.world.parameter(&format!("{ROOT}/config/etl")).is_none());

    let written = end(init(&deployment, folder.path(), &format!("{line} --yes"))).await.well();
    assert!(written.stdout.contains("secrets/etl/api-key is written (SecureString)"), "{written:?}");
    assert!(!written.stdout.contains(API_KEY) && !written.stderr.contains(API_KEY), "{written:?}");
    let key = deployment.world.parameter(&format!("{ROOT}/secrets/etl/api-key")).unwrap();
    assert_eq!((key.value.as_str(), key.kind.as_str()), (API_KEY, "SecureString"));
    let run = deployment.world.prefect3_run(world::prefect3::RunSpec::default());
    let report = deployment.poll().await;
    assert_eq!(crate::support::ids(&report["agents"]["etl"], "launched"), [run], "{report:#}");

    let again = end(init(&deployment, folder.path(), &format!("{line} --yes"))).await.well();
    assert!(again.stdout.contains("holds it already") && again.stdout.contains("says this already"), "{again:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file was written");

    // Another's configuration and key are not written over unless that is said.
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::None);
    let writes = deployment.world.count("ssm", "PutParameter");
    let other = |line: &str| {
        let mut command = init(&deployment, folder.path(), &format!("{line} --yes --limit 3"));
        command.env("PREFECT_API_KEY", "pnu_of-somebody-else");
        command
    };
    let refused = end(other(&line)).await;
    let (config, key) = (format!("{ROOT}/config/etl"), format!("{ROOT}/secrets/etl/api-key"));
    for said in [config.as_str(), &key, "--force", "--agent"] {
        assert!(refused.code == Some(1) && refused.stderr.contains(said), "{said}: {refused:?}");
    }
    assert_eq!(deployment.world.count("ssm", "PutParameter"), writes);
    end(other(&format!("{line} --force"))).await.well();
    assert!(deployment.world.parameter(&config).unwrap().value.contains("limit: 3"));
    assert_eq!(deployment.world.parameter(&key).unwrap().value, "pnu_of-somebody-else");
}

#[tokio::test]
async fn guardrails_are_proposed_that_allow_what_runs_ask_for_today_and_nothing_else() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &stock());
    deployment.world.ecs_cluster("flows");
    let daily = deployed(&deployment, "daily", json!({"cpu": 512, "memory": 1024, "image": "company/flows:1"}));
    let line = format!("--write --root {ROOT} --agent etl --yes --json --guardrails");
    let outcome = end(init(&deployment, folder.path(), &line)).await.well().json();
    let text = outcome["configuration"]["text"].as_str().unwrap();
    let line = text.lines().find(|line| line.starts_with("guardrails: ")).unwrap();
    for part in
        ["\"mode\": report", "\"images\": [\"company/flows:*\"]", "\"cpu\": {\"max\": 512}", "\"command\": false"]
    {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!(about(&outcome, "guardrails").len(), 1, "{outcome:#}");
    // Enforced as they are, today's runs are launched and others are not.
    let parameter = format!("{ROOT}/config/etl");
    let written = deployment.world.parameter(&parameter).unwrap().value;
    deployment.world.put_parameter(&parameter, &written.replace("\"mode\": report", "\"mode\": enforce"));
    let run = |job_variables: Value| {
        let spec =
            RunSpec { deployment: Some(daily.clone()), job_variables: object(job_variables), ..RunSpec::default() };
        deployment.world.prefect3_run(spec)
    };
    let (launched, refused) = (run(json!({})), run(json!({"cpu": 1024})));
    let report = deployment.poll().await;
    assert_eq!(crate::support::ids(&report["agents"]["etl"], "launched"), [launched], "{report:#}");
    let failed = &report["agents"]["etl"]["failed"][0];
    assert_eq!(failed["flow_run_id"], json!(refused), "{report:#}");
    assert!(failed["reason"].as_str().unwrap().contains("`cpu`: 1024 in "), "{report:#}");
}

#[tokio::test]
async fn no_secret_of_a_template_of_a_variable_or_of_an_address_is_shown() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let mut template = template(&json!({}));
    let container = &mut template["job_configuration"]["task_definition"]["containerDefinitions"][0];
    container["environment"] = json!([{"name": "DB_URL", "value": "of-the-template"}]);
    let options = json!({"splunk-token": "of-the-template", "splunk-url": "https://splunk.example"});
    container["logConfiguration"] = json!({"logDriver": "splunk", "options": options});
    let spec = PoolSpec { name: POOL.into(), kind: "ecs".into(), base_job_template: template, ..PoolSpec::default() };
    deployment.world.prefect3_pool(spec);
    deployed(&deployment, "daily", json!({"env": {"KEY": "of-the-run"}}));
    for (line, is_json) in [("--json", true), ("", false), ("--write --agent etl -e TOKEN=of-a-flag", false)] {
        let shown = end(init(&deployment, folder.path(), &format!("--yes {line}"))).await.well();
        for secret in ["of-the-template", "of-the-run", "of-a-flag"] {
            assert!(!format!("{shown:?}").contains(secret), "{secret}: {shown:?}");
        }
        if is_json {
            let outcome = shown.json();
            let container = &outcome["launches"][0]["register_task_definition"]["containerDefinitions"][0];
            assert_eq!(container["environment"], json!([{"name": "DB_URL", "value": ""}]), "{outcome:#}");
        }
    }
    // What is written is what was given.
    let written = deployment.world.parameter("/prefect-serverless-agent/prod/config/etl").unwrap().value;
    assert!(written.contains("of-a-flag"), "{written}");
    // An address with a password is refused, without it.
    let mut guarded = init(&deployment, folder.path(), "--yes");
    guarded.env("PREFECT_API_URL", deployment.world.prefect3_url().replace("://", "://etl:of-the-address@"));
    let guarded = end(guarded).await;
    assert!(guarded.code == Some(1) && guarded.stderr.contains("user or password"), "{guarded:?}");
    assert!(!guarded.stderr.contains("of-the-address"), "{guarded:?}");
}

#[tokio::test]
async fn what_others_wrote_is_no_command_to_the_terminal() {
    const ODD: &str = "o\u{1b}[2Jd\r\nd";
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    let spec = |name: &str, kind: &str| PoolSpec {
        name: name.into(),
        kind: kind.into(),
        base_job_template: template(&json!({"image": format!("1.dkr.ecr.us-east-1.amazonaws.com/{ODD}:1")})),
        ..PoolSpec::default()
    };
    let pool_name = format!("ecs {ODD}");
    for (name, kind) in [(pool_name.as_str(), "ecs"), (ODD, ODD)] {
        deployment.world.prefect3_pool(spec(name, kind));
    }
    deployment.world.prefect3_deployment(DeploymentSpec {
        name: ODD.into(),
        flow: ODD.into(),
        work_pool: pool_name.clone(),
        job_variables: object(json!({"cluster": ODD, "task_role_arn": ODD, "task_definition_arn": ODD})),
        ..DeploymentSpec::default()
    });
    deployment.world.prefect3_pause(&pool_name, None, true).unwrap();
    for line in ["--yes --agent etl", "--yes --agent etl --work-queue gone --force", "--yes --work-pool nowhere"] {
        let shown = end(init(&deployment, folder.path(), line)).await;
        assert!(format!("{shown:?}").contains("o [2Jd"), "it is shown: {shown:?}");
        for text in [&shown.stdout, &shown.stderr] {
            assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
            assert!(text.lines().all(|line| line != "d" && !line.starts_with("d ")), "no line of theirs: {text:?}");
        }
    }
}
