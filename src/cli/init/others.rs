//! The other agents below the same root: one stack serves them all, so that its parameters must do for all of them.

use super::findings::{Finding, Level};
use super::{MOST_DEPLOYMENTS, Setup, TIME};
use crate::clock::SystemClock;
use crate::config::{Environment, LoadedAgent, load};
use crate::platform::ecs::AgentEcs;
use crate::poll::PrefectBuilder;
use crate::survey::{Needs, survey};
use std::sync::Arc;
use tokio::time::Instant;

/// Other agents that are looked at.
const MOST: usize = 20;

/// What the other agents add.
#[derive(Default)]
pub(super) struct Others {
    /// Their names.
    pub(super) agents: Vec<String>,
    /// What their runs ask for.
    pub(super) needs: Needs,
    /// What is not known of them.
    pub(super) findings: Vec<Finding>,
}

const NEXT: &str = "add what its runs need (clusters, roles, log groups) to the parameters yourself: a deployment with these \
                    alone may take it away";

impl Setup {
    /// Reads them as the function does, and their pools.
    pub(super) async fn others(&self, own: &str) -> Others {
        let mut others = Others::default();
        let read = async {
            let mut parameters = self.aws.ssm.parameters_by_path(&self.root.config(), true, false).await?;
            parameters.extend(self.aws.ssm.parameters_by_path(&self.root.secrets(), true, true).await?);
            Ok::<_, crate::aws::AwsError>(parameters)
        };
        let parameters = match read.await {
            Ok(parameters) => parameters,
            Err(error) => {
                let text = format!("whether other agents are configured there is not known: {error}");
                let next = "if there are, add what their runs need to the parameters: a deployment with these alone may take \
                            it away";
                others.findings.push(Finding::new(Level::Warning, self.root.as_str(), text, next));
                return others;
            }
        };
        let loaded = load(&self.root, &parameters, &Environment::default());
        let there = loaded.agents.iter().filter(|agent| agent.agent != own);
        for (number, agent) in there.enumerate() {
            others.agents.push(agent.agent.clone());
            let known =
                if number < MOST { self.other(agent).await } else { Err("there are too many agents".to_owned()) };
            match known {
                Ok(needs) => others.needs.merge(needs),
                Err(why) => {
                    let text = format!("another agent of this deployment, whose runs are not known: {why}");
                    others.findings.push(Finding::new(Level::Warning, &agent.agent, text, NEXT));
                }
            }
        }
        others
    }

    async fn other(&self, agent: &LoadedAgent) -> Result<Needs, String> {
        let (config, secrets) = agent.result.as_ref().map_err(ToString::to_string)?;
        self.redaction.know_agent(secrets);
        let (aws, redaction) = (Arc::clone(&self.aws), &self.redaction);
        let prefect = PrefectBuilder::of_parameter::<AgentEcs<SystemClock>>(
            aws,
            SystemClock,
            &self.root,
            agent,
            secrets,
            redaction,
        );
        let deadline = Instant::now() + TIME;
        let survey = survey(&prefect, config, self.home.clone(), MOST_DEPLOYMENTS, deadline).await;
        survey.map(|survey| survey.needs).map_err(|error| error.to_string())
    }
}
