//! The `check` function: what `prefect-serverless-agent check` looks at, from where the functions run: their network, and a
//! role in the same account. It only reads, but for a poke where Prefect is to poke.

use super::InvocationError;
use super::poll::selection;
use crate::aws::AwsClients;
use crate::check::deployment::{Selected, check};
use crate::config::{Environment, Root};
use crate::poll::{Selection, Source};
use crate::redaction::Redaction;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Kept back from the end of an invocation, so that what was found by then is answered.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Answers what was found, as JSON. `{"agents": ["etl"]}` looks at those only, `{"poke": false}` does not try the poke URL.
/// `left`: until the invocation is killed.
pub async fn handle(
    root: Root,
    aws: &Arc<AwsClients>,
    redaction: &Redaction,
    event: &Value,
    left: Duration,
) -> Result<Value, InvocationError> {
    let bad = |message: String| InvocationError::new("BadEvent", message);
    let agents = match selection(event).map_err(bad)? {
        Selection::All => Vec::new(),
        Selection::Agents(agents) => agents,
    };
    let pokes = match event.get("poke") {
        None => true,
        Some(Value::Bool(pokes)) => *pokes,
        Some(other) => return Err(bad(format!("`poke` must be true or false, but is {other}"))),
    };
    let end = Instant::now() + left.saturating_sub(LAST_WORDS);
    let selected = Selected { agents: &agents, pre: false, pokes, end };
    let (source, environment) = (Source::Parameters(root), Environment::default());
    let looked = Box::pin(check(&source, selected, aws, &environment, redaction)).await;
    looked.map(|looked| looked.as_json()).map_err(|unknown| bad(unknown.to_string()))
}
