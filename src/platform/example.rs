use prefect_serverless_agent::model::{ErrorKind, RenderError};
use prefect_serverless_agent::platform::process::Host;
use prefect_serverless_agent::platform::*;
use std::{collections::BTreeMap, sync::Mutex};

/// Flow runs on the tickets of a batch system, by the names of their launches.
#[derive(Default)]
struct Tickets(Mutex<BTreeMap<String, String>>);

impl Platform for Tickets {
    type Launch = String; // the flow run's id
    type Prepared = LaunchIdentity;
    type Place = Host;
    const NOUN: &'static str = "ticket";
    const WORK_POOL: WorkPoolType = WorkPoolType { name: "tickets", template: |_| "{}" };
    const TROUBLE: ErrorKind = ErrorKind::Internal;

    async fn render(&self, run: RunDescription) -> Result<WithWarning<String>, RenderError> {
        let launch = match run {
            RunDescription::One(_agent, run) => run.id.clone(),
            RunDescription::Three(job) => job.flow_run.id.clone(),
        };
        Ok(WithWarning { launch, warning: None })
    }

    fn place(&self, _: &String) -> Host {
        Host::default()
    }

    async fn prepare(&self, _: &String, id: &LaunchIdentity) -> Result<WithWarning<LaunchIdentity>, LaunchOutcome> {
        Ok(WithWarning { launch: id.clone(), warning: None })
    }

    async fn launch(&self, launch: &LaunchIdentity, _: time::OffsetDateTime) -> LaunchOutcome {
        match self.0.lock().unwrap().insert(launch.token.clone(), launch.started_by.clone()) {
            None => LaunchOutcome::Started { id: launch.token.clone() },
            Some(_) => LaunchOutcome::Adopted { id: launch.token.clone() },
        }
    }

    async fn live(&self, _: &Host, run: &LaunchIdentity) -> Result<LiveDeployments, LaunchOutcome> {
        let open = |id: &String| LiveDeployment { id: id.clone(), progress: Progress::Begun, is_stopping: false };
        let tickets = self.0.lock().unwrap();
        let of_run = tickets.iter().filter(|(_, started_by)| **started_by == run.started_by);
        Ok(LiveDeployments { deployments: of_run.map(|(id, _)| open(id)).collect(), warning: None })
    }

    async fn stop(&self, _: &Host, id: &str, _reason: &str) -> Result<(), LaunchOutcome> {
        self.0.lock().unwrap().remove(id);
        Ok(())
    }
}
