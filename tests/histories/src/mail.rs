//! Events of tasks on their way to the function `task-events`: late, lost, repeated, in any order.

use crate::ecs::{Status, Task};
use crate::process::AGENT;
use crate::rng::Rng;
use prefect_serverless_agent::task_events::event::{Container, EventTask as Detail, TaskEvent};
use prefect_serverless_agent::task_events::task_owner::{LaunchedBy, Owner};
use std::collections::BTreeMap;
use std::time::Duration;
use time::OffsetDateTime;

/// What becomes of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Post {
    /// Nobody listens.
    pub silent: bool,
    /// So many of a thousand get lost.
    pub lost: u64,
    /// So many of a thousand come twice.
    pub repeated: u64,
    /// They take so many seconds at most.
    pub late: u64,
}

/// An event and whose task it is.
#[derive(Debug, Clone)]
pub struct Letter {
    /// The event.
    pub event: TaskEvent,
    /// Whose.
    pub owner: Owner,
    /// The task's place among all tasks.
    pub task: usize,
}

/// The letters on their way.
#[derive(Debug)]
pub struct Mail {
    /// What becomes of new ones.
    pub post: Post,
    letters: BTreeMap<(OffsetDateTime, u64), Letter>,
    numbers: u64,
}

impl Mail {
    /// None yet.
    pub fn new(post: Post) -> Self {
        Self { post, letters: BTreeMap::new(), numbers: 0 }
    }

    /// A task has changed its state.
    pub fn post(&mut self, task: &Task, rng: &mut Rng, now: OffsetDateTime) {
        if self.post.silent {
            return;
        }
        let copies = u64::from(!rng.chance(self.post.lost)) + u64::from(rng.chance(self.post.repeated));
        for _ in 0..copies {
            let at = now + Duration::from_secs(rng.below(self.post.late + 1));
            self.send(task, at, now);
        }
    }

    /// An event of the task as it is now, which arrives at this time.
    pub fn send(&mut self, task: &Task, at: OffsetDateTime, now: OffsetDateTime) {
        self.numbers += 1;
        self.letters.insert((at, self.numbers), letter(task, now));
    }

    /// When the next one arrives.
    pub fn next_at(&self) -> Option<OffsetDateTime> {
        self.letters.first_key_value().map(|((at, _), _)| *at)
    }

    /// One that has arrived by now.
    pub fn arrived(&mut self, now: OffsetDateTime) -> Option<Letter> {
        let first = self.letters.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

fn letter(task: &Task, now: OffsetDateTime) -> Letter {
    let stopped = task.status == Status::Stopped;
    let container = Container {
        name: Some("flow".into()),
        container_arn: None,
        exit_code: task.exit_code.filter(|_| stopped),
        reason: None,
        last_status: Some(task.status.text().into()),
    };
    let started = task.started_at.is_some();
    let detail = Detail {
        cluster_arn: Some(task.cluster.clone()),
        task_definition_arn: Some("prefect-flow".into()),
        desired_status: Some(if stopped || task.is_ending { "STOPPED" } else { "RUNNING" }.into()),
        started_by: task.started_by.clone(),
        stop_code: stopped.then(|| task.stop_code.to_owned()),
        stopped_reason: stopped.then(|| task.stopped_reason.to_owned()),
        containers: if started { vec![container] } else { Vec::new() },
        version: Some(task.version),
        created_at: Some(task.created_at),
        started_at: task.started_at,
        stopped_at: task.stopped_at,
        launch_type: Some("FARGATE".into()),
        ..Detail::default()
    };
    let event = TaskEvent {
        id: Some(format!("00000000-0000-4000-9000-{:08}{:04}", task.index, task.version)),
        time: Some(now),
        region: Some("eu-west-1".into()),
        account: Some("123456789012".into()),
        task_arn: task.arn.clone(),
        last_status: task.status.text().into(),
        task: detail,
    };
    let launched = if task.is_ours() { LaunchedBy::Here } else { LaunchedBy::ByWorker };
    let owner = Owner { flow_run_id: task.run.to_string(), agents: vec![AGENT.to_owned()], launched };
    Letter { event, owner, task: task.index }
}
