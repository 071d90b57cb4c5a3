//! Every answer of both Prefects and of AWS, changed in many ways: the process lives, answers, and says no secret; and what
//! is odd of one agent's Prefect is that agent's trouble alone.

use crate::prefect::{Phase, Prefect};
use crate::support::{Deployment, KEY};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use world::prefect3::{BlockSpec, RunSpec};
use world::{Fault, FaultKind, LambdaProcess};

/// The ways in which the answers to one kind of request are changed in one run of the test. `ODD_ANSWERS` sets another
/// number.
const SEEDS: u64 = 16;
/// After so long the rest is left for another time: the ways are spread over all requests, so none is left out.
const AT_MOST: Duration = Duration::from_secs(100);
const DEADLINE: Duration = Duration::from_secs(30);
const BLOCK_SECRET: &str = "hush-of-the-block";
const VARIABLE_SECRET: &str = "hush-of-the-variable";
/// What only a new process asks.
const OF_A_START: [&str; 3] = ["GetParametersByPath", "register_agent", "auth_info"];

/// A deployment with an agent of each Prefect.
struct Scene {
    deployment: Deployment,
    function: Option<LambdaProcess>,
}

impl Scene {
    async fn new() -> Self {
        let deployment = Prefect::Three.deployment(json!({})).await;
        Prefect::One.agent(&deployment, "one", json!({}));
        let data = json!({"value": BLOCK_SECRET}).as_object().unwrap().clone();
        deployment.world.prefect3_block(BlockSpec {
            block_type: "secret".into(),
            name: "hush".into(),
            data,
            ..BlockSpec::default()
        });
        deployment.world.prefect3_variable("hush", json!(VARIABLE_SECRET));
        Self { deployment, function: None }
    }

    /// Something to do for both agents: a due run, one that is cancelled, one that is due again.
    fn set(&self) {
        let world = self.deployment.world.world();
        let variables = json!({"env": {"A": "{{ prefect.blocks.secret.hush }}", "B": "{{ prefect.variables.hush }}"}});
        let job_variables = variables.as_object().unwrap().clone();
        world.prefect3_run(RunSpec { job_variables, start_in_seconds: -1.0, ..RunSpec::default() });
        for prefect in [Prefect::One, Prefect::Three] {
            let runs: Vec<String> = (0..3).map(|_| prefect.due_run(&world)).collect();
            prefect.bring(&world, &runs[1], Phase::Cancelling);
        }
    }

    /// One poll; what is wrong with its outcome. `well`: the agent that nothing odd was said to.
    async fn poll(&mut self, well: Option<&str>) -> Vec<String> {
        let function = match self.function.take() {
            Some(function) => function,
            None => self.deployment.poll_function().await,
        };
        let answer = function.invoke(json!({}), DEADLINE).await;
        let report: Value = match &answer {
            Ok(report) => report.clone(),
            Err(error) => serde_json::from_str(&error.error_message).unwrap_or_default(),
        };
        let mut wrong = Vec::new();
        if let Err(error) = &answer
            && (error.error_type.starts_with("Runtime.") || error.error_type.starts_with("Sandbox."))
        {
            wrong.push(format!("no answer: {}", error.error_type));
        }
        let (output, said) = (function.output(), format!("{answer:?}"));
        for secret in [KEY, "secret-of-the-world", BLOCK_SECRET, VARIABLE_SECRET] {
            if output.contains(secret) || said.contains(secret) {
                wrong.push(format!("a secret was said: {secret}"));
            }
        }
        if output.contains("panicked") || said.contains("a bug of this program") {
            wrong.push("a panic".into());
        }
        // What Lambda lets a function answer.
        if said.len() > 6_000_000 {
            wrong.push(format!("an answer of {} bytes", said.len()));
        }
        if let Some(well) = well
            && report["agents"][well]["ok"] != json!(true)
        {
            wrong.push(format!("{well} is disturbed: {}", report["agents"][well]));
        }
        if wrong.is_empty() {
            self.function = Some(function);
        } else {
            wrong.push(output.chars().rev().take(3000).collect::<Vec<_>>().into_iter().rev().collect());
        }
        wrong
    }
}

/// The requests of a poll: service and operation.
async fn requests() -> BTreeSet<(String, String)> {
    let mut scene = Scene::new().await;
    for _ in 0..2 {
        scene.set();
        assert_eq!(scene.poll(Some("one")).await, Vec::<String>::new());
    }
    let services = ["prefect1", "prefect3", "ssm", "ecs", "ec2", "sts", "s3"];
    let asked = services.iter().flat_map(|service| scene.deployment.world.requests(service, "*"));
    asked.map(|request| (request.service, request.operation)).collect()
}

/// Changes the answers to some of the requests, all in one process as long as that is well.
async fn check(of: impl Fn(&str) -> bool) {
    let started = Instant::now();
    let operations: Vec<_> = requests().await.into_iter().filter(|(service, _)| of(service)).collect();
    assert!(operations.len() > 3, "{operations:?}");
    let seeds = std::env::var("ODD_ANSWERS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let (mut scene, mut wrong, mut polls) = (Scene::new().await, Vec::new(), 0);
    // A step that has no factor in common with the number of ways reaches all of them.
    for seed in (0..seeds).map(|number| number * 53 + 11) {
        for (index, (service, operation)) in operations.iter().enumerate() {
            if started.elapsed() > AT_MOST && std::env::var("ODD_ANSWERS").is_err() {
                break;
            }
            let seed = seed + index as u64 * 17;
            if OF_A_START.contains(&operation.as_str()) {
                scene.function = None;
            }
            scene.set();
            let kind = FaultKind::Mutated { seed };
            scene.deployment.world.fault(Fault::new(service, operation, kind).always());
            let well = match service.as_str() {
                "prefect1" => Some("etl"),
                "prefect3" => Some("one"),
                _ => None,
            };
            let found = scene.poll(well).await;
            polls += 1;
            if !found.is_empty() {
                wrong.push(format!("{service} {operation} {seed}: {}", found.join("\n")));
            }
            let world = scene.deployment.world.world();
            world.lock().faults.clear();
            world.lock().journal.clear();
            if wrong.len() > 5 || polls % 60 == 0 {
                scene = Scene::new().await;
            }
        }
    }
    println!("{polls} polls of {} kinds of requests in {:?}", operations.len(), started.elapsed());
    assert!(usize::try_from(polls).unwrap() >= operations.len() * 4, "too few in this time: {polls}");
    assert!(wrong.is_empty(), "{} of {polls} went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_answers_of_prefect_end_nothing_but_their_agents_poll() {
    check(|service| service.starts_with("prefect")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn odd_answers_of_aws_do_not_end_the_process() {
    check(|service| !service.starts_with("prefect")).await;
}
