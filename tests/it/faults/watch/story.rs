//! What happened, for people.

use super::Watched;
use world::Request;

impl Watched {
    /// All that a person needs to know of what happened.
    pub(crate) fn story(&self) -> String {
        let journal: Vec<Request> = self.deployment.world.lock().journal.all().to_vec();
        let requests: Vec<String> = journal
            .iter()
            .map(|one| format!("{:>6.0} {} {} → {:?}", one.at_ms, one.service, one.operation, one.status))
            .collect();
        let answers: Vec<String> = self
            .answers
            .iter()
            .map(|answer| match answer {
                Ok(report) => format!("ok {report}"),
                Err(error) => format!("{} {}", error.error_type, error.error_message),
            })
            .collect();
        let runs: Vec<String> =
            self.all_runs().iter().map(|run| format!("{} {:?} {:?}", run.id, run.history, run.pid)).collect();
        let tasks: Vec<String> = self
            .deployment
            .world
            .ecs_tasks()
            .iter()
            .map(|task| format!("{:?} {} token {:?}", task.started_by, task.last_status, task.client_token))
            .collect();
        format!(
            "polls:\n  {}\nruns:\n  {}\ntasks:\n  {}\nrequests:\n  {}",
            answers.join("\n  "),
            runs.join("\n  "),
            tasks.join("\n  "),
            requests.join("\n  ")
        )
    }
}
