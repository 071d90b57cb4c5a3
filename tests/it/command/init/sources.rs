//! Where it is taken from: the profile of Prefect's command line, the flags of Prefect 1, the service of today.

use super::{API_KEY, POOL, about, deployed, init, pool, role, stock};
use crate::command::process::end;
use crate::support::{Deployment, KEY};
use serde_json::{Value, json};
use world::prefect1::FlowRunSpec;
use world::prefect3::Auth;
use world::{Fault, FaultKind};

#[tokio::test]
async fn the_profile_of_prefects_command_line_and_the_version_of_the_server_are_taken() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &json!({}));
    deployment.world.prefect3(|prefect3| {
        prefect3.switches.auth = Auth::Keys { keys: vec![API_KEY.into()] };
        prefect3.switches.generation = world::prefect3::Generation::Two;
    });
    std::fs::create_dir(folder.path().join(".prefect")).unwrap();
    let url = deployment.world.prefect3_url();
    let profile =
        format!("active = \"work\"\n\n[profiles.work]\nPREFECT_API_URL = \"{url}\"\nPREFECT_API_KEY = \"{API_KEY}\"\n");
    std::fs::write(folder.path().join(".prefect/profiles.toml"), profile).unwrap();
    let mut command = init(&deployment, folder.path(), "--yes --json");
    command.env_remove("PREFECT_API_URL").env_remove("PREFECT_API_KEY");
    let outcome = end(command).await.well().json();
    assert_eq!(outcome["configuration"]["text"], format!("prefect: 2\napi: {url}\nwork_pool: {POOL}\n"));
    assert!(outcome["launches"][0]["run_task"].is_object(), "{outcome:#}");

    std::fs::write(
        folder.path().join(".prefect/profiles.toml"),
        "active = \"work\"\n[profiles.work]\nA = [\"geheim\"]",
    )
    .unwrap();
    let mut command = init(&deployment, folder.path(), "--yes");
    command.env_remove("PREFECT_API_URL");
    let wrong = end(command).await;
    assert!(wrong.stderr.contains("profiles.toml: line 3") && !wrong.stderr.contains("geheim"), "{wrong:?}");
    std::fs::remove_dir_all(folder.path().join(".prefect")).unwrap();
    let mut command = init(&deployment, folder.path(), "--yes");
    command.env_remove("PREFECT_API_URL");
    let nowhere = end(command).await;
    assert!(nowhere.stderr.contains("--api URL"), "{nowhere:?}");
}

#[tokio::test]
async fn the_flags_of_prefect_1_become_a_configuration_and_parameters() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kwargs.yaml"), "cluster: other\ntags: [{key: team, value: etl}]\n").unwrap();
    let flags = format!(
        "--prefect 1 --name etl --api {} -l prod -l etl -e TZ=UTC --cluster flows --task-role-arn {} \
         --execution-role-arn {} --run-task-kwargs kwargs.yaml --task-definition s3://bucket/base.yaml --log-level DEBUG",
        deployment.world.prefect1_url(),
        role("flows"),
        role("ecsTaskExecutionRole"),
    );
    let mut command = init(&deployment, folder.path(), &format!("{flags} --yes --json"));
    command.env("PREFECT__CLOUD__API_KEY", KEY);
    let outcome = end(command).await.well().json();
    let text = outcome["configuration"]["text"].as_str().unwrap();
    for line in [
        "prefect: 1",
        "name: etl",
        "labels: [etl, prod]",
        "env_vars: {\"TZ\": UTC}",
        "cluster: flows",
        "task_definition_path: s3://bucket/base.yaml",
        "run_task_kwargs: {\"cluster\": other, \"tags\": [{\"key\": team, \"value\": etl}]}",
    ] {
        assert!(text.lines().any(|written| written == line), "{line}: {text}");
    }
    assert_eq!(outcome["agent"], "etl");
    let parameters = &outcome["stack"]["parameters"];
    assert_eq!(parameters["S3ObjectArns"], "arn:aws:s3:::bucket/base.yaml", "{outcome:#}");
    assert_eq!(parameters["LogLevel"], "DEBUG");
    // The template is not there: what it asks for cannot be told, and that is said.
    assert!(about(&outcome, "the defaults")[0]["found"].as_str().unwrap().contains("base.yaml"), "{outcome:#}");

    // What flows bring along: the last runs that this agent takes tell.
    let own = json!({"type": "ECSRun", "task_role_arn": role("own"), "run_task_kwargs": {"cluster": "ml"}});
    let elsewhere = json!({"type": "ECSRun", "task_definition_path": "s3://flows/def.yaml"});
    for (run_config, labels) in [
        (own.clone(), ["prod"]),
        (own, ["prod"]),
        (elsewhere, ["etl"]),
        (json!({"type": "ECSRun", "task_role_arn": role("others")}), ["other"]),
    ] {
        deployment.schedule(FlowRunSpec {
            run_config,
            labels: crate::support::labels(&labels),
            ..FlowRunSpec::default()
        });
    }
    let flags = flags.replace("--task-definition s3://bucket/base.yaml", "--force");
    let mut command = init(&deployment, folder.path(), &format!("{flags} --yes --json"));
    command.env("PREFECT__CLOUD__API_KEY", KEY);
    let outcome = end(command).await.well().json();
    let parameters = &outcome["stack"]["parameters"];
    let roles = [role("ecsTaskExecutionRole"), role("flows"), role("own")].join(",");
    assert_eq!(parameters["PassableRoleArns"], json!(roles), "{outcome:#}");
    let cluster = |name: &str| format!("arn:aws:ecs:us-east-1:{}:cluster/{name}", world::ACCOUNT);
    assert_eq!(parameters["ClusterArns"], json!([cluster("flows"), cluster("ml")].join(",")), "{outcome:#}");
    assert_eq!(parameters["S3ObjectArns"], "arn:aws:s3:::flows/def.yaml", "{outcome:#}");
    let askers: Vec<&Value> = outcome["launches"].as_array().unwrap().iter().map(|one| &one["asker"]).collect();
    assert_eq!(askers, ["My Flow", "My Flow", "the defaults"], "the agent's own defaults count too: {outcome:#}");

    let mut command = init(&deployment, folder.path(), &format!("{flags} --yes"));
    command.env("PREFECT__CLOUD__API_KEY", "wrong-wrong-wrong");
    let refused = end(command).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("PREFECT__CLOUD__API_KEY"), "{refused:?}");
    assert!(!refused.stderr.contains("wrong-wrong-wrong"), "{refused:?}");
}

#[tokio::test]
async fn the_service_of_a_python_worker_says_what_it_runs() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &stock());
    deployed(&deployment, "daily", json!({}));
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec![API_KEY.into()] });
    let service = |environment: Value, secrets: Value| {
        json!({
            "family": "worker", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "executionRoleArn": role("ecsTaskExecutionRole"),
            "containerDefinitions": [{
                "name": "worker", "image": "prefecthq/prefect:3-latest", "environment": environment, "secrets": secrets,
                "command": ["sh", "-c", format!(
                    "pip install prefect-aws && prefect worker start --pool {POOL} --type ecs --limit 5 --name old -q default"
                )],
            }],
        })
    };
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let url = variable("PREFECT_API_URL", &deployment.world.prefect3_url());
    let level = variable("PREFECT_LOGGING_LEVEL", "DEBUG");
    let open = service(json!([url, variable("PREFECT_API_KEY", API_KEY), level]), json!([]));
    deployment.world.ecs_service("infra", "worker", &open);
    let closed = service(
        json!([url]),
        json!([{"name": "PREFECT_API_KEY", "valueFrom": "arn:aws:ssm:us-east-1:123456789012:parameter/team/k"}]),
    );
    deployment.world.ecs_service("infra", "closed", &closed);
    let from = |line: &str| {
        let mut command = init(&deployment, folder.path(), &format!("--from-service {line}"));
        command.env_remove("PREFECT_API_URL").env_remove("PREFECT_API_KEY");
        command
    };

    let outcome = end(from("infra/worker --yes --json")).await.well().json();
    let expected = format!(
        "prefect: 3\napi: {}\nwork_pool: {POOL}\nname: old\nwork_queues: [default]\nlimit: 5\n\
         worker_env: {{\"PREFECT_LOGGING_LEVEL\": DEBUG}}\n",
        deployment.world.prefect3_url()
    );
    assert_eq!(outcome["configuration"]["text"], expected);
    assert!(outcome["next"].to_string().contains("--cluster infra --service worker --desired-count 0"), "{outcome:#}");
    assert!(!outcome.to_string().contains(API_KEY), "{outcome:#}");

    let closed = end(from("infra/closed --yes")).await;
    assert!(closed.code == Some(1) && closed.stderr.contains("aws ssm get-parameter --with-decryption"), "{closed:?}");
    assert!(closed.stderr.contains("--read-secrets"), "{closed:?}");
    deployment.world.put_secret("/team/k", API_KEY);
    let read = end(from("infra/closed --yes --read-secrets --force")).await.well();
    assert!(read.stdout.contains("hello/daily: ok") && !format!("{read:?}").contains(API_KEY), "{read:?}");
    // This shell's own API and key are another's.
    let mut foreign = init(&deployment, folder.path(), "--from-service infra/closed --yes --force");
    foreign.env("PREFECT_API_KEY", API_KEY);
    let foreign = end(foreign).await;
    assert!(foreign.code == Some(1) && foreign.stderr.contains("--read-secrets"), "{foreign:?}");
    let parameter = |name: &str, at: &str| json!({"name": name, "valueFrom": at});
    let secrets = json!([parameter("PREFECT_API_URL", "/team/url"), parameter("PREFECT_API_KEY", "/team/k")]);
    deployment.world.ecs_service("infra", "hidden", &service(json!([]), secrets));
    deployment.world.put_secret("/team/url", &deployment.world.prefect3_url());
    let hidden = |line: &str| {
        let mut command =
            init(&deployment, folder.path(), &format!("--from-service infra/hidden --yes --force {line}"));
        command.env("PREFECT_API_URL", "http://127.0.0.1:9/api").env("PREFECT_API_KEY", "pnu_of-the-operator");
        command
    };
    let unread = end(hidden("")).await;
    assert!(
        unread.code == Some(1) && unread.stderr.contains("PREFECT_API_URL is a secret of the service"),
        "{unread:?}"
    );
    end(hidden("--read-secrets")).await.well();
    let text = std::fs::read_to_string(folder.path().join(format!("{POOL}.yaml"))).unwrap();
    assert!(text.contains(&deployment.world.prefect3_url()), "{text}");
    // One that names neither does not get the operator's key.
    deployment.world.ecs_service("infra", "bare", &service(json!([]), json!([])));
    let mut bare = init(&deployment, folder.path(), "--from-service infra/bare --yes --force");
    bare.env("PREFECT_API_KEY", API_KEY);
    let bare = end(bare).await;
    assert!(bare.code == Some(1) && bare.stderr.contains("the service's definition does not say it"), "{bare:?}");

    let none = end(from("infra/nobody --yes")).await;
    assert!(none.stderr.contains("no service \"nobody\" in the cluster \"infra\""), "{none:?}");
    let none = end(from("nowhere/nobody --yes")).await;
    assert!(none.stderr.contains("ClusterNotFoundException"), "{none:?}");
    assert!(end(from("worker --yes")).await.stderr.contains("CLUSTER/SERVICE"));
    // What AWS says is shown as what it is, and not as commands to the terminal.
    let kind = FaultKind::AwsError { status: 400, code: "Odd\u{1b}[2J".into(), message: "no\u{1b}[2J\r".into() };
    let (service, operation) = ("ecs".into(), "DescribeServices".into());
    deployment.world.fault(Fault { service, operation, body_contains: None, skip: 0, count: 9, kind });
    let odd = end(from("infra/worker --yes")).await;
    assert!(odd.stderr.contains("DescribeServices") && !odd.stderr.contains(['\u{1b}', '\r']), "{odd:?}");
}
