//! What pokes this deployment, as it is in Prefect: read, made, changed, taken away. Only what bears our name is touched.

use super::Prefect3;
use super::requests::{self, ApiRequest};
use super::transport::{JsonAnswer, is_missing, is_no_route};
use crate::flow_run::prefect3::BlockReference;
use crate::model::ApiError;
use crate::poke::connection::{self, ConnectionFault, Step, agrees, automation_plan, block_data, ours};
use crate::transport::shape::{described, text_at};
use futures_util::future::join;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

/// Slug of the type of blocks that automations call.
const WEBHOOK: &str = "webhook";
/// Stands for a block that a dry run does not make.
const NO_BLOCK: &str = "00000000-0000-0000-0000-000000000000";

/// What is there of an agent's connection.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenConnection {
    /// The name of its block and its automations.
    pub name: String,
    /// Id and data of the block, with its secrets where they may be read.
    pub block: Option<(String, Value)>,
    /// The automations that are ours, the oldest first.
    pub automations: Vec<Value>,
}

/// What was done about one thing, or would be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Done {
    /// It was made.
    Made,
    /// It was changed.
    Changed,
    /// It was there as it is wanted.
    Unchanged,
}

impl Step {
    fn done(&self) -> Done {
        match self {
            Self::Make => Done::Made,
            Self::Change(_) => Done::Changed,
            Self::Keep(_) => Done::Unchanged,
        }
    }
}

/// What was done so that Prefect pokes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connected {
    /// The name of block and automation.
    pub name: String,
    /// The webhook block.
    pub block: Done,
    /// The automation.
    pub automation: Done,
    /// Further automations of ours that were deleted.
    pub duplicates: usize,
}

/// What was taken away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnected {
    /// The name of block and automations.
    pub name: String,
    /// Automations.
    pub automations: usize,
    /// Whether there was a block.
    pub block: bool,
}

impl Prefect3 {
    /// What is there of the agent's connection.
    pub async fn poke_connection(&self) -> Result<SeenConnection, ApiError> {
        let name = connection::name_of(&self.config.agent, self.names.identity());
        let (block, automations) = join(self.poke_block(&name), self.poke_automations(&name)).await;
        Ok(SeenConnection { block: block?, automations: automations?, name })
    }

    /// What is the matter with it, where it is to poke this URL with this token.
    pub fn faults(&self, seen: &SeenConnection, url: &str, token: &SecretString) -> Vec<ConnectionFault> {
        let block_id = seen.block.as_ref().map(|(id, _)| id.as_str()).unwrap_or_default();
        let wanted = connection::automation(&seen.name, self.work_pool(), block_id, &self.marked_as);
        let data = seen.block.as_ref().map(|(_, data)| data);
        connection::faults(data, &seen.automations, &block_data(url, token), &wanted)
    }

    /// What the last poke of an automation came to since then: the event, which tells of its status or why there was none.
    pub async fn last_poke(&self, automation: &Value, since: OffsetDateTime) -> Result<Option<Value>, ApiError> {
        let Some(id) = text_at(automation, &["id"]) else { return Ok(None) };
        let answer = self.transport.read(&requests::actions(id, since)).await?;
        let answered = Value::Object(answer.object()?);
        match answered.get("events") {
            Some(Value::Array(events)) => Ok(events.first().cloned()),
            other => Err(answer.odd(&format!("`events` must be a list, but is {}", described(other)))),
        }
    }

    /// Makes what is missing and changes what differs. `url`: what the webhook calls. With `dry_run` nothing is sent that
    /// writes, and what would be done is said.
    pub async fn connect_pokes(&self, url: &str, token: &SecretString, dry_run: bool) -> Result<Connected, ApiError> {
        let SeenConnection { name, block, automations } = self.poke_connection().await?;
        let data = block_data(url, token);
        let (block, block_id) = self.connect_block(&name, block, &data, dry_run).await?;
        let wanted = connection::automation(&name, self.work_pool(), &block_id, &self.marked_as);
        let mut plan = automation_plan(&automations, &wanted);
        let automation = plan.step.done();
        if !dry_run {
            match &plan.step {
                Step::Make => {
                    self.written(&requests::create_automation(&wanted)).await?;
                    // Another that connects at this moment has seen none either.
                    plan = automation_plan(&self.poke_automations(&name).await?, &wanted);
                }
                Step::Change(id) => drop(self.written(&requests::replace_automation(id, &wanted)).await?),
                Step::Keep(_) => {}
            }
            for id in &plan.duplicates {
                gone(self.written(&requests::delete_automation(id)).await.map(drop))?;
            }
        }
        Ok(Connected { name, block, automation, duplicates: plan.duplicates.len() })
    }

    async fn connect_block(
        &self,
        name: &str,
        mut known: Option<(String, Value)>,
        data: &Value,
        dry_run: bool,
    ) -> Result<(Done, String), ApiError> {
        let mut done = None;
        if known.is_none() {
            if dry_run {
                return Ok((Done::Made, NO_BLOCK.to_owned()));
            }
            let (kind, schema) = self.webhook_type().await?;
            let sent = self.transport.repeatable(&requests::create_block(name, (&kind, &schema), data)).await;
            match sent.answer {
                Ok(answer) => {
                    let made = Value::Object(answer.object()?);
                    let id = text_at(&made, &["id"]).ok_or_else(|| answer.odd("it has no `id`"))?;
                    return Ok((Done::Made, id.to_owned()));
                }
                // Another has made it at this moment, or an earlier try of ours that was not answered.
                Err(ApiError::Refused { message, .. }) if message.contains("already exists") => {
                    known = self.poke_block(name).await?;
                    done = Some(if sent.repeated { Done::Made } else { Done::Changed });
                }
                Err(error) => return Err(error),
            }
        }
        let Some((id, found)) = known else {
            return Err(ApiError::Malformed(format!("there is a block {name} already, and it cannot be read")));
        };
        if agrees(&found, data) {
            return Ok((done.unwrap_or(Done::Unchanged), id));
        }
        if !dry_run {
            self.written(&requests::update_block(&id, data)).await?;
        }
        Ok((Done::Changed, id))
    }

    /// Takes the automations away, then the block: the other way round, one would fail in between.
    pub async fn disconnect_pokes(&self, dry_run: bool) -> Result<Disconnected, ApiError> {
        let SeenConnection { name, block, automations } = self.poke_connection().await?;
        if !dry_run {
            for (id, _) in ours(&automations, &name) {
                gone(self.written(&requests::delete_automation(id)).await.map(drop))?;
            }
            if let Some((id, _)) = &block {
                gone(self.written(&requests::delete_block(id)).await.map(drop))?;
            }
        }
        Ok(Disconnected { name, automations: automations.len(), block: block.is_some() })
    }

    /// Sends a write, and again where the server is busy: a block that is there is refused, and of two automations that
    /// were made one is seen, and deleted.
    async fn written(&self, request: &ApiRequest) -> Result<JsonAnswer, ApiError> {
        self.transport.repeatable(request).await.answer
    }

    async fn poke_block(&self, name: &str) -> Result<Option<(String, Value)>, ApiError> {
        let reference = BlockReference::Named { type_slug: WEBHOOK.into(), name: name.to_owned() };
        let sent = self.transport.repeatable(&requests::block(&reference)).await;
        if sent.is_absent {
            return Ok(None);
        }
        let answer = sent.answer?;
        let block = Value::Object(answer.object()?);
        let id = text_at(&block, &["id"]).ok_or_else(|| answer.odd("it has no `id`"))?.to_owned();
        Ok(Some((id, block.get("data").cloned().unwrap_or_default())))
    }

    async fn poke_automations(&self, name: &str) -> Result<Vec<Value>, ApiError> {
        let listed = self.transport.read(&requests::automations(name, connection::TAG)).await;
        let listed = listed.map_err(|error| self.about_automations(error))?.list()?;
        Ok(ours(&listed, name).into_iter().map(|(_, one)| one.clone()).collect())
    }

    /// Ids of the type of webhook blocks and of its schema.
    async fn webhook_type(&self) -> Result<(String, String), ApiError> {
        let answer = self.transport.read(&requests::block_type(WEBHOOK)).await?;
        let kind = Value::Object(answer.object()?);
        let kind = text_at(&kind, &["id"]).ok_or_else(|| answer.odd("it has no `id`"))?;
        let answer = self.transport.read(&requests::block_schemas(kind)).await?;
        let schemas = answer.list()?;
        // The newest first.
        let schema = schemas.first().and_then(|schema| text_at(schema, &["id"]));
        let schema = schema.ok_or_else(|| answer.odd("there is no schema of webhook blocks"))?;
        Ok((kind.to_owned(), schema.to_owned()))
    }

    fn about_automations(&self, error: ApiError) -> ApiError {
        if !is_no_route(&error) {
            return error;
        }
        ApiError::Configuration(format!(
            "the Prefect at {} has no automations: servers have them from Prefect 3 on, and Prefect Cloud has",
            crate::transport::without_userinfo(&self.config.api)
        ))
    }
}

/// What is not there need not be deleted.
fn gone(deleted: Result<(), ApiError>) -> Result<(), ApiError> {
    match deleted {
        Err(error) if is_missing(&error) && !is_no_route(&error) => Ok(()),
        other => other,
    }
}
