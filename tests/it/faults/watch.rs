//! Polls under observation: what must hold after each (`checks`), and at the end.

mod checks;
mod story;

use crate::prefect::{Phase, Prefect, Run, time_passes};
use crate::support::{Deployment, ROOT};
use serde_json::{Value, json};
use std::time::Duration;
use time::OffsetDateTime;
use world::ecs::Refusal;
use world::prefect1::FlowRunSpec;
use world::{InvokeError, LambdaProcess};

/// How long an invocation may take, unless a story says otherwise.
const DEADLINE: Duration = Duration::from_secs(40);

/// A deployment whose polls are watched.
pub(crate) struct Watched {
    pub(crate) prefect: Prefect,
    pub(crate) deployment: Deployment,
    /// The runs that are to have a task in the end.
    pub(crate) runs: Vec<String>,
    /// The runs that are to be Cancelled in the end, without a task that lives.
    pub(crate) cancelled: Vec<String>,
    /// The warm process, if there is one.
    pub(crate) function: Option<LambdaProcess>,
    /// What each poll since the last [`Watched::warm_up`] answered.
    pub(crate) answers: Vec<Result<Value, InvokeError>>,
    /// What is wrong so far.
    pub(crate) wrong: Vec<String>,
    /// How long an invocation may take.
    pub(crate) deadline: Duration,
}

impl Watched {
    /// An agent of Prefect 1.
    pub(crate) fn new(deployment: Deployment) -> Self {
        Self::of(Prefect::One, deployment)
    }

    pub(crate) fn of(prefect: Prefect, deployment: Deployment) -> Self {
        Self {
            prefect,
            deployment,
            runs: Vec::new(),
            cancelled: Vec::new(),
            function: None,
            answers: Vec::new(),
            wrong: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// Adds a run of Prefect 1.
    pub(crate) fn run(&mut self, spec: FlowRunSpec) {
        let run = self.deployment.schedule(spec);
        self.runs.push(run);
    }

    /// Adds so many runs that are due.
    pub(crate) fn due_runs(&mut self, count: usize) {
        let runs = (0..count).map(|_| self.prefect.due_run(&self.deployment.world));
        self.runs.extend(runs);
    }

    /// A clean poll that leaves a warm process; it is not part of what is watched.
    pub(crate) async fn warm_up(&mut self) {
        self.poll().await;
        assert_eq!(self.wrong, Vec::<String>::new(), "the clean poll before");
        assert!(self.answers.iter().all(Result::is_ok), "the clean poll before: {:?}", self.answers);
        self.forget();
    }

    /// What happened so far is not part of what is watched.
    pub(crate) fn forget(&mut self) {
        self.answers.clear();
        self.deployment.world.lock().journal.clear();
    }

    /// One poll, of the warm process if there is one, else of a new one that then is the warm one.
    pub(crate) async fn poll(&mut self) {
        if self.function.is_none() {
            self.function = Some(self.deployment.poll_function().await);
        }
        let due = self.due();
        let Some(function) = &self.function else { return };
        let answer = function.invoke(json!({}), self.deadline).await;
        self.check_answer(&answer, &due);
        self.check_tasks();
        self.check_secrets();
        self.answers.push(answer);
    }

    /// One poll that must succeed; its report.
    pub(crate) async fn polled(&mut self) -> Value {
        self.poll().await;
        match self.answers.last() {
            Some(Ok(report)) => report.clone(),
            other => panic!("the poll failed: {other:?}\n{}", self.story()),
        }
    }

    /// One poll whose invocation must fail with a report; the report.
    pub(crate) async fn failed(&mut self) -> Value {
        self.poll().await;
        match self.answers.last() {
            Some(Err(error)) if error.error_type == "PollFailed" => serde_json::from_str(&error.error_message).unwrap(),
            other => panic!("the poll did not fail: {other:?}\n{}", self.story()),
        }
    }

    /// ECS refuses the next launches whose body contains `text` for want of resources.
    pub(crate) fn refuse(&self, reason: &str, text: &str, count: u32) {
        let (reason, body_contains) = (reason.to_owned(), Some(text.to_owned()));
        self.deployment.world.ecs_refuse(Refusal { reason, detail: None, body_contains, count });
    }

    /// One poll of a new process.
    pub(crate) async fn poll_cold(&mut self) {
        self.function = None;
        self.poll().await;
    }

    /// Polls with time passing in between, by the warm process and by new ones in turn, until nothing is to be done: at
    /// least once, at most eight times.
    pub(crate) async fn poll_until_quiet(&mut self, warm_first: bool) {
        for round in 0..8 {
            if round > 0 && self.open().is_empty() {
                return;
            }
            self.time_passes(601);
            if (round % 2 == 0) == warm_first { self.poll().await } else { self.poll_cold().await }
        }
        let open = self.open();
        if !open.is_empty() {
            self.wrong.push(format!("still not in order after all these polls: {open:?}"));
        }
    }

    /// Time passes for Prefect and AWS: what starts later starts that much earlier.
    pub(crate) fn time_passes(&self, seconds: u64) {
        time_passes(&self.deployment.world, seconds);
    }

    pub(crate) fn all_runs(&self) -> Vec<Run> {
        self.prefect.runs(&self.deployment.world)
    }

    /// Runs that a poll should find due now.
    fn due(&self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        let is_due = |run: &Run| run.waits_until.is_some_and(|start| start <= now);
        self.all_runs().into_iter().filter(is_due).map(|run| run.id).collect()
    }

    /// Runs that wait, whenever they start; claims of ours without a task; cancelled runs that are not over.
    fn open(&self) -> Vec<String> {
        let is_open = |run: &Run| run.waits_until.is_some() || self.is_orphan(run) || self.is_to_be_cancelled(run);
        self.all_runs().into_iter().filter(is_open).map(|run| run.id).collect()
    }

    fn is_orphan(&self, run: &Run) -> bool {
        run.is_claimed && run.mark["agent"].as_str().is_some_and(|agent| agent.ends_with(&format!("{ROOT}/etl"))) && {
            let is_written_down = self.prefect == Prefect::One || run.pid.is_some();
            self.live_tasks(&run.id) == 0 || !is_written_down
        }
    }

    fn is_to_be_cancelled(&self, run: &Run) -> bool {
        self.cancelled.contains(&run.id) && (run.phase != Phase::Cancelled || self.live_tasks(&run.id) > 0)
    }

    fn live_tasks(&self, id: &str) -> usize {
        let started_by = Some(format!("prefect/etl/{id}"));
        let tasks = self.deployment.world.ecs_tasks();
        tasks.iter().filter(|task| task.started_by == started_by && task.desired_status == "RUNNING").count()
    }
}
