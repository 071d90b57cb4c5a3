//! What due runs refer to: flows and deployments, read once per poll and not once per run, and blocks and variables.
//!
//! A list that lacks one proves nothing: only the answer that there is no such thing does, to a question for it alone.

use super::requests::{self, ApiRequest, PAGE_ROWS};
use super::{Detail, Prefect3, lock};
use crate::flow_run::prefect3::{
    BlockReference, Blocks, Flow, PrefectDeployment, Variables, block_references, variable_names,
};
use crate::model::ApiError;
use crate::orchestrator::{DueRun, RenderError};
use crate::redaction::known::secrets_of_block;
use crate::transport::shape::{self, FieldKind, RowField};
use futures_util::future::{join, join_all};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Flows that a warm process remembers at most.
const MAX_FLOWS: usize = 1000;
/// Of what a list lacks, so many are asked for one by one. The others wait for a later poll.
const MAX_SINGLE: usize = 20;

const FLOW: &[RowField] = &[RowField::required("id", FieldKind::Text), RowField::required("name", FieldKind::Text)];
const DEPLOYMENT: &[RowField] = &[
    RowField::required("id", FieldKind::Text),
    RowField::required("name", FieldKind::Text),
    RowField::optional("updated", FieldKind::Text),
    RowField::optional("job_variables", FieldKind::Object),
    RowField::optional("infra_overrides", FieldKind::Object),
];

/// How one kind of record is asked for and read.
struct Asking<T> {
    /// For people.
    what: &'static str,
    many: fn(&[&str]) -> ApiRequest,
    single: fn(&str) -> ApiRequest,
    parse: fn(Value) -> Result<T, String>,
}

/// What is known of flows and deployments.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Flows keep their names: a warm process reads each once.
    flows: RecordCache<Flow>,
    /// Deployments as they are in this poll.
    deployments: RecordCache<Deployed>,
    /// Held while they are read, so that batches side by side do not read the same.
    reading: tokio::sync::Mutex<()>,
}

type RecordCache<T> = Mutex<HashMap<String, CacheEntry<T>>>;

/// What was found under an id.
#[derive(Debug)]
enum CacheEntry<T> {
    There(Arc<T>),
    /// Nothing: deleted.
    Nothing,
    /// It cannot be read, and why.
    Unread(RenderError),
}

/// A deployment and what launches do not need of it.
#[derive(Debug, Clone)]
pub(super) struct Deployed {
    pub deployment: Arc<PrefectDeployment>,
    pub tags: Vec<String>,
}

/// What a run belongs to.
#[derive(Debug, Clone)]
pub(super) struct Belongings {
    pub flow: Arc<Flow>,
    pub deployment: Option<Arc<Deployed>>,
}

/// Why there is no [`Belongings`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// The deployment was deleted.
    Deployment(String),
    /// There is no such flow.
    Flow(String),
    /// It could not be read, and why.
    Unread(RenderError),
}

impl Records {
    /// Deployments may have changed since the last poll; what was not there may be there now.
    pub(super) fn begin_poll(&self) {
        lock(&self.deployments).clear();
        let mut flows = lock(&self.flows);
        flows.retain(|_, found| matches!(found, CacheEntry::There(_)));
        if flows.len() > MAX_FLOWS {
            flows.clear();
        }
    }

    /// A flow, once it was read.
    pub(super) fn flow(&self, id: &str) -> Result<Arc<Flow>, Missing> {
        found(&self.flows, id).map_err(|why| why.map_or_else(|| Missing::Flow(id.to_owned()), Missing::Unread))
    }

    /// A run's flow and deployment, once they were read.
    pub(super) fn of(&self, run: &DueRun<Detail>) -> Result<Belongings, Missing> {
        let flow_run = &run.detail.flow_run;
        let deployment = flow_run.deployment_id.as_ref().map(|id| {
            found(&self.deployments, id).map_err(|why| match why {
                Some(why) => Missing::Unread(why),
                None => Missing::Deployment(id.clone()),
            })
        });
        Ok(Belongings { deployment: deployment.transpose()?, flow: self.flow(&flow_run.flow_id)? })
    }
}

/// What was found; `Err(None)` = it is not there.
fn found<T>(known: &RecordCache<T>, id: &str) -> Result<Arc<T>, Option<RenderError>> {
    match lock(known).get(id) {
        Some(CacheEntry::There(found)) => Ok(Arc::clone(found)),
        Some(CacheEntry::Nothing) => Err(None),
        Some(CacheEntry::Unread(why)) => Err(Some(why.clone())),
        None => Err(Some(RenderError::NotNow(format!("{id} was not asked for")))),
    }
}

/// Those ids that were not read, or not well.
fn unknown<'a, T>(known: &RecordCache<T>, ids: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let known = lock(known);
    let is_open = |id: &&String| matches!(known.get(*id), None | Some(CacheEntry::Unread(_)));
    ids.collect::<BTreeSet<_>>().into_iter().filter(is_open).map(String::as_str).collect()
}

const FLOWS: Asking<Flow> =
    Asking { what: "its flow", many: requests::flows, single: requests::flow, parse: |row| shape::row(row, FLOW) };

impl Prefect3 {
    /// Reads those of these flows that are not known yet.
    pub(super) async fn read_flows(&self, ids: &BTreeSet<String>) {
        let _reading = self.records.reading.lock().await;
        let flows = unknown(&self.records.flows, ids.iter());
        self.read_into(&self.records.flows, &flows, FLOWS).await;
    }

    /// Reads what is not known yet of the runs' flows and deployments.
    pub(super) async fn read_records(&self, runs: &[&DueRun<Detail>]) {
        let _reading = self.records.reading.lock().await;
        let flow_runs = || runs.iter().map(|run| &run.detail.flow_run);
        let flows = unknown(&self.records.flows, flow_runs().map(|run| &run.flow_id));
        let deployments = unknown(&self.records.deployments, flow_runs().filter_map(|run| run.deployment_id.as_ref()));
        join(
            self.read_into(&self.records.flows, &flows, FLOWS),
            self.read_into(
                &self.records.deployments,
                &deployments,
                Asking {
                    what: "its deployment",
                    many: requests::deployments,
                    single: requests::deployment,
                    parse: deployed,
                },
            ),
        )
        .await;
    }

    async fn read_into<T>(&self, known: &RecordCache<T>, ids: &[&str], asking: Asking<T>) {
        let asking = &asking;
        let chunks = ids.chunks(PAGE_ROWS).map(|ids| async move { (ids, self.read_many(ids, asking).await) });
        let mut absent: Vec<&str> = Vec::new();
        for (ids, found) in join_all(chunks).await {
            match found {
                Ok(mut found) => {
                    absent.extend(ids.iter().copied().filter(|id| !found.contains_key(*id)));
                    let of_ids = ids.iter().filter_map(|id| found.remove_entry(*id));
                    lock(known).extend(of_ids);
                }
                Err(error) => {
                    let unread = |id: &&str| ((*id).to_owned(), unread(asking, &error));
                    lock(known).extend(ids.iter().map(unread));
                }
            }
        }
        let singly = absent.iter().take(MAX_SINGLE).map(|id| async { (*id, self.read_single(id, asking).await) });
        for (id, found) in join_all(singly).await {
            lock(known).insert(id.to_owned(), found);
        }
        let later = absent.iter().skip(MAX_SINGLE).map(|id| {
            let reason = format!("{} is missing in a list, with too many others to ask for each now", asking.what);
            ((*id).to_owned(), CacheEntry::Unread(RenderError::NotNow(reason)))
        });
        lock(known).extend(later);
    }

    /// What a list says of these ids.
    async fn read_many<T>(&self, ids: &[&str], asking: &Asking<T>) -> Result<HashMap<String, CacheEntry<T>>, ApiError> {
        let rows = self.transport.read(&(asking.many)(ids)).await?.list()?;
        let asked: HashSet<&str> = ids.iter().copied().collect();
        let found = rows.into_iter().filter_map(|row| {
            let id = shape::text_at(&row, &["id"]).filter(|id| asked.contains(id))?.to_owned();
            let found = (asking.parse)(row).map_or_else(
                |why| CacheEntry::Unread(RenderError::NotNow(format!("{} cannot be read: {why}", asking.what))),
                |row| CacheEntry::There(Arc::new(row)),
            );
            Some((id, found))
        });
        Ok(found.collect())
    }

    /// What is said of this id alone.
    async fn read_single<T>(&self, id: &str, asking: &Asking<T>) -> CacheEntry<T> {
        let sent = self.transport.repeatable(&(asking.single)(id)).await;
        if sent.is_absent {
            return CacheEntry::Nothing;
        }
        let read = sent.answer.and_then(|answer| {
            let row = (asking.parse)(Value::Object(answer.object()?)).map_err(|why| answer.odd(&why))?;
            Ok(CacheEntry::There(Arc::new(row)))
        });
        read.unwrap_or_else(|error| unread(asking, &error))
    }
}

fn unread<T>(asking: &Asking<T>, error: &ApiError) -> CacheEntry<T> {
    CacheEntry::Unread(RenderError::unread(asking.what, error))
}

pub(super) fn deployed(row: Value) -> Result<Deployed, String> {
    let tags = row.get("tags").map(tags).unwrap_or_default();
    Ok(Deployed { deployment: Arc::new(shape::row(row, DEPLOYMENT)?), tags })
}

/// A list of texts.
pub(super) fn tags(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests;

// Blocks and variables that job configurations refer to: each read once per batch, side by side.

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
            (reference, document.await.map_err(|error| unread_reference("a block", &error)))
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
            (name, value.map_err(|error| unread_reference("a variable", &error)))
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
fn unread_reference(what: &str, error: &ApiError) -> RenderError {
    RenderError::unread(&format!("{what} that it refers to"), error)
}
