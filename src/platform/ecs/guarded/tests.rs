#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

mod launching;
mod prefect1;
mod prefect3;

use super::*;
use crate::config::{AgentSecrets, Environment, StoredSecret, from_file};
use crate::ecs_model::UnknownMembers;
use crate::platform::ecs::launcher::{EcsLauncher, LaunchRate};
use crate::platform::ecs::platform::{Documents, LaunchRules};
use crate::platform::ecs::testing::{FakeAws, JumpingClock, RUN, object};
use crate::platform::ecs::{EcsPlatform, PreparedLaunch};
use crate::platform::{Platform, RunDescription, WithWarning};
use serde_json::json;

const KEY_ARN: &str = "arn:aws:ssm:eu-west-1:123456789012:parameter/root/secrets/etl/api-key";
const IMAGE: &str = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/flows/etl:1";

/// Rules that a stock launch keeps.
const GUARDRAILS: &str = r#"
guardrails:
  images: ["123456789012.dkr.ecr.eu-west-1.amazonaws.com/flows/*"]
  cpu: {max: 4096}
  memory: {max: 8192}
  ephemeral_storage: {max: 50}
  task_roles: [flows-task]
  execution_roles: ["arn:aws:iam::123456789012:role/flows-execution"]
  clusters: [prefect]
  subnets: [subnet-1, subnet-2]
  security_groups: [sg-flows, default]
  launch_types: [FARGATE]
  public_ip: false
  task_definitions: own
  command: false
  environment: {deny: ["AWS_*", "LD_*", "PREFECT_*"]}
  secrets: ["arn:aws:secretsmanager:*:*:secret:flows/*"]
  privileged: false
  volumes: []
  network_modes: [awsvpc]
"#;

/// An agent, the AWS that it launches in, and its way there.
struct Room {
    aws: FakeAws,
    platform: EcsPlatform<EcsLauncher<JumpingClock>>,
}

impl Room {
    /// With this configuration, guardrails among it.
    fn new(config: &str, documents: Documents, unknown_members: UnknownMembers) -> Self {
        let aws = FakeAws::default();
        aws.world().vpc = Some("vpc-1".into());
        aws.world().subnets = vec!["subnet-1".into(), "subnet-2".into()];
        let (ecs, ec2) = aws.clients();
        let launcher = EcsLauncher::new(ecs, ec2, JumpingClock::new(), Arc::new(LaunchRate::new(None)));
        let (config, _) = from_file(config, "etl.yaml", &Environment::default()).result.unwrap();
        let secrets = AgentSecrets {
            api_key: Some(StoredSecret { value: "pnu_k".into(), arn: Some(KEY_ARN.into()) }),
            ..AgentSecrets::default()
        };
        let delivery = Arc::new(Delivery::new(&config, secrets, "/root/etl"));
        let guardrails = AgentGuardrails::of(&config, &delivery);
        let template =
            object(json!({"containerDefinitions": [{"name": "flow", "image": IMAGE}], "cpu": 256, "memory": 512}));
        let load_template: crate::platform::ecs::platform::LoadTemplate = Arc::new(move |_| {
            let template = template.clone();
            Box::pin(async move { Ok(template) })
        });
        let rules = LaunchRules {
            documents,
            delivery,
            unknown_members,
            spot_fallback_after: Some(3),
            guardrails,
            load_template,
        };
        Self { aws, platform: EcsPlatform::new(launcher, rules) }
    }

    async fn prepare(&self, run: RunDescription) -> Result<WithWarning<PreparedLaunch>, LaunchOutcome> {
        let rendered = self.platform.render(run).await.unwrap_or_else(|error| panic!("not rendered: {error:?}"));
        let (launch, _) = self.platform.after_refusals(rendered.launch, 0);
        self.platform.prepare(&launch, &identity()).await
    }

    /// What became of an attempt; `None` = it was refused by this rule, and nothing was registered or started.
    async fn refused(&self, run: RunDescription, rule: &str) -> Option<String> {
        let said = match self.prepare(run).await {
            Err(LaunchOutcome::Permanent(text)) if text.contains(&format!("`{rule}`: ")) => {
                let calls = self.aws.world().calls.clone();
                let writes = ["RegisterTaskDefinition", "RunTask"];
                return calls
                    .iter()
                    .find(|call| writes.contains(&call.as_str()))
                    .map(|call| format!("{call} was called"));
            }
            Err(outcome) => format!("{outcome:?}"),
            Ok(launch) => format!("launched: {}", json!(launch.launch.run_task)),
        };
        Some(said)
    }
}

fn identity() -> LaunchIdentity {
    LaunchIdentity { flow_run_id: RUN.into(), token: "token".into(), started_by: format!("prefect/etl/{RUN}") }
}

/// A table of the attempts that were not refused as they should be.
fn table(rows: Vec<(String, &str, Option<String>)>) {
    let all = rows.len();
    let wrong: Vec<String> = rows
        .into_iter()
        .filter_map(|(what, rule, said)| Some(format!("{what:<60} | {rule:<18} | {}", said?)))
        .collect();
    let head = format!("{:<60} | {:<18} | what happened", "attempt", "meant for");
    assert!(wrong.is_empty(), "{} of {all} attempts:\n{head}\n{}", wrong.len(), wrong.join("\n"));
}
