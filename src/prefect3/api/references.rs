//! Blocks and variables that job configurations refer to: each read once per batch, side by side.

use super::Prefect3;
use super::requests::{self, ApiRequest};
use crate::model::ApiError;
use crate::orchestrator::RenderError;
use crate::prefect3::job_configuration::{BlockReference, Blocks, Variables, block_references, variable_names};
use crate::redaction::known::secrets_of_block;
use crate::transport::shape;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What was read under a name: `None` = it is not there; or why it cannot be known.
type Read<K, V> = BTreeMap<K, Result<Option<V>, RenderError>>;

/// The blocks that a batch refers to.
pub(super) struct ReadBlocks(Read<BlockReference, Map<String, Value>>);

/// The variables that a batch refers to.
pub(super) struct ReadVariables(Read<String, Value>);

impl ReadBlocks {
    /// Those of one configuration; or why one of them cannot be known.
    pub(super) fn of(&self, configuration: &Map<String, Value>) -> Result<Blocks, RenderError> {
        chosen(&self.0, block_references(configuration))
    }
}

impl ReadVariables {
    /// Those of one configuration; or why one of them cannot be known.
    pub(super) fn of(&self, configuration: &Map<String, Value>) -> Result<Variables, RenderError> {
        chosen(&self.0, variable_names(configuration))
    }
}

fn chosen<K: Ord, V: Clone>(read: &Read<K, V>, keys: BTreeSet<K>) -> Result<BTreeMap<K, Option<V>>, RenderError> {
    let of = |key: K| {
        let value = read.get(&key).cloned().unwrap_or(Ok(None))?;
        Ok((key, value))
    };
    keys.into_iter().map(of).collect()
}

impl Prefect3 {
    /// Reads the blocks that these configurations refer to.
    pub(super) async fn read_blocks<'a>(
        &self,
        configurations: impl Iterator<Item = &'a Map<String, Value>>,
    ) -> ReadBlocks {
        let references: BTreeSet<BlockReference> = configurations.flat_map(block_references).collect();
        let read = references.into_iter().map(|reference| async {
            let request = requests::block(&reference);
            let document = self.read_one(&request, "data", shape::object, |document| {
                self.redaction.bring(&self.config.agent, secrets_of_block(document));
            });
            (reference, document.await.map_err(|error| unread("a block", &error)))
        });
        ReadBlocks(join_all(read).await.into_iter().collect())
    }

    /// Reads the variables that these configurations refer to.
    pub(super) async fn read_variables<'a>(
        &self,
        configurations: impl Iterator<Item = &'a Map<String, Value>>,
    ) -> ReadVariables {
        let names: BTreeSet<String> = configurations.flat_map(variable_names).collect();
        let read = names.into_iter().map(|name| async {
            // Any JSON is a value, null too.
            let value = self.read_one(&requests::variable(&name), "value", Ok, |_| {}).await;
            (name, value.map_err(|error| unread("a variable", &error)))
        });
        ReadVariables(join_all(read).await.into_iter().collect())
    }

    /// The field of what is there; `None` = nothing is, and nothing can be under such a name.
    async fn read_one<T>(
        &self,
        request: &ApiRequest,
        field: &str,
        read: fn(Value) -> Result<T, String>,
        seen: impl FnOnce(&Map<String, Value>),
    ) -> Result<Option<T>, ApiError> {
        let sent = self.transport.repeatable(request).await;
        let answer = match sent.answer {
            Err(_) if sent.is_absent => return Ok(None),
            Err(ApiError::Refused { .. }) => return Ok(None),
            answer => answer?,
        };
        let mut whole = answer.object()?;
        seen(&whole);
        let value = whole.shift_remove(field);
        let value = value.ok_or_else(|| answer.odd(&format!("`{field}` is missing")))?;
        read(value).map(Some).map_err(|why| answer.odd(&format!("`{field}`: {why}")))
    }
}

/// A run whose references cannot be read waits; an answer that makes no sense is the agent's trouble as well.
fn unread(what: &str, error: &ApiError) -> RenderError {
    RenderError::unread(&format!("{what} that it refers to"), error)
}
