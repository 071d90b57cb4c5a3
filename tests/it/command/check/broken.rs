//! Every way to break the deployment of the stories, with the codes that name it.

use super::account::CLUSTER;
use super::scene::{DEAD_LETTERS, FAILURES, KEY, MAPPING, QUEUE, Scene};
use crate::support::ROOT;
use crate::tls::tls_with;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use std::time::Duration;
use world::prefect3::{POOL, PoolSpec};
use world::{Fault, FaultKind};

const AUTHORITY: &str = include_str!("authority.pem");
const EXPIRED: &str = include_str!("expired.pem");
const EXPIRED_KEY: &str = include_str!("expired-key.pem");

pub(super) const AUTHORITY_OF_CERTIFICATE: &str = include_str!("../../../../src/http/testdata/ca.pem");
pub(super) const CERTIFICATE: &str = include_str!("../../../../src/http/testdata/server.pem");
pub(super) const CERTIFICATE_KEY: &str = include_str!("../../../../src/http/testdata/server-key.pem");

/// A set-up that is broken: what it is called, what breaks it, what is found.
pub(super) type Broken = (&'static str, fn(&Scene) -> BoxFuture<'_, ()>, &'static [&'static str]);

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

pub(super) const BROKEN: &[Broken] = &[
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
        scene.deployment.world.lock().events.schedules.get_mut("psa-tick").unwrap().state = "DISABLED".into();
    }),
    broken!("another interval than the schedule's", ["PSA113"], |scene| {
        scene.agent(json!({"poll_interval_seconds": 300}));
    }),
    // Prefect.
    broken!("nobody listens", ["PSA202"], |scene| scene.agent(json!({"api": "http://127.0.0.1:9/api"}))),
    broken!("a name that nobody knows", ["PSA201"], |scene| {
        scene.agent(json!({"api": "http://prefect.invalid/api"}));
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
        scene.agent(json!({"api": scene.deployment.world.prefect3_url().replace("http:", "https:")}));
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
        scene.agent(json!({"api": scene.deployment.world.prefect3_url() + "/v1"}));
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
        scene.deployment.world.prefect3_pause(POOL, Some("default"), true).unwrap();
    }),
    broken!("a template that does not render", ["PSA226"], |scene| scene.account(|state| {
        let template = &mut state.prefect3.work_pools[0].base_job_template;
        template["job_configuration"]["name"] = json!("{{ prefect.blocks.string.gone }}");
    })),
    broken!("a deployment that does not render", ["PSA227"], |scene| scene.job(json!({
        "name": {"$ref": {"block_document_id": "11111111-1111-4111-8111-111111111111"}},
    }))),
    broken!("an endpoint that nobody allows", ["PSA227"], |scene| scene.job(json!({
        "aws_credentials": {"aws_client_parameters": {"endpoint_url": "http://10.0.0.1:4566"}},
    }))),
    broken!("an image that guardrails refuse", ["PSA229"], |scene| {
        scene.agent(json!({"guardrails": {"images": ["ghcr.io/company/*"]}}));
    }),
    broken!("a size that guardrails would refuse", ["PSA230"], |scene| {
        scene.agent(json!({"guardrails": {"mode": "report", "cpu": {"max": 256}}}));
    }),
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
    broken!("an object that may not be read", ["PSA304"], |scene| {
        let definition = json!({"cpu": "512", "memory": "1024", "containerDefinitions": [{"name": "flow"}]});
        scene.account(|state| state.s3.put("shared", "definition.yaml", definition.to_string()));
        scene.agent_1(json!({"task_definition_path": "s3://shared/definition.yaml"}));
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
        scene.without("execution", "ssm:GetParameters");
    }),
    broken!("an execution role that may not decrypt our key", ["PSA407"], |scene| {
        scene.secrets_key("kms.us-east-1.amazonaws.com");
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
    broken!("a missing task definition", ["PSA411"], |scene| scene.job(json!({"task_definition_arn": "flows:7"}))),
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
        scene.network(json!({"assignPublicIp": "DISABLED"}));
    }),
    broken!("no address", ["PSA505"], |scene| scene.account(|state| state.ec2.subnets[0].free = 0)),
    broken!("no way out for 443", ["PSA506"], |scene| scene.account(|state| {
        state.ec2.security_groups[0].egress = vec![("tcp".into(), 5432, 5432, "0.0.0.0/0".into())];
    })),
    broken!("a way out for 443 to some only", ["PSA508"], |scene| scene.account(|state| {
        state.ec2.security_groups[0].egress = vec![("tcp".into(), 443, 443, "10.0.0.0/8".into())];
    })),
    broken!("functions in subnets that have no way out for them", ["PSA504"], |scene| scene.account(|state| {
        let parameters = &mut state.cloudformation.stacks[1].parameters;
        parameters.insert("VpcSubnetIds".into(), "subnet-default-a".into());
        parameters.insert("VpcSecurityGroupIds".into(), "sg-default".into());
    })),
    // Quotas.
    broken!("more launches than the quota", ["PSA701"], |scene| scene.agent(json!({"launch_rate": 50}))),
    broken!("a task larger than the quota", ["PSA702"], |scene| scene.job(json!({"cpu": 8192, "memory": 16384}))),
    broken!("a task larger than the quota of spare capacity", ["PSA702"], |scene| {
        scene.account(|state| state.quotas.values.extend([("L-36FBB829".to_owned(), 0.25)]));
        scene.job(json!({"launch_type": null, "capacity_provider_strategy": [{"capacityProvider": "FARGATE_SPOT"}]}));
    }),
    broken!("a quota that is used up", ["PSA705"], |scene| scene.account(|state| state.quotas.vcpus_used = Some(5.75))),
    broken!("too few invocations", ["PSA703"], |scene| scene.account(|state| state.lambda.unreserved = Some(2))),
    broken!("an impatient alarm of silence", ["PSA113", "PSA114"], |scene| {
        scene.deployment.world.lock().events.schedules.get_mut("psa-tick").unwrap().expression =
            "rate(5 minutes)".into();
        scene.account(|state| {
            let parameters = &mut state.cloudformation.stacks[1].parameters;
            parameters.insert("AlarmEmail".into(), "on-call@example.com".into());
            parameters.insert("SilenceAfterMinutes".into(), "3".into());
        });
    }),
    broken!("a public URL", ["PSA704"], |scene| scene.account(|state| {
        state.cloudformation.stacks[1].parameters.insert("HealthAuthType".into(), "NONE".into());
    })),
    // Events.
    broken!("no rule", ["PSA601"], |scene| {
        scene.deployment.world.lock().events.rules.remove("psa-own-tasks");
    }),
    broken!("a disabled rule", ["PSA602"], |scene| {
        scene.deployment.world.lock().events.rules.get_mut("psa-own-tasks").unwrap().state = "DISABLED".into();
    }),
    broken!("a rule that sends to nobody", ["PSA603"], |scene| {
        scene.deployment.world.lock().events.rules.get_mut("psa-own-tasks").unwrap().targets.clear();
    }),
    broken!("a rule that calls the function as before", ["PSA603"], |scene| {
        let function = "arn:aws:lambda:us-east-1:123456789012:function:psa-task-events".to_owned();
        scene.deployment.world.lock().events.rules.get_mut("psa-own-tasks").unwrap().targets = vec![function];
    }),
    broken!("no queue of events", ["PSA601"], |scene| {
        scene.deployment.world.lock().sqs.queues.remove(QUEUE);
    }),
    broken!("a queue that nobody reads", ["PSA606"], |scene| scene.account(|state| {
        state.lambda.mappings.insert(MAPPING.into(), "Disabled".into());
    })),
    broken!("dead letters", ["PSA604"], |scene| {
        scene.deployment.world.lock().sqs.queues.insert(DEAD_LETTERS.into(), world::sqs::Queue::of(3));
    }),
    broken!("failures that wait", ["PSA604"], |scene| {
        scene.deployment.world.lock().sqs.queues.insert(FAILURES.into(), world::sqs::Queue::of(3));
    }),
    broken!("no permission to take events", ["PSA307"], |scene| {
        scene.without("psa-TaskEventsRole-1", "sqs:ReceiveMessage");
    }),
];

/// The same with another text in it.
fn with_text(value: &Value, from: &str, to: &str) -> Value {
    serde_json::from_str(&value.to_string().replace(from, to)).unwrap()
}
