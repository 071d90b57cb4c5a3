//! `prefect-serverless-agent connect`: Prefect pokes the deployment when somebody starts a run, and in no circle.

use super::check::scene::{KEY, STACK, Scene};
use super::process::{Ended, LIMIT, agent, end};
use crate::poke::poke_options;
use crate::support::{DEADLINE, ROOT, agent as report_of, ids};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::ecs::Refusal;
use world::prefect3::{Auth, CollisionStrategy, DeploymentSpec, Generation, RunSpec};
use world::{Fault, FaultKind, FunctionUrl, UrlAuth};

/// A deployment whose poke function is served.
pub(super) struct Poked {
    pub(super) scene: Scene,
    url: FunctionUrl,
}

impl Poked {
    pub(super) async fn new() -> Self {
        let scene = Scene::healthy().await;
        let url = FunctionUrl::serve(poke_options(&scene.deployment), UrlAuth::None).await.unwrap();
        let poked = Self { scene, url };
        poked.deploy("NONE");
        poked
    }

    /// As the template does with `PokeUrl=ENABLED`.
    pub(super) fn deploy(&self, auth: &str) {
        let url = self.url.url();
        self.scene.account(|state| {
            let stack = state.cloudformation.stacks.iter_mut().find(|stack| stack.name == STACK).unwrap();
            stack.parameters.insert("PokeUrl".into(), "ENABLED".into());
            stack.outputs.insert("PokeUrl".into(), url.clone());
            stack.resources.insert("PokeFunction".into(), ("AWS::Lambda::Function".into(), "psa-poke".into()));
            state.lambda.urls.insert("psa-poke".into(), (url, auth.into()));
            state.lambda.reserved.insert("psa-poke".into(), 2);
        });
    }

    pub(super) async fn connect(&self, line: &str) -> Ended {
        end(agent(&self.scene.deployment, &format!("connect --root {ROOT} {line}"))).await
    }

    pub(super) fn token(&self) -> Option<String> {
        self.scene.deployment.world.parameter(&format!("{ROOT}/secrets/poke-token")).map(|parameter| parameter.value)
    }

    /// One request to Prefect, as its clients send it; status and body.
    async fn prefect(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let address = self.scene.deployment.world.addr().to_string();
        let (head, body) = (format!("{method} /prefect3/api{path} HTTP/1.1"), body.to_string());
        let headers = format!(
            "host: {address}\r\nauthorization: Bearer {KEY}\r\nconnection: close\r\ncontent-length: {}",
            body.len()
        );
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(format!("{head}\r\n{headers}\r\n\r\n{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LIMIT, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// Somebody starts a run by hand; its id.
    async fn create_flow_run(&self) -> String {
        let deployment = self.scene.deployment.world.prefect3(|prefect3| prefect3.deployments[0].id.clone());
        let (status, run) =
            self.prefect("POST", &format!("/deployments/{deployment}/create_flow_run"), json!({})).await;
        assert_eq!(status, 201, "{run}");
        run["id"].as_str().unwrap().to_owned()
    }

    /// Polls that were started and not delivered yet.
    fn started(&self) -> usize {
        self.scene.deployment.world.lock().lambda.invocations.len()
    }

    /// Waits until so many webhooks were called and answered.
    async fn called(&self, count: usize) -> bool {
        let world = &self.scene.deployment.world;
        world.wait_until(Duration::from_secs(10), |state| state.prefect3.automation_events.len() >= count).await
    }

    fn calls(&self) -> usize {
        self.scene.deployment.world.prefect3(|prefect3| prefect3.automation_events.len())
    }

    fn automations(&self) -> Vec<String> {
        self.scene.deployment.world.prefect3(|prefect3| prefect3.automations.iter().map(|one| one.id.clone()).collect())
    }
}

#[tokio::test]
async fn a_run_that_somebody_starts_is_launched_at_once() {
    let poked = Poked::new().await;
    let ended = poked.connect("").await.well();
    assert!(
        ended.stdout.contains("the URL was poked") && ended.stdout.contains("automation psa-poke-etl-"),
        "{ended:?}"
    );
    // The poke that tried the URL has led to a poll.
    assert_eq!(poked.started(), 1);
    let polling = poked.scene.deployment.poll_function().await;
    poked.scene.deployment.world.deliver_invocations(&polling, DEADLINE).await;

    let run = poked.create_flow_run().await;
    assert!(poked.called(1).await, "Prefect did not call");
    let world = &poked.scene.deployment.world;
    let event = world.prefect3(|prefect3| prefect3.automation_events[0].clone());
    assert_eq!(event["payload"]["status_code"], 200, "{event}");
    let answers = world.deliver_invocations(&polling, DEADLINE).await;
    let report = answers[0].as_ref().unwrap();
    assert_eq!(ids(report_of(report, "etl"), "launched"), [run]);
    assert_eq!(world.ecs_tasks().len(), 1);
}

#[tokio::test]
async fn what_is_there_is_left_and_what_differs_is_mended() {
    let poked = Poked::new().await;
    let first = poked.connect("--json").await.well().json();
    assert_eq!((&first["poke_token"]["token"], &first["agents"]["etl"]["block"]), (&json!("made"), &json!("made")));
    let token = poked.token().unwrap();
    assert!(token.len() == 64 && token.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    let automations = poked.automations();

    let again = poked.connect("--json").await.well().json();
    let unchanged = |part: &str| again["agents"]["etl"][part] == "unchanged";
    assert!(unchanged("block") && unchanged("automation") && again["poke_token"]["token"] == "unchanged", "{again}");
    assert_eq!((poked.automations(), poked.token()), (automations.clone(), Some(token.clone())));

    // Somebody disables the automation, the token is replaced, and two that connected at once left a second automation.
    let world = &poked.scene.deployment.world;
    world.prefect3(|prefect3| {
        let mut twin = prefect3.automations[0].clone();
        twin.id = "0f0e0d0c-0b0a-4908-8706-050403020100".into();
        twin.created += time::Duration::SECOND;
        prefect3.automations[0].enabled = false;
        prefect3.automations.insert(0, twin);
    });
    world.put_secret(&format!("{ROOT}/secrets/poke-token"), "another-token-by-hand");
    let early = poked.connect("--dry-run").await.well();
    assert!(early.stdout.contains("would be changed") && early.stdout.contains("would be deleted"), "{early:?}");
    assert_eq!(poked.automations().len(), 2);
    // The function may have read the former one within the last ten seconds: this waits until it reads it again.
    let mended = poked.connect("--json").await.well().json();
    let etl = &mended["agents"]["etl"];
    let changed = (&etl["block"], &etl["automation"], &etl["duplicates_deleted"]);
    assert_eq!(changed, (&json!("changed"), &json!("changed"), &json!(1)), "{mended}");
    assert_eq!(poked.automations(), automations, "the oldest stays");
    assert!(world.prefect3(|prefect3| prefect3.automations[0].enabled));
}

#[tokio::test]
async fn nothing_of_ours_is_left_and_nothing_of_others_is_touched() {
    let poked = Poked::new().await;
    poked.connect("").await.well();
    let world = &poked.scene.deployment.world;
    let foreign = world.prefect3(|prefect3| {
        let mut foreign = prefect3.automations[0].clone();
        (foreign.id, foreign.tags) = ("0f0e0d0c-0b0a-4908-8706-050403020100".into(), vec!["mine".into()]);
        prefect3.automations.push(foreign.clone());
        foreign.id
    });
    let ended = poked.connect("--remove --json").await.well().json();
    let etl = &ended["agents"]["etl"];
    assert_eq!((&etl["automations_deleted"], &etl["block_deleted"]), (&json!(1), &json!(true)), "{ended}");
    assert_eq!(poked.automations(), [foreign]);
    assert!(world.prefect3(|prefect3| prefect3.blocks.documents.is_empty()));
    assert!(poked.token().is_some(), "the health URL may use it");
    let deleted: Vec<String> = world.requests("prefect3", "*").iter().map(|one| one.operation.clone()).collect();
    let place = |name: &str| deleted.iter().position(|one| one == name).unwrap();
    assert!(place("delete_automation") < place("delete_block_document"));
    let ended = poked.connect("--remove").await.well();
    assert!(ended.stdout.contains("nothing of the name psa-poke-etl-"), "{ended:?}");
}

#[tokio::test]
async fn without_a_url_that_lets_prefect_through_nothing_is_made() {
    let poked = Poked::new().await;
    let refused = async |line: &str, message: &str, advice: &str| {
        let ended = poked.connect(line).await;
        assert!(ended.code == Some(1) && ended.stderr.contains(message) && ended.stderr.contains(advice), "{ended:?}");
        assert!(poked.automations().is_empty(), "{ended:?}");
        assert!(poked.scene.deployment.world.prefect3(|prefect3| prefect3.blocks.documents.is_empty()));
    };
    poked.deploy("AWS_IAM");
    refused("", "wants AWS_IAM", "PokeUrl=ENABLED").await;
    assert!(poked.token().is_none());
    poked.scene.account(|state| {
        let stack = state.cloudformation.stacks.iter_mut().find(|stack| stack.name == STACK).unwrap();
        stack.resources.remove("PokeFunction");
    });
    refused("", "has no poke URL", "--parameter-overrides PokeUrl=ENABLED").await;
    refused("--url https://x.on.aws/api/health", "its path is /api/health", "--url").await;
    refused("--url http://x.on.aws", "must not be sent in clear", "--url").await;
    refused("--url http://127.0.0.1:1", "does not answer", "try again").await;
    let world_itself = format!("--url {}", poked.scene.deployment.world.url());
    refused(&world_itself, "takes no pokes", "PokeUrl").await;
    let iam = FunctionUrl::serve(poke_options(&poked.scene.deployment), UrlAuth::Iam).await.unwrap();
    refused(&format!("--url {}", iam.url()), "AWS refuses the poke", "AuthType NONE").await;
    // Where somebody names the URL, no stack is needed.
    poked.scene.account(|state| state.cloudformation.stacks.clear());
    poked.connect(&format!("--url {}", poked.url.url())).await.well();
    assert_eq!(poked.automations().len(), 1);
}

#[tokio::test]
async fn the_token_is_never_shown_and_goes_to_the_block_alone() {
    let poked = Poked::new().await;
    let first = poked.connect("").await.well();
    let token = poked.token().unwrap();
    let world = &poked.scene.deployment.world;
    world.fault(Fault::new(
        "prefect3",
        "automations/filter",
        FaultKind::Status {
            status: 400,
            body: format!("{{\"detail\": \"Bearer {token}\"}}"),
            content_type: "application/json".into(),
        },
    ));
    let failed = poked.connect("").await;
    assert_eq!(failed.code, Some(1), "{failed:?}");
    for ended in [first, failed, poked.connect("--json").await] {
        assert!(!ended.stdout.contains(&token) && !ended.stderr.contains(&token), "{ended:?}");
    }
    let of_block = world.requests("prefect3", "create_block_document");
    assert!(of_block[0].body.contains(&token));
    for request in world.requests("prefect3", "*").iter().filter(|one| one.operation != "create_block_document") {
        assert!(!request.body.contains(&token), "{request:?}");
    }
}

#[tokio::test]
async fn a_prefect_without_automations_says_so() {
    let poked = Poked::new().await;
    poked.scene.agent(json!({"prefect": 2}));
    poked.scene.deployment.world.prefect3(|prefect3| prefect3.switches.generation = Generation::Two);
    let ended = poked.connect("").await;
    assert!(ended.code == Some(1) && ended.stderr.contains("has no automations"), "{ended:?}");
    poked.scene.agent_1(json!({}));
    let ended = poked.connect("--agent etl").await;
    assert!(ended.stderr.contains("is one of Prefect 1"), "{ended:?}");
    let ended = poked.connect("--agent gone").await;
    assert!(ended.stderr.contains("there is no agent \"gone\""), "{ended:?}");
}

#[tokio::test]
async fn a_pool_that_is_not_there_is_no_pool_to_wait_for() {
    let poked = Poked::new().await;
    poked.scene.agent(json!({"work_pool": "gone"}));
    let ended = poked.connect("").await;
    assert!(ended.code == Some(1) && ended.stderr.contains("no work pool \"gone\""), "{ended:?}");
    assert!(poked.automations().is_empty());
}

/// So many minutes of polls, each minute's and each poke's, with a run that ECS has no room for, and a run that finds no
/// slot. How many pokes there were, and how many polls; a circle is left after three per minute.
async fn minutes(poked: &Poked, minutes: usize) -> (usize, usize) {
    let world = &poked.scene.deployment.world;
    world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec![KEY.into()] });
    poked.scene.agent(json!({"max_launch_attempts": 1000, "launch_rate": null}));
    let polling = poked.scene.deployment.poll_function().await;
    world.deliver_invocations(&polling, DEADLINE).await;
    let full = world.prefect3_deployment(DeploymentSpec {
        name: "full".into(),
        concurrency_limit: Some(1),
        collision_strategy: Some(CollisionStrategy::Enqueue),
        // The run that has the slot keeps it.
        grace_period_seconds: Some(86_400),
        ..DeploymentSpec::default()
    });
    for _ in 0..2 {
        world.prefect3_run(RunSpec { deployment: Some(full.clone()), ..RunSpec::default() });
    }
    polling.invoke(json!({}), DEADLINE).await.unwrap();
    let refusal = Refusal { reason: "RESOURCE:MEMORY".into(), detail: None, body_contains: None, count: 100_000 };
    world.ecs_refuse(refusal);
    world.prefect3_run(RunSpec::default());
    let mut polls = 0;
    for minute in 1..=minutes {
        world.grow_older(Duration::from_mins(1));
        polling.invoke(json!({}), DEADLINE).await.unwrap();
        polls += 1;
        // Pokes that polls bring about are on their way for a moment; what follows from them may bring about more.
        while world.wait_until(Duration::from_millis(20), |state| !state.lambda.invocations.is_empty()).await
            && polls < 3 * minute
        {
            polls += world.deliver_invocations(&polling, DEADLINE).await.len();
        }
    }
    (poked.calls(), polls)
}

fn states(poked: &Poked, name: &str) -> usize {
    let runs = poked.scene.deployment.world.prefect3_flow_runs();
    runs.iter().flat_map(|run| &run.states).filter(|state| state.name == name).count()
}

#[tokio::test]
async fn in_an_hour_of_throttled_runs_and_full_limits_nobody_pokes_in_a_circle() {
    let poked = Poked::new().await;
    poked.connect("").await.well();
    let (calls, polls) = minutes(&poked, 60).await;
    assert_eq!((calls, polls), (0, 60));
    let (given_back, waiting) = (states(&poked, "AwaitingRetry"), states(&poked, "AwaitingConcurrencySlot"));
    // A run that is given back again and again waits for up to ten minutes.
    assert!(given_back >= 8 && waiting > 30, "{given_back} {waiting}");
    // The user interface's retry is another matter.
    let runs = poked.scene.deployment.world.prefect3_flow_runs();
    let ended = runs.iter().find(|run| run.states.iter().any(|state| state.name == "AwaitingRetry")).unwrap();
    let world = &poked.scene.deployment.world;
    world.prefect3_set_state(&ended.id, &json!("FAILED")).unwrap();
    let retry =
        json!({"state": {"type": "SCHEDULED", "name": "AwaitingRetry", "message": "Retry from the UI"}, "force": true});
    let (status, answer) = poked.prefect("POST", &format!("/flow_runs/{}/set_state", ended.id), retry).await;
    assert!(status < 300 && poked.called(1).await, "{answer}");
}

#[tokio::test]
async fn an_automation_that_expects_everything_would_poke_in_a_circle() {
    let poked = Poked::new().await;
    poked.connect("").await.well();
    poked.scene.deployment.world.prefect3(|prefect3| {
        prefect3.automations[0].trigger["triggers"][0]["expect"] = json!(["prefect.flow-run.*"]);
    });
    let (calls, polls) = minutes(&poked, 10).await;
    assert!(calls > 10 && polls > 20, "the story above would notice nothing: {calls} pokes, {polls} polls");
}
