//! Reports: what they say of runs and tasks is true.

use super::Audit;
use crate::tasks::Task;
use prefect_serverless_agent::poll::AgentReport;
use prefect_serverless_agent::state::ErrorKind;

impl Audit {
    /// A poll ended with this report.
    pub fn reported(&mut self, report: &AgentReport, tasks: &[Task]) {
        let launched = report.launched.iter().map(|launched| (&launched.flow_run_id, &launched.task_arn));
        let recovered = report.recovered.iter().map(|recovered| (&recovered.flow_run_id, &recovered.task_arn));
        for (run, arn) in launched.chain(recovered) {
            let is_true = tasks.iter().any(|task| task.arn == *arn && task.run.to_string() == *run);
            if !is_true {
                self.violated(format!("{run:?}: reported with task {arn}, which is not its own"));
            }
        }
        if report.ok == report.error.is_some() {
            self.violated(format!("a report that is ok and has an error: {:?}", report.error));
        }
        if report.error.is_some() && matches!(report.error_kind, None | Some(ErrorKind::Internal)) {
            self.violated(format!("a poll that broke, or an agent that cannot be made: {:?}", report.error));
        }
        self.note(|| format!("report: {report:?}"));
    }
}
