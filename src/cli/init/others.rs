//! The other agents below the same root: one stack serves them all, so that its parameters must do for all of them.

use super::findings::{Level, SetupFinding};
use super::{InitSetup, MOST_DEPLOYMENTS, TIME};
use crate::config::{Environment, LoadedAgent, load};
use crate::survey::{Needs, survey};
use futures_util::future::try_join;
use futures_util::stream::{self, StreamExt};
use tokio::time::Instant;

/// Other agents that are looked at.
const MOST: usize = 20;

/// So many of them at once.
const AT_ONCE: usize = 5;

/// What the other agents add.
#[derive(Default)]
pub(super) struct OtherAgents {
    /// Their names.
    pub(super) agents: Vec<String>,
    /// What their runs ask for.
    pub(super) needs: Needs,
    /// What is not known of them.
    pub(super) findings: Vec<SetupFinding>,
}

const NEXT: &str = "add what its runs need (clusters, roles, log groups) to the parameters yourself: a deployment with these \
                    alone may take it away";

impl InitSetup {
    /// Reads them as the function does, and their pools.
    pub(super) async fn others(&self, own: &str) -> OtherAgents {
        let mut others = OtherAgents::default();
        let below = async |path: String, decrypted| self.aws.ssm.parameters_by_path(&path, true, decrypted).await;
        let parameters = match try_join(below(self.root.config(), false), below(self.root.secrets(), true)).await {
            Ok((configurations, secrets)) => [configurations, secrets].concat(),
            Err(error) => {
                let text = format!("whether other agents are configured there is not known: {error}");
                let next = "if there are, add what their runs need to the parameters: a deployment with these alone may take \
                            it away";
                others.findings.push(SetupFinding::new(Level::Warning, self.root.as_str(), text, next));
                return others;
            }
        };
        let loaded = load(&self.root, &parameters, &Environment::default());
        let there: Vec<&LoadedAgent> = loaded.agents.iter().filter(|agent| agent.agent != own).collect();
        let deadline = Instant::now() + TIME;
        let asked = there.iter().take(MOST).map(|agent| self.other(agent, deadline));
        let known: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        let too_many = || Err(format!("only {MOST} others are looked at"));
        for (agent, known) in there.iter().zip(known.into_iter().chain(std::iter::repeat_with(too_many))) {
            others.agents.push(agent.agent.clone());
            match known {
                Ok(needs) => others.needs.merge(needs),
                Err(why) => {
                    let text = format!("another agent of this deployment, whose runs are not known: {why}");
                    others.findings.push(SetupFinding::new(Level::Warning, &agent.agent, text, NEXT));
                }
            }
        }
        others
    }

    async fn other(&self, agent: &LoadedAgent, deadline: Instant) -> Result<Needs, String> {
        let (config, secrets) = agent.result.as_ref().map_err(ToString::to_string)?;
        self.redaction.know_agent(secrets);
        let prefect = self.prefect_of(agent, secrets);
        let survey = survey(&prefect, config, self.home.clone(), MOST_DEPLOYMENTS, deadline).await;
        survey.map(|survey| survey.needs).map_err(|error| error.to_string())
    }
}
