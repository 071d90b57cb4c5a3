//! Blocks and variables that job configurations refer to: each read once per batch, side by side.

use super::Prefect3;
use super::answer::is_missing;
use super::requests::{self, Request};
use crate::orchestrator::ApiError;
use crate::prefect3::render::{BlockReference, Blocks, Variables, block_references, variable_names};
use crate::redaction::known::secrets_of_block;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What was read under a name: `None` = it is not there; or why it cannot be known.
type Read<K, V> = BTreeMap<K, Result<Option<V>, String>>;

/// The blocks that a batch refers to.
pub(super) struct ReadBlocks(Read<BlockReference, Map<String, Value>>);

/// The variables that a batch refers to.
pub(super) struct ReadVariables(Read<String, Value>);

impl ReadBlocks {
    /// Those of one configuration; or why one of them cannot be known.
    pub(super) fn of(&self, configuration: &Map<String, Value>) -> Result<Blocks, String> {
        chosen(&self.0, block_references(configuration))
    }
}

impl ReadVariables {
    /// Those of one configuration; or why one of them cannot be known.
    pub(super) fn of(&self, configuration: &Map<String, Value>) -> Result<Variables, String> {
        chosen(&self.0, variable_names(configuration))
    }
}

fn chosen<K: Ord, V: Clone>(read: &Read<K, V>, keys: BTreeSet<K>) -> Result<BTreeMap<K, Option<V>>, String> {
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
            let document = self.read_one(&requests::block(&reference)).await;
            if let Ok(Some(document)) = &document {
                self.redaction.bring(&self.config.agent, secrets_of_block(document));
            }
            let data = document.map(|document| document.map(|mut document| object(document["data"].take())));
            (reference, data.map_err(|error| format!("a block that it refers to cannot be read: {error}")))
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
            let variable = self.read_one(&requests::variable(&name)).await;
            let value = variable.map(|variable| variable.map(|mut variable| variable["value"].take()));
            (name, value.map_err(|error| format!("a variable that it refers to cannot be read: {error}")))
        });
        ReadVariables(join_all(read).await.into_iter().collect())
    }

    /// What is there; `None` = nothing is, and nothing can be under such a name.
    async fn read_one(&self, request: &Request) -> Result<Option<Value>, ApiError> {
        match self.transport.read(request).await {
            Ok(answer) => answer.json().map(Some),
            Err(error) if is_missing(&error) || matches!(error, ApiError::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn object(data: Value) -> Map<String, Value> {
    match data {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
