//! The `health` function: reads what the polls wrote down, and passes pokes on.

use crate::aws::ssm::Ssm;
use crate::aws::{AwsClients, AwsError};
use crate::clock::Clock;
use crate::config::{
    AgentConfig, Environment, GenerationConfig, LoadedAgent, Parameter, Root, apply_backend_settings, load,
};
use crate::health::status::ConfiguredAgent;
use crate::health::{AgentFacts, Health, HealthAnswer, HealthRequest, Route, UrlEvent};
use crate::held::{ANSWER, HeldAnswer, HeldToken};
use crate::redaction::Redaction;
use crate::state::{Status, polls, status};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What answers the health page.
pub struct HealthFunction<C> {
    root: Root,
    aws: Arc<AwsClients>,
    environment: Environment,
    clock: C,
    facts: HeldAnswer<BTreeMap<String, AgentFacts>, C>,
    poke_token: HeldToken<C>,
}

impl<C: Clock + Clone> HealthFunction<C> {
    /// Reads nothing yet. `redaction` comes to know the tokens.
    pub fn new(root: Root, aws: Arc<AwsClients>, environment: Environment, clock: C, redaction: Redaction) -> Self {
        let facts = HeldAnswer::new(clock.clone(), ANSWER);
        let poke_token = HeldToken::new(root.poke_token(), aws.ssm.clone(), redaction, clock.clone());
        Self { root, aws, environment, clock, facts, poke_token }
    }

    /// Answers a Function URL event.
    pub async fn handle(&self, event: UrlEvent) -> HealthAnswer {
        let request = HealthRequest::from(event);
        match request.route() {
            Route::Health => self.health().await,
            Route::Poke => self.poke(&request).await,
            Route::MethodNotAllowed => HealthAnswer::method_not_allowed(),
            Route::NotFound => HealthAnswer::not_found(),
        }
    }

    async fn health(&self) -> HealthAnswer {
        match self.facts().await {
            Ok(facts) => HealthAnswer::health(&Health::of(&facts, self.clock.now())),
            Err(error) => {
                tracing::error!(%error, "health cannot be told");
                HealthAnswer::health_unknown()
            }
        }
    }

    /// Never older than ten seconds; what follows from them is judged at the moment of the answer.
    async fn facts(&self) -> Result<Arc<BTreeMap<String, AgentFacts>>, AwsError> {
        self.facts.get(async || facts(&self.root, &self.aws.ssm, &self.environment).await.map(Arc::new)).await
    }

    async fn poke(&self, request: &HealthRequest) -> HealthAnswer {
        if !self.may_poke(request).await {
            return HealthAnswer::forbidden();
        }
        let Some(function) = self.environment.get("POLL_FUNCTION_NAME").filter(|name| !name.is_empty()) else {
            tracing::error!("POLL_FUNCTION_NAME is not set: a poke has nobody to wake");
            return HealthAnswer::poke_failed();
        };
        match self.aws.lambda.invoke_event(function, bytes::Bytes::from_static(b"{\"poke\":true}")).await {
            Ok(()) => HealthAnswer::poked(),
            Err(error) => {
                tracing::error!(%error, function, "the poll function was not invoked");
                HealthAnswer::poke_failed()
            }
        }
    }

    /// The token is only read for callers that show one.
    async fn may_poke(&self, request: &HealthRequest) -> bool {
        if request.by_iam || request.bearer.is_none() {
            return request.may_poke(None);
        }
        match self.poke_token.get().await {
            Ok(token) => request.may_poke(token.as_ref()),
            Err(error) => {
                tracing::error!(%error, "the poke token cannot be read");
                false
            }
        }
    }
}

/// What is known of all configured agents, from Parameter Store as it is now.
pub async fn facts(
    root: &Root,
    ssm: &Ssm,
    environment: &Environment,
) -> Result<BTreeMap<String, AgentFacts>, AwsError> {
    let (config_path, state_path) = (root.config(), root.state());
    let (config, state) = tokio::try_join!(
        ssm.parameters_by_path(&config_path, true, false),
        ssm.parameters_by_path(&state_path, true, false),
    )?;
    let agents = load(root, &config, environment).agents;
    Ok(facts_among(root, &agents, &state))
}

/// The same, of these agents. `state`: the parameters below `{root}/state`.
pub fn facts_among(root: &Root, agents: &[LoadedAgent], state: &[Parameter]) -> BTreeMap<String, AgentFacts> {
    let statuses = status::by_agent(root, state);
    let counters = polls::by_agent(root, state);
    let facts = agents.iter().map(|agent| {
        let name = agent.agent.clone();
        let facts = facts_of(agent, statuses.get(&name), counters.get(&name).copied());
        (name, facts)
    });
    facts.collect()
}

/// The counter of `max_polls` is what polls obey, so it is the truth: the status was written by whichever of several
/// overlapping polls ended last, and by none that was stopped.
fn facts_of(agent: &LoadedAgent, status: Option<&Status>, polls: Option<u64>) -> AgentFacts {
    let mut status = status.cloned();
    let configuration = agent.result.as_ref().ok().map(|(config, _)| {
        let settings = status.as_ref().and_then(|status| status.registration.as_ref()?.settings.as_ref());
        let max_polls = max_polls(config, settings);
        if let Some(max_polls) = max_polls {
            let polls = polls.unwrap_or_default();
            if polls >= max_polls || status.is_some() {
                let status = status.get_or_insert_default();
                (status.polls, status.stopped) = (polls, polls >= max_polls);
            }
        }
        ConfiguredAgent::of(config, max_polls)
    });
    AgentFacts { configuration, configured_at: agent.last_modified, status }
}

/// `max_polls`, after settings kept in the backend.
fn max_polls(config: &AgentConfig, settings: Option<&Value>) -> Option<u64> {
    match (&config.generation, settings) {
        (GenerationConfig::One(one), Some(settings)) => {
            let mut config = config.clone().with(one.clone());
            apply_backend_settings(&mut config, settings);
            config.max_polls
        }
        _ => config.max_polls,
    }
}
