#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value)]
use super::*;
use secrecy::ExposeSecret;

fn service(container: Value) -> Result<EcsService, String> {
    let definition =
        json!({"containerDefinitions": [{"name": "sidecar", "image": "x", "command": ["sleep"]}, container]});
    of_definition(definition.as_object().unwrap())
}

fn variables(pairs: &[(&str, &str)]) -> Value {
    pairs.iter().map(|(name, value)| json!({"name": name, "value": value})).collect()
}

#[test]
fn a_worker_is_read_from_its_command_and_its_environment() {
    let found = service(json!({
        "name": "worker", "image": "prefecthq/prefect:3.4-python3.12",
        "entryPoint": ["/bin/sh", "-c"],
        "command": ["pip install prefect-aws && prefect worker start --pool \"$POOL\" --type ecs -q a --work-queue=b \
                     --limit 5 --prefetch-seconds 20 --name 'my worker' --with-healthcheck; echo done"],
        "environment": variables(&[
            ("POOL", "ecs-pool"), ("PREFECT_API_URL", "https://p/api"), ("PREFECT_API_KEY", "pnu_geheim"),
            ("PREFECT_LOGGING_LEVEL", "DEBUG"), ("OTHER", "x"),
            ("PREFECT_API_DATABASE_CONNECTION_URL", "postgresql://u:geheim@h/db"),
            ("PREFECT_REDIS_MESSAGING_PASSWORD", "geheim"), ("PREFECT_X_TOKEN", "geheim"), ("PREFECT_X_SECRET", "geheim"),
            ("PREFECT_LOGGING_TO_API_KEY", "geheim"), ("PREFECT_X_CONNECTION_URL", "geheim"),
            ("PREFECT_X_BROKER", "redis://:geheim@h/0"),
        ]),
        "secrets": [{"name": "DB", "valueFrom": "arn:x"}],
    }))
    .unwrap();
    assert_eq!((found.prefect, found.work_pool.as_deref()), (Some("3"), Some("ecs-pool")));
    assert_eq!((found.api.as_deref(), found.name.as_deref()), (Some("https://p/api"), Some("my worker")));
    assert_eq!(found.secrets["PREFECT_API_KEY"].expose_secret(), "pnu_geheim");
    assert_eq!(found.stored["DB"], "arn:x");
    assert!(found.findings[0].found.ends_with("PREFECT_API_DATABASE_CONNECTION_URL"), "{:?}", found.findings);
    let left_out = "PREFECT_LOGGING_TO_API_KEY, PREFECT_REDIS_MESSAGING_PASSWORD, PREFECT_X_BROKER, \
                    PREFECT_X_CONNECTION_URL, PREFECT_X_SECRET, PREFECT_X_TOKEN";
    assert!(found.findings[1].found.ends_with(left_out), "{:?}", found.findings);
    assert!(!format!("{:?} {}", found.findings, found.draft.text()).contains("geheim"));
    assert_eq!(
        found.draft.text(),
        "work_queues: [a, b]\nlimit: 5\nprefetch_seconds: 20\nworker_env: {\"PREFECT_LOGGING_LEVEL\": DEBUG}\n"
    );
}

#[test]
fn an_agent_of_prefect_1_is_read_from_its_flags_and_its_variables() {
    let found = service(json!({
        "name": "agent", "image": "prefecthq/prefect:0.15.13",
        "command": ["prefect", "agent", "ecs", "start", "-l", "prod", "--cluster", "flows", "-e", "A=1", "--api", "https://p"],
        "environment": variables(&[
            ("PREFECT__CLOUD__API_KEY", "geheim"), ("PREFECT__CLOUD__AGENT__NAME", "etl"), ("PREFECT__BACKEND", "server"),
            ("PREFECT__LOGGING__LEVEL", "DEBUG"),
        ]),
    }))
    .unwrap();
    assert_eq!(
        (found.prefect, found.name.as_deref(), found.api.as_deref()),
        (Some("0.15"), Some("etl"), Some("https://p"))
    );
    assert_eq!((found.flags.labels, found.flags.cluster.as_deref()), (vec!["prod".to_owned()], Some("flows")));
    assert_eq!(found.secrets["PREFECT__CLOUD__API_KEY"].expose_secret(), "geheim");
    assert_eq!(found.draft.text(), "backend: server\nlogging_level: DEBUG\n");
}

#[test]
fn what_cannot_be_told_is_said_without_values() {
    let worker = |command: Value| {
        service(json!({
            "name": "worker", "image": "x", "command": command, "secrets": [{"name": "POOL", "valueFrom": "arn"}],
        }))
    };
    for (command, said) in [
        (json!(["python", "flow.py"]), "containers: sidecar, worker"),
        (json!(["prefect", "agent", "start", "-q", "x"]), "an agent of Prefect 2"),
        (json!(["prefect", "worker", "start", "--pool", "x", "--type", "docker"]), "of type \"docker\""),
        (json!(["sh", "-c", "prefect worker start --pool $POOL"]), "the secret POOL, which is not read"),
        (json!(["sh", "-c", "prefect worker start --pool ${NONE}x"]), "a variable NONE"),
        (json!(["prefect", "worker", "start", "--new-flag", "geheim"]), "--new-flag"),
        (json!(["prefect", "worker", "start", "--new-flag=geheim"]), "(--new-flag)"),
        (json!(["prefect", "worker", "start", "-zgeheim"]), "(-z)"),
        (json!(["prefect", "worker", "start", "geheim"]), "cannot be understood"),
        (json!(["prefect", "worker", "start", "--limit", "geheim"]), "(--limit)"),
        (json!(["prefect", "agent", "ecs", "start", "geheim"]), "cannot be understood"),
    ] {
        let error = worker(command).unwrap_err();
        assert!(error.contains(said) && !error.contains("geheim"), "{error}");
    }
}

#[test]
fn a_secret_in_parameter_store_is_told_by_its_name() {
    let home = Home::new(Ok("123456789012".into()), "eu-west-1");
    let of = |value_from: &str| parameter_of(value_from, &home);
    let shared = "arn:aws:ssm:eu-west-1:210987654321:parameter/team/key";
    assert_eq!(of(shared).as_deref(), Some(shared));
    // Whose account this is is not known: the ARN says whose parameter it is.
    let nobody = Home::new(Err("no credentials".into()), "eu-west-1");
    assert_eq!(parameter_of(shared, &nobody).as_deref(), Some(shared));
    assert_eq!(of("arn:aws:ssm:eu-west-1:123456789012:parameter/team/key").as_deref(), Some("/team/key"));
    assert_eq!(of("arn:aws:ssm:eu-west-1:123456789012:parameter/key").as_deref(), Some("key"));
    assert_eq!(of("/team/key").as_deref(), Some("/team/key"));
    for elsewhere in [
        "arn:aws:ssm:us-east-1:123456789012:parameter/key",
        "arn:aws:secretsmanager:eu-west-1:123456789012:secret:k-AbC",
        "arn:",
    ] {
        assert_eq!(of(elsewhere), None);
    }
}

#[test]
fn only_the_word_after_a_shells_c_is_a_script() {
    let started = |command: Value| service(json!({"name": "worker", "image": "x", "command": command}));
    let named =
        started(json!(["prefect", "worker", "start", "--pool", "my pool", "--name", "the one; and only"])).unwrap();
    assert_eq!((named.work_pool.as_deref(), named.name.as_deref()), (Some("my pool"), Some("the one; and only")));
    for flag in ["-c", "-lc", "-ec"] {
        let found = started(json!(["bash", flag, "exec prefect worker start --pool 'my pool'; true"])).unwrap();
        assert_eq!(found.work_pool.as_deref(), Some("my pool"), "{flag}");
    }
    // One word of a script may be all of it.
    assert!(started(json!(["sh", "-c", "/start.sh", "--pool x"])).is_err());
}

#[test]
fn only_the_tags_of_prefects_own_image_tell_its_version() {
    for (image, version) in [
        ("prefecthq/prefect:2.20.4-python3.11", "2.20.4"),
        ("docker.io/prefecthq/prefect:3-latest", "3"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/hub/prefecthq/prefect:0.15.13@sha256:12ab", "0.15.13"),
        ("prefecthq/prefect@sha256:12ab", ""),
        ("prefecthq/prefect", ""),
        ("company/prefect:2.0", ""),
        ("registry:5000/worker:2.1", ""),
        ("prefecthq/prefect-aws:2.1", ""),
    ] {
        assert_eq!(version_of(image), version, "{image}");
    }
    let ours =
        json!({"name": "w", "image": "company/worker:2.7.1", "command": ["prefect", "worker", "start", "-p", "x"]});
    assert_eq!(service(ours).unwrap().prefect, None, "the server tells");
}
