//! The `health` function: reads what the polls wrote down, and passes pokes on.

use super::poke::PokedPolls;
use crate::aws::ssm::Ssm;
use crate::aws::{AwsClients, AwsError};
use crate::clock::Clock;
use crate::config::{
    AgentConfig, Environment, GenerationConfig, LoadedAgent, Parameter, Root, apply_backend_settings, load,
};
use crate::health::status::ConfiguredAgent;
use crate::health::{AgentFacts, Health, HealthAnswer, HealthRequest, Route, UrlEvent};
use crate::held::{ANSWER, HeldAnswer, HeldToken};
use crate::page::Page;
use crate::page::access::{self, Sent, ShownCookie};
use crate::page::html::{self, Around, Asked};
use crate::redaction::Redaction;
use crate::state::{Status, polls, recent, status};
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
    page_token: HeldToken<C>,
    poked_polls: PokedPolls<C>,
    redaction: Redaction,
}

/// Whom an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Viewer {
    /// Authorised by IAM, or by the page's token as a bearer.
    Known,
    /// By the cookie that the page's form gives.
    ByCookie,
    /// Nobody knows.
    Stranger,
}

impl<C: Clock + Clone> HealthFunction<C> {
    /// Reads nothing yet. `redaction` comes to know the tokens.
    pub fn new(root: Root, aws: Arc<AwsClients>, environment: Environment, clock: C, redaction: Redaction) -> Self {
        let facts = HeldAnswer::new(clock.clone(), ANSWER);
        let token = |name| HeldToken::new(name, aws.ssm.clone(), redaction.clone(), clock.clone());
        let (poke_token, page_token) = (token(root.poke_token()), token(root.page_token()));
        let poked_polls = PokedPolls::new(&aws, &environment, clock.clone());
        Self { root, aws, environment, clock, facts, poke_token, page_token, poked_polls, redaction }
    }

    /// Answers a Function URL event.
    pub async fn handle(&self, event: UrlEvent) -> HealthAnswer {
        let request = HealthRequest::from(event);
        match request.route() {
            Route::Health => self.health(&request).await,
            Route::Page => self.page(&request).await,
            Route::Form => self.form(&request).await,
            Route::Poke => self.poke(&request).await,
            Route::MethodNotAllowed => HealthAnswer::method_not_allowed(),
            Route::NotFound => HealthAnswer::not_found(),
        }
    }

    async fn health(&self, request: &HealthRequest) -> HealthAnswer {
        let facts = self.facts().await;
        let is_stranger = self.viewer(request).await == Viewer::Stranger;
        match facts {
            Ok(facts) => {
                let health = Health::of(&facts, self.clock.now());
                if is_stranger { HealthAnswer::health_for_strangers(&health) } else { HealthAnswer::health(&health) }
            }
            Err(error) => {
                tracing::error!(%error, "health cannot be told");
                if is_stranger { HealthAnswer::health_unknown_to_strangers() } else { HealthAnswer::health_unknown() }
            }
        }
    }

    /// The page, or the form for strangers.
    async fn page(&self, request: &HealthRequest) -> HealthAnswer {
        let viewer = self.viewer(request).await;
        if viewer == Viewer::Stranger {
            return HealthAnswer::document(200, html::form(self.asked().await));
        }
        match self.facts().await {
            Ok(facts) => {
                let page = Page::of(self.root.as_str(), &facts, self.clock.now()).without(&self.redaction);
                let around = Around { refreshes: true, sign_out: viewer == Viewer::ByCookie };
                HealthAnswer::document(200, html::page(&page, around))
            }
            Err(error) => {
                tracing::error!(%error, "the page cannot be shown");
                HealthAnswer::document(503, html::trouble())
            }
        }
    }

    /// What the form was sent with.
    async fn form(&self, request: &HealthRequest) -> HealthAnswer {
        let again = |asked| HealthAnswer::document(403, html::form(asked));
        let shown = match Sent::read(&request.body) {
            Sent::Token(token) => token,
            Sent::SignOut => return HealthAnswer::to_page(access::no_cookie()),
            Sent::Nothing => return again(Asked::Wrong),
        };
        match self.page_token.get().await {
            Ok(Some(token)) if access::is_token(&shown, &token) => {
                let cookie = access::cookie(&token, self.root.as_str(), self.clock.now());
                cookie.map_or_else(|| again(Asked::Unknown), HealthAnswer::to_page)
            }
            Ok(Some(token)) if access::is_usable(&token) => again(Asked::Wrong),
            _ => again(self.asked().await),
        }
    }

    /// What the form has to say. The token was read a moment ago, or is read now: once in ten seconds.
    async fn asked(&self) -> Asked {
        match self.page_token.get().await {
            Ok(Some(token)) if access::is_usable(&token) => Asked::First,
            Ok(Some(_)) => Asked::ShortToken,
            Ok(None) => Asked::NoToken,
            Err(error) => {
                tracing::error!(%error, "the page's token cannot be read");
                Asked::Unknown
            }
        }
    }

    /// The token is only read for those who show something that could be of it.
    async fn viewer(&self, request: &HealthRequest) -> Viewer {
        let cookie = ShownCookie::among(request.cookies.iter().map(String::as_str), self.clock.now());
        if request.by_iam {
            return Viewer::Known;
        }
        if cookie.is_none() && request.bearer.is_none() {
            return Viewer::Stranger;
        }
        match self.page_token.get().await {
            Ok(Some(token)) if request.bearer.as_ref().is_some_and(|shown| access::is_token(shown, &token)) => {
                Viewer::Known
            }
            Ok(Some(token)) if cookie.is_some_and(|cookie| cookie.is_of(&token, self.root.as_str())) => {
                Viewer::ByCookie
            }
            Ok(_) => Viewer::Stranger,
            Err(error) => {
                tracing::error!(%error, "the page's token cannot be read");
                Viewer::Stranger
            }
        }
    }

    /// Never older than ten seconds; what follows from them is judged at the moment of the answer.
    async fn facts(&self) -> Result<Arc<BTreeMap<String, AgentFacts>>, AwsError> {
        self.facts.get(async || facts(&self.root, &self.aws.ssm, &self.environment).await.map(Arc::new)).await
    }

    async fn poke(&self, request: &HealthRequest) -> HealthAnswer {
        if self.may_poke(request).await {
            self.poked_polls.answer(&request.query).await
        } else {
            HealthAnswer::forbidden()
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
    let mut deaths = recent::deaths_by_agent(root, state);
    let facts = agents.iter().map(|agent| {
        let name = agent.agent.clone();
        let facts = facts_of(agent, statuses.get(&name), counters.get(&name).copied());
        let facts = AgentFacts { deaths: deaths.remove(&name).unwrap_or_default(), ..facts };
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
    AgentFacts { configuration, configured_at: agent.last_modified, status, deaths: Vec::new() }
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
