//! `prefect-serverless-agent check`: every way to break a deployment is named by its code, and a healthy one by none.

mod account;
mod broken;
mod pokes;
pub(super) mod scene;

use super::process::{agent, end};
use crate::support::{DEADLINE, ROOT};
use crate::tls::tls_with;
use broken::{AUTHORITY_OF_CERTIFICATE, BROKEN, CERTIFICATE, CERTIFICATE_KEY};
use scene::{FAILURES, KEY, STACK, Scene};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use world::prefect3::{DeploymentSpec, POOL, Worker};
use world::{Fault, FaultKind};

#[tokio::test]
async fn a_healthy_deployment_has_no_finding() {
    let scene = Scene::healthy().await;
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, &codes), (Some(0), &BTreeSet::new()), "{found:#}");
    assert_eq!(found["findings"], json!([]), "not even information: {found:#}");
    let ended = scene.run(&format!("--root {ROOT}")).await.well();
    assert!(ended.stdout.contains("  ✔ ") && ended.stdout.contains("all is well: "), "{ended:?}");
    assert!(!ended.stdout.contains(KEY) && !ended.stdout.contains('\x1b') && ended.stderr.is_empty(), "{ended:?}");
}

#[tokio::test]
async fn guardrails_that_allow_what_is_asked_for_are_well_and_what_they_refuse_is_said_before_a_run_meets_it() {
    let scene = Scene::healthy().await;
    scene.agent(json!({"guardrails": {"images": [account::IMAGE], "cpu": {"max": 512}, "privileged": false}}));
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, &codes), (Some(0), &BTreeSet::new()), "{found:#}");
    assert!(found["well"].to_string().contains("its guardrails allow what 1 kind of runs asks for"), "{found:#}");
    scene.job(json!({"image": "evil/x"}));
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(3), ["PSA229".to_owned()].into()), "{found:#}");
    let said = found["findings"][0]["sentence"].as_str().unwrap();
    assert!(said.contains("`images`: evil/x in ") && said.contains(account::IMAGE), "{said}");
}

#[tokio::test]
async fn a_deployment_of_version_0_1_is_not_called_broken_and_its_failures_are_seen() {
    let scene = Scene::healthy().await;
    scene.deploy_former();
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, &codes), (Some(0), &BTreeSet::new()), "{found:#}");
    assert!(found["well"].to_string().contains("and calls the function psa-task-events"), "{found:#}");
    assert!(found["well"].to_string().contains("not paused, in a server of 3."), "{found:#}");
    scene.account(|state| {
        state.sqs.queues.insert(FAILURES.into(), world::sqs::Queue::of(2));
    });
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(4), ["PSA604".to_owned()].into()), "{found:#}");
    let finding = &found["findings"][0];
    assert_eq!(finding["subject"], json!(format!("queue {FAILURES}")));
    assert_eq!(finding["mend"], json!(format!("prefect-serverless-agent redrive --root {ROOT}")));
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

/// Whatever answers what, where something else was asked for.
#[tokio::test]
async fn what_is_not_told_is_no_verdict() {
    let aws = |code: &str| FaultKind::AwsError { status: 400, code: code.into(), message: "no".into() };
    let says = |body: &str, content_type: &str| FaultKind::Status {
        status: 200,
        body: body.into(),
        content_type: content_type.into(),
    };
    let amz = "application/x-amz-json-1.1";
    let parameters = |kind, path: &str| Fault::new("ssm", "GetParametersByPath", kind).when_body_contains(path);
    for (name, fault, expected) in [
        ("a denied state", parameters(aws("AccessDeniedException"), "/state"), &["PSA199"][..]),
        ("secrets and no word of a key", parameters(aws("ValidationException"), "/secrets"), &["PSA199", "PSA299"]),
        ("a denied definition", Fault::new("ecs", "DescribeTaskDefinition", aws("AccessDeniedException")), &["PSA499"]),
        ("half a cluster", Fault::new("ecs", "DescribeClusters", says("{}", amz)), &["PSA499"]),
        ("half a rule", Fault::new("events", "ListTargetsByRule", says("{}", amz)), &["PSA699"]),
        ("half a network", Fault::new("ec2", "DescribeSubnets", says("<R/>", "text/xml")), &["PSA599"]),
        ("half a pool", Fault::new("prefect3", "read_work_pool", says("{}", "application/json")), &["PSA299"]),
        ("a page", Fault::new("prefect3", "*", says("<html></html>", "text/html")), &["PSA299"]),
    ] {
        let scene = Scene::healthy().await;
        if name == "a denied definition" {
            scene.job(json!({"task_definition_arn": "flows:7"}));
        }
        scene.deployment.world.fault(fault.always());
        let (code, codes, found) = scene.codes().await;
        let expected = expected.iter().map(|code| (*code).to_owned()).collect();
        assert_eq!((code, codes), (Some(0), expected), "{name}: {found:#}");
    }
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
        (format!("--root {ROOT} --agent nobody"), "configured are: etl"),
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
            || *name == "admin/version"
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

#[tokio::test]
async fn what_cannot_be_read_at_all_is_said_once() {
    let scene = Scene::healthy().await;
    let kind = FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "no".into() };
    scene.deployment.world.fault(Fault::new("ssm", "GetParametersByPath", kind).when_body_contains("/config").always());
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(3), ["PSA100".to_owned()].into()), "{found:#}");
}

#[tokio::test]
async fn without_the_keys_nobody_is_called_wrong() {
    let scene = Scene::healthy().await;
    let kind = FaultKind::AwsError { status: 400, code: "AccessDeniedException".into(), message: "kms:Decrypt".into() };
    scene
        .deployment
        .world
        .fault(Fault::new("ssm", "GetParametersByPath", kind).when_body_contains("\"WithDecryption\":true").always());
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(0), ["PSA199", "PSA299"].map(str::to_owned).into()), "{found:#}");
    assert_eq!(scene.deployment.world.count("prefect3", "*"), 0);
}

#[tokio::test]
async fn runs_of_another_account_want_more_of_the_stack_and_are_not_looked_at() {
    let scene = Scene::healthy().await;
    scene.agent(json!({"assume_role_arn": "arn:aws:iam::210987654321:role/prefect-launcher"}));
    let (code, codes, found) = scene.codes().await;
    let expected = ["PSA306", "PSA499", "PSA605"].map(str::to_owned);
    assert_eq!((code, codes), (Some(3), expected.into()), "{found:#}");
    assert!(
        found.to_string().contains("AssumableRoleArns=arn:aws:iam::210987654321:role/prefect-launcher"),
        "{found:#}"
    );
}

#[tokio::test]
async fn tasks_of_another_region_are_told_of_if_a_rule_there_sends_their_events_here() {
    let scene = Scene::healthy().await;
    scene.agent(json!({"region_name": "eu-west-1"}));
    let forwarding = async || {
        let (_, codes, found) = scene.codes().await;
        (codes.contains("PSA605"), found.to_string())
    };
    let (is_missing, found) = forwarding().await;
    let mend = "--region eu-west-1 --template-file infra/forward-events.yaml";
    let bus = "EventBusArn=arn:aws:events:us-east-1:123456789012:event-bus/default";
    assert!(is_missing && found.contains(mend) && found.contains(bus), "{found}");
    scene.account(|state| {
        let bus = "arn:aws:events:us-east-1:123456789012:event-bus/default".to_owned();
        let rule = world::events::Rule { state: "ENABLED".into(), pattern: "{}".into(), targets: vec![bus] };
        state.events.elsewhere.insert("eu-west-1".into(), [("forward".to_owned(), rule)].into());
    });
    let (is_missing, found) = forwarding().await;
    assert!(
        !is_missing && found.contains("region eu-west-1: a rule there sends events to this stack's bus"),
        "{found}"
    );
}

#[tokio::test]
async fn a_boundary_may_ask_for_the_region_and_what_only_the_function_has_is_unknown() {
    let scene = Scene::healthy().await;
    let boundary = |key: &str, value: &str| json!({"Statement": [{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringNotEquals": {key: value}}}]});
    let add = |policy| scene.account(|state| state.iam.roles.get_mut("psa-PollRole-1").unwrap().policies.push(policy));
    add(boundary("aws:RequestedRegion", "us-east-1"));
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(0), BTreeSet::new()), "{found:#}");
    add(boundary("aws:SourceVpc", "vpc-1"));
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(0), ["PSA399".to_owned()].into()), "{found:#}");
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told() {
    let scene = Scene::healthy().await;
    let api = tls_with(&scene.deployment, CERTIFICATE, CERTIFICATE_KEY).await + "/prefect3/api";
    scene.agent(json!({"api": api, "ca_bundle": AUTHORITY_OF_CERTIFICATE}));
    let ended = scene.run(&format!("--root {ROOT}")).await.well();
    assert!(ended.stdout.contains("its certificate is good until 2126-10-31"), "{ended:?}");
}

#[tokio::test]
async fn what_is_not_answered_in_time_is_unknown_and_the_rest_is_shown() {
    let scene = Scene::healthy().await;
    let hang = |service| Fault::new(service, "*", FaultKind::DelayBefore { ms: 60_000 }).always();
    scene.deployment.world.fault(hang("iam"));
    scene.deployment.world.fault(hang("ec2"));
    let begun = Instant::now();
    let ended = scene.run(&format!("--root {ROOT} --timeout 5 --json")).await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{ended:?}");
    let found = ended.json();
    let codes: BTreeSet<&str> =
        found["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!((ended.code, codes), (Some(0), ["PSA399", "PSA499", "PSA599"].into()), "{found:#}");
    assert!(found["well"].to_string().contains("schedule psa-tick"), "{found:#}");
}

#[tokio::test]
async fn a_key_of_the_customers_is_used_through_parameter_store() {
    let scene = Scene::healthy().await;
    scene.secrets_key("ssm.*.amazonaws.com");
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(0), BTreeSet::new()), "{found:#}");
    let asked = scene.deployment.world.requests("iam", "SimulatePrincipalPolicy");
    assert!(asked.iter().any(|one| one.body.contains("ViaService")), "{asked:?}");
}

#[tokio::test]
async fn a_disabled_agent_is_said_to_be_and_no_failure() {
    let scene = Scene::healthy().await;
    // None of this hurts anybody who does not poll.
    scene.agent(json!({
        "enabled": false, "api": "http://prefect.invalid/accounts/a/workspaces/b", "launch_rate": 50,
        "poll_interval_seconds": 300, "assume_role_arn": "arn:aws:iam::210987654321:role/prefect-launcher",
    }));
    scene.delete("secrets/etl/api-key");
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(0), BTreeSet::new()), "{found:#}");
    assert!(
        found["well"].to_string().contains("agent etl: its configuration is valid, with enabled: false"),
        "{found:#}"
    );
}

#[tokio::test]
async fn only_what_is_asked_for_is_looked_at() {
    let scene = Scene::healthy().await;
    scene.deployment.configure("other", "prefect: 3\nwork_pol: x\n");
    scene.deployment.world.put_parameter(&format!("{ROOT}/state/other/status"), "{}");
    for (agents, expected) in
        [("", &["PSA101"][..]), (" --agent etl", &[]), (" --agent etl --agent other", &["PSA101"])]
    {
        let found = scene.run(&format!("--json --root {ROOT}{agents}")).await.json();
        let codes: Vec<_> = found["findings"].as_array().unwrap().iter().map(|one| one["code"].clone()).collect();
        assert_eq!(codes, expected, "{agents}: {found:#}");
    }
}

#[tokio::test]
async fn what_several_share_is_asked_for_once_and_what_is_too_much_is_said() {
    let scene = Scene::healthy().await;
    scene.account(|state| {
        for number in 0..21 {
            let group =
                world::ec2::SecurityGroup { group_id: format!("sg-{number}"), ..state.ec2.security_groups[0].clone() };
            state.ec2.security_groups.push(group);
        }
    });
    scene.deployment.world.prefect3(|prefect3| prefect3.deployments.clear());
    for number in 0..21 {
        let mut job_variables = account::job_variables().as_object().unwrap().clone();
        job_variables["network_configuration"]["securityGroups"] = json!([format!("sg-{number}")]);
        let name = format!("d{number}");
        scene.deployment.world.prefect3_deployment(DeploymentSpec { name, job_variables, ..DeploymentSpec::default() });
    }
    for action in ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"] {
        scene.without("execution", action);
    }
    scene.deployment.world.lock().journal.clear();
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(3), ["PSA407", "PSA599"].map(str::to_owned).into()), "{found:#}");
    assert!(found["findings"].to_string().contains("only 20 of 21 are looked at"), "{found:#}");
    for (service, operation) in
        [("ec2", "DescribeRouteTables"), ("ec2", "DescribeVpcEndpoints"), ("ec2", "DescribeSubnets")]
    {
        assert_eq!(scene.deployment.world.count(service, operation), 1, "{operation}");
    }
    assert_eq!(scene.deployment.world.count("ecr", "GetRepositoryPolicy"), 1);
}

#[tokio::test]
async fn nobody_waits_for_what_only_others_need() {
    // What runs need is not known without Prefect, and how it is named not without the account.
    for (service, lost) in [("prefect3", &["PSA299", "PSA399", "PSA799"][..]), ("sts", &["PSA299", "PSA499"])] {
        let scene = Scene::healthy().await;
        scene.deployment.world.fault(Fault::new(service, "*", FaultKind::DelayBefore { ms: 60_000 }).always());
        let begun = Instant::now();
        let ended = scene.run(&format!("--root {ROOT} --timeout 5 --json")).await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{ended:?}");
        let found = ended.json();
        let codes: BTreeSet<&str> =
            found["findings"].as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
        assert_eq!((ended.code, codes), (Some(0), lost.iter().copied().collect()), "{service}: {found:#}");
        let well = found["well"].to_string();
        assert!(well.contains("schedule psa-tick") && well.contains("rule psa-own"), "{service}: {found:#}");
    }
}

#[tokio::test]
async fn requests_are_few() {
    let scene = Scene::healthy().await;
    scene.run(&format!("--root {ROOT}")).await.well();
    let asked = scene.deployment.world.requests("*", "*");
    assert!(asked.len() <= 80, "{}", asked.len());
}

#[tokio::test]
async fn an_agent_of_prefect_1_is_looked_at_too() {
    let scene = Scene::healthy().await;
    scene.agent_1(json!({}));
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(0), BTreeSet::new()), "{found:#}");
    assert!(found["well"].to_string().contains("/prefect1 answers, and knows the credential"), "{found:#}");
    scene.secret("etl/api-key", "pcu_wrong");
    let (code, codes, found) = scene.codes().await;
    assert_eq!((code, codes), (Some(3), ["PSA209".to_owned()].into()), "{found:#}");
}

#[tokio::test]
async fn the_stacks_own_function_looks_from_inside_and_finds_the_same() {
    let scene = Scene::healthy().await;
    scene.deployment.world.prefect3(|prefect3| prefect3.work_pools[0].is_paused = true);
    let remote = format!("--root {ROOT} --remote");
    let missing = scene.run(&remote).await;
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.contains("--parameter-overrides CheckFunction=ENABLED"), "{missing:?}");

    let function = scene.deployment.options("check").start().await.unwrap();
    let answer = function.invoke(json!({"agents": ["etl"]}), DEADLINE).await.unwrap();
    let (_, codes, found) = scene.codes().await;
    assert_eq!((codes.len(), &answer["findings"], &answer["well"]), (1, &found["findings"], &found["well"]));
    for (event, told) in
        [(json!({"agents": ["nobody"]}), "nobody"), (json!({"poke": 0}), "`poke` must be true or false")]
    {
        let unknown = function.invoke(event, DEADLINE).await.unwrap_err();
        assert!(unknown.error_message.contains(told), "{unknown:?}");
    }

    scene.account(|state| {
        let function = ("AWS::Lambda::Function".to_owned(), "psa-check".to_owned());
        let stack = state.cloudformation.stacks.iter_mut().find(|stack| stack.name == STACK).unwrap();
        stack.resources.insert("CheckerFunction".into(), function);
        state.lambda.answers.insert("psa-check".into(), answer);
    });
    let ended = scene.run(&format!("{remote} --agent etl --no-poke")).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stdout.contains("  ✘ PSA223 work pool ") && ended.stdout.contains("  ✔ "), "{ended:?}");
    let asked = scene.deployment.world.lock().lambda.invocations.last().cloned().unwrap();
    assert_eq!((asked.function.as_str(), &asked.payload), ("psa-check", &json!({"agents": ["etl"], "poke": false})));

    for (answer, told) in [
        (json!({"errorMessage": "there is no agent nobody", "errorType": "BadEvent"}), "there is no agent nobody"),
        (json!({"well": [], "findings": [{"code": "PSA000"}]}), "another version"),
        (Value::Null, "another version"),
    ] {
        scene.account(|state| drop(state.lambda.answers.insert("psa-check".into(), answer)));
        let ended = scene.run(&remote).await;
        assert_eq!(ended.code, Some(2), "{ended:?}");
        assert!(ended.stderr.contains(told), "{ended:?}");
    }
}
