//! `kill -9`: the process of a poll is killed at any moment of its life, then polls go on. Every run is launched exactly
//! once.
//!
//! Rounds are numbered; a number says when the process is killed: after how many requests of its poll, and how much later.
//! `KILLS` is the number of rounds for each Prefect, `KILLS_FROM` that of the first one: `KILLS=1 KILLS_FROM=7` plays
//! round 7 again.

use crate::prefect::{Phase, Prefect, time_passes};
use crate::support::DEADLINE;
use futures_util::stream::{StreamExt, iter};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use world::World;

/// Runs that are due in a round.
const RUNS: usize = 20;

/// Rounds for each Prefect, unless `KILLS` says otherwise.
const ROUNDS: u64 = 15;

/// Rounds that are played at the same time, each in a world of its own.
const AT_ONCE: usize = 3;

/// Every answer comes so much later, so that there is a moment between any two requests.
const LATENCY: Duration = Duration::from_millis(4);

/// As long as after that a claim is looked after.
const ORPHAN_AFTER: u64 = 121;

/// After the last kill everything must be in order by so many polls: one finishes what was claimed and launches what was
/// not; one more if Prefect's lock of half a minute held a claim back.
const POLLS: usize = 2;

/// Random numbers that follow from the round's: splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// A world with runs that are due.
struct Round {
    prefect: Prefect,
    deployment: crate::support::Deployment,
    runs: Vec<String>,
}

impl Round {
    async fn new(prefect: Prefect) -> Self {
        let deployment = prefect.deployment(json!({})).await;
        let runs = (0..RUNS).map(|_| prefect.due_run(&deployment.world)).collect();
        deployment.world.latency(LATENCY);
        Self { prefect, deployment, runs }
    }

    fn world(&self) -> &World {
        &self.deployment.world
    }

    /// A poll whose process is killed once so many requests came, and a moment later. What it was at, for people.
    async fn kill(&self, requests: usize, later: Duration) -> String {
        self.world().lock().journal.clear();
        let function = self.deployment.poll_function().await;
        let is_over = AtomicBool::new(false);
        let killer = async {
            let came = |state: &world::State| is_over.load(Ordering::SeqCst) || state.journal.all().len() >= requests;
            self.world().wait_until(DEADLINE, came).await;
            tokio::time::sleep(later).await;
            function.kill();
            let state = self.world().lock();
            state
                .journal
                .all()
                .last()
                .map_or("its start".to_owned(), |last| format!("{} {}", last.service, last.operation))
        };
        let poll = async {
            // It may be done before it is killed.
            let _ = function.invoke(json!({}), DEADLINE).await;
            is_over.store(true, Ordering::SeqCst);
            self.world().notify();
        };
        let ((), at) = tokio::join!(poll, killer);
        at
    }

    /// Polls until every run has its task; how many it took.
    async fn recover(&self) -> Result<usize, String> {
        for poll in 1..=POLLS {
            time_passes(self.world(), ORPHAN_AFTER);
            let function = self.deployment.poll_function().await;
            if let Err(error) = function.invoke(json!({}), DEADLINE).await {
                return Err(format!("a poll of a world that is well failed: {error:?}"));
            }
            if self.wrong().is_empty() {
                return Ok(poll);
            }
        }
        Err(self.wrong().join("\n"))
    }

    /// What is not as it should be in the end.
    fn wrong(&self) -> Vec<String> {
        let tasks = self.world().ecs_tasks();
        let mut wrong = Vec::new();
        for id in &self.runs {
            let run = self.prefect.run(self.world(), id);
            let started_by = format!("prefect/etl/{id}");
            let of_run = tasks.iter().filter(|task| task.started_by.as_ref() == Some(&started_by));
            let arns: Vec<_> = of_run.map(|task| task.arn.as_str()).collect();
            let pid = run.pid.as_deref().and_then(|pid| pid.split_once("::")).map(|(_, task)| task);
            let is_known = self.prefect == Prefect::One || pid == arns.first().copied();
            if arns.len() != 1 || run.phase != Phase::Claimed || !is_known {
                wrong.push(format!("run {id} is {:?}, its tasks are {arns:?}, written down is {pid:?}", run.history));
            }
        }
        wrong
    }
}

/// How many requests a poll of all these runs makes.
async fn requests(prefect: Prefect) -> usize {
    let round = Round::new(prefect).await;
    round.deployment.poll().await;
    assert_eq!(round.wrong(), Vec::<String>::new(), "without a kill");
    round.world().lock().journal.all().len()
}

/// One round: killed once, or twice. What the process was at, and how many polls it took to bring all in order.
async fn play(prefect: Prefect, number: u64, requests: usize) -> Result<(Vec<String>, usize), String> {
    let mut random = Random(number);
    let round = Round::new(prefect).await;
    let mut killed = Vec::new();
    for _ in 0..=random.below(3) / 2 {
        let count = usize::try_from(random.below(requests as u64 + 1)).unwrap();
        killed.push(round.kill(count, Duration::from_micros(random.below(8000))).await);
        time_passes(round.world(), ORPHAN_AFTER);
    }
    let told =
        |wrong| format!("=== {prefect:?}, round {number} (KILLS=1 KILLS_FROM={number}), killed at {killed:?}\n{wrong}");
    let polls = round.recover().await.map_err(told)?;
    Ok((killed, polls))
}

async fn check(prefect: Prefect) {
    let requests = requests(prefect).await;
    let first = number("KILLS_FROM", 1);
    let rounds = first..first + number("KILLS", ROUNDS);
    let outcomes = iter(rounds.clone()).map(|number| play(prefect, number, requests)).buffer_unordered(AT_ONCE);
    let outcomes: Vec<_> = outcomes.collect().await;
    let wrong: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).cloned().collect();
    let (mut moments, mut polls) = (BTreeMap::<String, usize>::new(), BTreeMap::<usize, usize>::new());
    for (killed, took) in outcomes.into_iter().flatten() {
        for moment in killed {
            *moments.entry(moment).or_default() += 1;
        }
        *polls.entry(took).or_default() += 1;
    }
    println!(
        "{prefect:?}, rounds {rounds:?} of {RUNS} runs: killed after {moments:#?}; polls to bring all in order: {polls:?}"
    );
    assert!(wrong.is_empty(), "{} rounds went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_of_prefect_1_that_is_killed_at_any_moment_launches_every_run_once() {
    check(Prefect::One).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_of_prefect_3_that_is_killed_at_any_moment_launches_every_run_once() {
    check(Prefect::Three).await;
}
