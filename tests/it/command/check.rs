//! `prefect-serverless-agent check`: every way to break a deployment is named by its code, and a healthy one by none.

mod account;
mod scene;

use super::process::{agent, end};
use crate::support::ROOT;
use crate::tls::tls_with;
use account::CLUSTER;
use futures_util::future::BoxFuture;
use scene::{KEY, QUEUE, Scene};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;
use world::prefect3::{DeploymentSpec, POOL, PoolSpec, Worker};
use world::{Fault, FaultKind};

const AUTHORITY: &str = include_str!("check/authority.pem");
const EXPIRED: &str = include_str!("check/expired.pem");
const EXPIRED_KEY: &str = include_str!("check/expired-key.pem");

const CERTIFICATE: &str = include_str!("../../../src/http/testdata/server.pem");
const CERTIFICATE_KEY: &str = include_str!("../../../src/http/testdata/server-key.pem");

/// A set-up that is broken: what it is called, what breaks it, what is found.
type Broken = (&'static str, fn(&Scene) -> BoxFuture<'_, ()>, &'static [&'static str]);

macro_rules! broken {
    ($name:literal, $found:expr, |$scene:ident| $break:expr) => {
        (
            $name,
            |$scene| {
                Box::pin(async move {
                    let _ = $break;
                })
            },
            &$found,
        )
    };
}

const BROKEN: &[Broken] = &[
    // Configuration.
    broken!("invalid configuration", ["PSA101"], |scene| scene
        .deployment
        .configure("etl", "prefect: 3\nwork_pol: x\n")),
    broken!("a plain String for a secret", ["PSA103"], |scene| {
        scene.delete("secrets/etl/api-key");
        scene.deployment.world.put_parameter(&format!("{ROOT}/secrets/etl/api-key"), KEY)
    }),
    broken!("no secret", ["PSA104"], |scene| scene.delete("secrets/etl/api-key")),
    broken!("a secret of nobody", ["PSA105"], |scene| scene.secret("gone/api-key", "x")),
    broken!("the state of nobody", ["PSA105"], |scene| {
        scene.deployment.world.put_parameter(&format!("{ROOT}/state/gone/status"), "{}")
    }),
    broken!("a document that is not there", ["PSA107"], |scene| scene.agent(json!({"ca_bundle": "ssm://shared/none"}))),
    broken!("no stack", ["PSA110"], |scene| scene.deployment.world.lock().cloudformation.stacks.clear()),
    broken!("no schedule", ["PSA111"], |scene| scene.deployment.world.lock().events.schedules.clear()),
    broken!("a disabled schedule", ["PSA112"], |scene| {
        scene.deployment.world.lock().events.schedules.get_mut("psa-poll").unwrap().state = "DISABLED".into()
    }),
    broken!("another interval than the schedule's", ["PSA113"], |scene| {
        scene.agent(json!({"poll_interval_seconds": 300}))
    }),
    // Prefect.
    broken!("nobody listens", ["PSA202"], |scene| scene.agent(json!({"api": "http://127.0.0.1:9/api"}))),
    broken!("a name that nobody knows", ["PSA201"], |scene| {
        scene.agent(json!({"api": "http://prefect.invalid/api"}))
    }),
    broken!("an expired certificate", ["PSA203"], |scene| {
        let api = tls_with(&scene.deployment, EXPIRED, EXPIRED_KEY).await + "/prefect3/api";
        scene.agent(json!({"api": api, "ca_bundle": AUTHORITY}));
    }),
    broken!("an unknown authority", ["PSA204"], |scene| {
        let api = tls_with(&scene.deployment, CERTIFICATE, CERTIFICATE_KEY).await + "/prefect3/api";
        scene.agent(json!({"api": api}));
    }),
    broken!("TLS where there is none", ["PSA205"], |scene| {
        scene.agent(json!({"api": scene.deployment.world.prefect3_url().replace("http:", "https:")}))
    }),
    broken!("a clock off by an hour", ["PSA207"], |scene| scene.deployment.world.advance(Duration::from_secs(3600))),
    broken!("a clock off by two minutes", ["PSA208"], |scene| scene.deployment.world.advance(Duration::from_secs(120))),
    broken!("a wrong key", ["PSA209"], |scene| scene.secret("etl/api-key", "pnu_wrong")),
    broken!("a key of another workspace", ["PSA210"], |scene| {
        let body = r#"{"detail": "Forbidden"}"#.to_owned();
        let kind = FaultKind::Status { status: 403, body, content_type: "application/json".into() };
        scene.deployment.world.fault(Fault::new("prefect3", "*", kind).always());
    }),
    broken!("an address without /api", ["PSA211"], |scene| {
        scene.agent(json!({"api": scene.deployment.world.prefect3_url() + "/v1"}))
    }),
    broken!("a server that fails", ["PSA212"], |scene| {
        let kind = FaultKind::Status { status: 500, body: "{}".into(), content_type: "application/json".into() };
        scene.deployment.world.fault(Fault::new("prefect3", "*", kind).always());
    }),
    broken!("an unknown pool", ["PSA221"], |scene| scene.agent(json!({"work_pool": "elsewhere"}))),
    broken!("a pool of another type", ["PSA222"], |scene| {
        scene.deployment.world.prefect3_pool(PoolSpec {
            name: "dock".into(),
            kind: "docker".into(),
            ..PoolSpec::default()
        });
        scene.agent(json!({"work_pool": "dock"}));
    }),
    broken!("a paused pool", ["PSA223"], |scene| scene.deployment.world.prefect3_pause(POOL, None, true).unwrap()),
    broken!("a missing queue", ["PSA224"], |scene| scene.agent(json!({"work_queues": ["default", "gpu"]}))),
    broken!("a paused queue", ["PSA225"], |scene| {
        scene.deployment.world.prefect3_pause(POOL, Some("default"), true).unwrap()
    }),
    broken!("a template that does not render", ["PSA226"], |scene| scene.account(|state| {
        let template = &mut state.prefect3.work_pools[0].base_job_template;
        template["job_configuration"]["name"] = json!("{{ prefect.blocks.string.gone }}");
    })),
    broken!("a deployment that does not render", ["PSA227"], |scene| scene.job(json!({
        "name": {"$ref": {"block_document_id": "11111111-1111-4111-8111-111111111111"}},
    }))),
    // Permissions.
    broken!("no permission to launch", ["PSA301"], |scene| scene.without("psa-PollRole-1", "ecs:RunTask")),
    broken!("another cluster than the stack's", ["PSA301"], |scene| scene.account(|state| {
        let policies = state.iam.roles.get_mut("psa-PollRole-1").unwrap().policies.iter_mut();
        policies.for_each(|policy| *policy = with_text(policy, "cluster/*", "cluster/other"));
    })),
    broken!("a role that may not be passed", ["PSA302"], |scene| {
        scene.account(|state| {
            let role = state.iam.roles["execution"].clone();
            state.iam.roles.insert("ecsTaskExecutionRole".into(), role);
        });
        scene.job(json!({"execution_role_arn": "arn:aws:iam::123456789012:role/ecsTaskExecutionRole"}));
    }),
    broken!("a boundary that denies", ["PSA302"], |scene| scene.account(|state| {
        let deny = json!({"Statement": {"Effect": "Deny", "Action": "iam:PassRole", "Resource": "*"}});
        state.iam.roles.get_mut("psa-PollRole-1").unwrap().policies.push(deny);
    })),
    broken!("a log group that may not be read", ["PSA303"], |scene| {
        scene.job(json!({"cloudwatch_logs_options": {"awslogs-group": "company"}}));
    }),
    broken!("a parameter that may not be read", ["PSA305"], |scene| {
        scene.deployment.world.put_parameter("/shared/ca", AUTHORITY);
        scene.agent(json!({"ca_bundle": "ssm://shared/ca"}));
    }),
    broken!("no permission to tag", ["PSA307"], |scene| scene.without("psa-PollRole-1", "ecs:TagResource")),
    // ECS.
    broken!("a missing cluster", ["PSA401"], |scene| scene.job(json!({"cluster": "elsewhere"}))),
    broken!("an inactive cluster", ["PSA402"], |scene| scene.account(|state| {
        state.ecs.cluster_states.insert(CLUSTER.into(), "INACTIVE".into());
    })),
    broken!("a capacity provider that is not attached", ["PSA403"], |scene| scene.job(json!({
        "launch_type": null, "capacity_provider_strategy": [{"capacityProvider": "gpu", "weight": 1}],
    }))),
    broken!("a size that Fargate does not have", ["PSA404"], |scene| scene.job(json!({"cpu": 256, "memory": 4096}))),
    broken!("a missing role", ["PSA405"], |scene| scene.account(|state| {
        state.iam.roles.remove("task");
    })),
    broken!("an execution role that trusts others", ["PSA406"], |scene| scene.account(|state| {
        let role = state.iam.roles.get_mut("execution").unwrap();
        role.trust = with_text(&role.trust, "ecs-tasks", "ec2");
    })),
    broken!("an execution role that may not read our key", ["PSA407"], |scene| {
        scene.without("execution", "ssm:GetParameters")
    }),
    broken!("an execution role that may not pull", ["PSA407"], |scene| scene.without("execution", "ecr:BatchGetImage")),
    broken!("a missing image tag", ["PSA408"], |scene| scene.account(|state| {
        state.ecr.repositories.get_mut("flows").unwrap().clear();
    })),
    broken!("an image for another processor", ["PSA409"], |scene| scene.account(|state| {
        let image = world::ecr::Image::Single("arm64".into());
        state.ecr.repositories.get_mut("flows").unwrap().insert("1".into(), image);
    })),
    broken!("a log group that nobody makes", ["PSA410"], |scene| scene.job(json!({
        "cloudwatch_logs_options": {"awslogs-group": "prefect-flows", "awslogs-create-group": "false"},
    }))),
    // Network.
    broken!("a missing subnet", ["PSA501"], |scene| scene
        .network(json!({"subnets": ["subnet-default-a", "subnet-gone"]}))),
    broken!("a missing security group", ["PSA502"], |scene| scene.network(json!({"securityGroups": ["sg-gone"]}))),
    broken!("subnets of two VPCs", ["PSA503"], |scene| {
        scene.account(|state| {
            let mut other = state.ec2.subnets[0].clone();
            (other.subnet_id, other.vpc_id) = ("subnet-other".into(), "vpc-other".into());
            state.ec2.subnets.push(other);
        });
        scene.network(json!({"subnets": ["subnet-default-a", "subnet-other"]}));
    }),
    broken!("no route", ["PSA504"], |scene| scene.account(|state| state.ec2.route_tables[0].way_out = None)),
    broken!("an internet gateway without a public address", ["PSA504"], |scene| {
        scene.network(json!({"assignPublicIp": "DISABLED"}))
    }),
    broken!("no address", ["PSA505"], |scene| scene.account(|state| state.ec2.subnets[0].free = 0)),
    broken!("no way out for 443", ["PSA506"], |scene| scene.account(|state| {
        state.ec2.security_groups[0].egress = vec![("tcp".into(), 5432, 5432)];
    })),
    // Quotas.
    broken!("more launches than the quota", ["PSA701"], |scene| scene.agent(json!({"launch_rate": 50}))),
    broken!("a task larger than the quota", ["PSA702"], |scene| scene.job(json!({"cpu": 8192, "memory": 16384}))),
    broken!("too few invocations", ["PSA703"], |scene| scene.account(|state| state.lambda.unreserved = Some(2))),
    broken!("a public URL", ["PSA704"], |scene| scene.account(|state| {
        state.cloudformation.stacks[1].parameters.insert("HealthAuthType".into(), "NONE".into());
    })),
    // Events.
    broken!("no rule", ["PSA601"], |scene| {
        scene.deployment.world.lock().events.rules.remove("psa-own");
    }),
    broken!("a disabled rule", ["PSA602"], |scene| {
        scene.deployment.world.lock().events.rules.get_mut("psa-own").unwrap().state = "DISABLED".into()
    }),
    broken!("a rule that calls nobody", ["PSA603"], |scene| {
        scene.deployment.world.lock().events.rules.get_mut("psa-own").unwrap().targets.clear()
    }),
    broken!("failures that wait", ["PSA604"], |scene| {
        scene.deployment.world.lock().sqs.queues.insert(QUEUE.into(), 3);
    }),
];

/// The same with another text in it.
fn with_text(value: &Value, from: &str, to: &str) -> Value {
    serde_json::from_str(&value.to_string().replace(from, to)).unwrap()
}

#[tokio::test]
async fn a_healthy_deployment_has_no_finding() {
    let scene = Scene::healthy().await;
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, &codes), (Some(0), &BTreeSet::new()), "{found:#}");
    assert_eq!(found["findings"], json!([]), "not even information: {found:#}");
    let ended = scene.run(&format!("--root {ROOT}")).await.well();
    println!("{}", ended.stdout);
    assert!(ended.stdout.contains("  ✔ ") && ended.stdout.contains("all is well: "), "{ended:?}");
    assert!(!ended.stdout.contains(KEY) && !ended.stdout.contains('\x1b') && ended.stderr.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn every_broken_deployment_is_named_by_its_code_alone() {
    let mut wrong = Vec::new();
    for chunk in BROKEN.chunks(4) {
        let checked = chunk.iter().map(|(name, broken, expected)| async move {
            let scene = Scene::healthy().await;
            broken(&scene).await;
            let (code, codes, found) = scene.codes().await;
            let expected: BTreeSet<String> = expected.iter().map(|code| (*code).to_owned()).collect();
            let is_failure = found["counts"]["failures"] != 0;
            let is_code = code == Some(if is_failure { 3 } else { 4 });
            (codes != expected || !is_code).then(|| format!("{name}: {code:?}, {expected:?} expected: {found:#}"))
        });
        wrong.extend(futures_util::future::join_all(checked).await.into_iter().flatten());
    }
    assert!(wrong.is_empty(), "{} of {} are not named:\n{}", wrong.len(), BROKEN.len(), wrong.join("\n"));
}

#[tokio::test]
async fn every_finding_says_whose_it_is_and_what_mends_it_without_secrets() {
    let scene = Scene::healthy().await;
    scene.secret("etl/api-key", "pnu_wrongkeyofthestory");
    let ended = scene.run(&format!("--root {ROOT}")).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let line = ended.stdout.lines().find(|line| line.contains("PSA209")).unwrap();
    assert!(line.starts_with("  ✘ PSA209 agent etl: "), "{line}");
    let next = ended.stdout.lines().find(|line| line.starts_with("      next: ")).unwrap();
    assert!(next.contains(&format!("--name {ROOT}/secrets/etl/api-key")), "{next}");
    assert!(ended.stdout.ends_with("1 failure, 0 warnings. TROUBLESHOOTING.md explains each code\n"), "{ended:?}");
    assert!(!ended.stdout.contains("pnu_"), "{ended:?}");
}

#[tokio::test]
async fn what_may_not_be_asked_is_unknown_and_no_failure() {
    let scene = Scene::healthy().await;
    for (service, operation) in [("scheduler", "*"), ("events", "DescribeRule"), ("sqs", "*")] {
        let kind = FaultKind::AwsError { status: 403, code: "AccessDeniedException".into(), message: "no".into() };
        scene.deployment.world.fault(Fault::new(service, operation, kind).always());
    }
    let (code, codes, found) = scene.codes().await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(codes, ["PSA199", "PSA699"].map(str::to_owned).into(), "{found:#}");
    assert!(found["findings"].to_string().contains("allow scheduler:GetSchedule"), "{found:#}");
}

#[tokio::test]
async fn before_it_is_deployed_only_what_is_there_is_looked_at() {
    let scene = Scene::healthy().await;
    scene.deployment.world.lock().cloudformation.stacks.clear();
    scene.run(&format!("--pre --root {ROOT}")).await.well();
    assert_eq!(scene.deployment.world.count("cloudformation", "*"), 0);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("etl.yaml");
    let api = scene.deployment.world.prefect3_url();
    std::fs::write(&file, format!("prefect: 3\napi: {api}\nwork_pool: {POOL}\n")).unwrap();
    let mut command = agent(&scene.deployment, &format!("check --config {}", file.display()));
    command.env("PREFECT_API_KEY", KEY);
    let ended = end(command).await.well();
    assert!(ended.stdout.contains("work pool ecs-pool: of type ecs"), "{ended:?}");
    let ended = scene.run(&format!("--config {}", file.display())).await;
    assert!(ended.code == Some(3) && ended.stdout.contains("PSA104 agent agent"), "{ended:?}");
}

#[tokio::test]
async fn arguments_that_are_wrong_are_two() {
    let scene = Scene::healthy().await;
    for (line, said) in [
        (String::new(), "--root ROOT"),
        (format!("--root {ROOT} --agent nobody"), "known are etl"),
        ("--config /no/such/file".to_owned(), "cannot read /no/such/file"),
        (format!("--root {ROOT} --config x"), "cannot be used with"),
        (format!("--root {ROOT} --timeout 1"), "--timeout"),
    ] {
        let ended = scene.run(&line).await;
        assert!(ended.code == Some(2) && ended.stderr.contains(said), "{line}: {ended:?}");
    }
}

#[tokio::test]
async fn another_worker_is_worth_knowing_and_nothing_is_written() {
    let scene = Scene::healthy().await;
    scene.deployment.world.prefect3(|prefect3| {
        let now = time::OffsetDateTime::now_utc();
        prefect3.workers.push(Worker {
            id: "22222222-2222-4222-8222-222222222222".into(),
            created: now,
            work_pool_id: prefect3.work_pools[0].id.clone(),
            name: "ECSWorker 1".into(),
            last_heartbeat_time: now,
            heartbeat_interval_seconds: Some(30),
            online: true,
            metadata: Value::Null,
        });
    });
    scene.deployment.world.lock().journal.clear();
    let (code, _, found) = scene.codes().await;
    assert_eq!((code, &found["findings"][0]["code"]), (Some(0), &json!("PSA228")), "{found:#}");
    let asked: BTreeSet<String> =
        scene.deployment.world.requests("*", "*").into_iter().map(|one| one.operation).collect();
    let reads = |name: &&String| {
        ["Get", "Describe", "List", "Simulate", "BatchGet", "read_", "account"]
            .iter()
            .any(|read| name.starts_with(read))
            || name.ends_with("/filter")
            || name.starts_with("GET ")
    };
    let writes: Vec<_> = asked.iter().filter(|name| !reads(name)).collect();
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn deployments_that_do_not_render_are_named_and_a_template_that_does_not_once() {
    let scene = Scene::healthy().await;
    scene.deployment.world.prefect3_deployment(DeploymentSpec {
        name: "broken".into(),
        job_variables:
            json!({"aws_credentials": {"$ref": {"block_document_id": "11111111-1111-4111-8111-111111111111"}}})
                .as_object()
                .unwrap()
                .clone(),
        ..DeploymentSpec::default()
    });
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(3), ["PSA227".to_owned()].into()), "{found:#}");
    assert!(found["findings"][0]["subject"].as_str().unwrap().ends_with("/broken"), "{found:#}");
}
