//! The `poke` function: whoever knows the token starts a poll, and nobody gets anything else. It answers at once; the poll is
//! asked for and not waited for, because Prefect runs the actions of a whole server two at a time.

use super::InvocationError;
use crate::aws::AwsClients;
use crate::aws::services::Lambda;
use crate::clock::Clock;
use crate::config::{Environment, Root};
use crate::health::{HealthAnswer, HealthRequest, UrlEvent};
use crate::held::HeldToken;
use crate::poke::coalescing::{Coalescing, Decision};
use crate::poke::{PokeRoute, poked};
use crate::redaction::Redaction;
use serde_json::Value;
use tokio::sync::Mutex;

/// Environment variable: the function that polls.
const POLL_FUNCTION: &str = "POLL_FUNCTION_NAME";

/// What answers the poke URL.
pub struct PokeFunction<C> {
    token: HeldToken<C>,
    poked_polls: PokedPolls<C>,
}

impl<C: Clock + Clone> PokeFunction<C> {
    /// Reads nothing yet. `redaction` comes to know the token.
    pub fn new(root: &Root, aws: &AwsClients, environment: &Environment, clock: C, redaction: Redaction) -> Self {
        Self {
            token: HeldToken::new(root.poke_token(), aws.ssm.clone(), redaction, clock.clone()),
            poked_polls: PokedPolls::new(aws, environment, clock),
        }
    }

    /// Reads the token ahead of the first poke. What goes wrong shows then.
    pub async fn warm_up(&self) {
        if let Err(error) = self.token.get().await {
            tracing::warn!(%error, "the poke token was not read ahead of the first poke");
        }
    }

    /// Answers a Function URL event.
    pub async fn handle(&self, event: Value) -> Result<HealthAnswer, InvocationError> {
        let event: UrlEvent = serde_json::from_value(event).map_err(|_| {
            InvocationError::new("BadEvent", "this function answers its URL only: poll by invoking the poll function")
        })?;
        // The token and nothing else opens this.
        let request = HealthRequest { by_iam: false, ..event.into() };
        Ok(match PokeRoute::of(&request) {
            PokeRoute::NotFound => HealthAnswer::not_found(),
            PokeRoute::MethodNotAllowed => HealthAnswer::method_not_allowed(),
            PokeRoute::Poke => self.poke(&request).await,
        })
    }

    async fn poke(&self, request: &HealthRequest) -> HealthAnswer {
        // Strangers who show nothing cost nothing.
        if request.bearer.is_none() {
            return HealthAnswer::forbidden();
        }
        match self.token.get().await {
            Ok(token) if request.may_poke(token.as_ref()) => self.poked_polls.answer(&request.query).await,
            Ok(_) => HealthAnswer::forbidden(),
            Err(error) => {
                tracing::error!(%error, "the poke token cannot be read: nobody knows who may poke");
                HealthAnswer::poke_failed()
            }
        }
    }
}

/// The polls that those lead to who may poke, at whichever URL: few, however many pokes come together.
pub(super) struct PokedPolls<C> {
    lambda: Lambda,
    poll_function: Option<String>,
    clock: C,
    /// Held while a poll is asked for: a poke meanwhile must know what became of it.
    coalescing: Mutex<Coalescing>,
}

impl<C: Clock> PokedPolls<C> {
    pub(super) fn new(aws: &AwsClients, environment: &Environment, clock: C) -> Self {
        let poll_function = environment.get(POLL_FUNCTION).filter(|name| !name.is_empty()).cloned();
        Self { lambda: aws.lambda.clone(), poll_function, clock, coalescing: Mutex::default() }
    }

    /// Answers a poke that is allowed. `query`: of its URL, which says whom it is for.
    pub(super) async fn answer(&self, query: &str) -> HealthAnswer {
        let whom = match poked(query) {
            Ok(whom) => whom,
            Err(error) => return HealthAnswer::bad_request(&error.to_string()),
        };
        let Some(function) = &self.poll_function else {
            tracing::error!("{POLL_FUNCTION} is not set: a poke has nobody to wake");
            return HealthAnswer::poke_failed();
        };
        let mut coalescing = self.coalescing.lock().await;
        let poll = match coalescing.decide(whom, self.clock.now()) {
            Decision::AlreadyCovered => return HealthAnswer::poked(),
            Decision::Invoke(poll) => poll,
        };
        match self.lambda.invoke_event(function, poll.event().to_string().into()).await {
            Ok(()) => {
                coalescing.queued(poll);
                HealthAnswer::poked()
            }
            Err(error) => {
                tracing::error!(%error, function, "the poll function was not invoked");
                HealthAnswer::poke_failed()
            }
        }
    }
}
