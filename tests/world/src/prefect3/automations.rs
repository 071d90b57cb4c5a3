//! Automations: what people ask for when something happens. Of triggers, those that react to events of flow runs, alone or
//! several of which any is enough; of actions, the webhook. What else there is is kept and never fires.

use super::{
    Prefect3,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    filters::Page,
    routes::Call,
    times,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// An automation.
#[derive(Clone, Debug)]
pub struct Automation {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// When it was last changed.
    pub updated: OffsetDateTime,
    /// Its name, which others may have.
    pub name: String,
    /// For people.
    pub description: String,
    /// Whether it does anything.
    pub enabled: bool,
    /// Its tags.
    pub tags: Vec<String>,
    /// As it is shown, with ids and defaults.
    pub trigger: Value,
    /// What it does.
    pub actions: Vec<Value>,
}

const KNOWN: [&str; 9] = [
    "name",
    "description",
    "enabled",
    "tags",
    "trigger",
    "actions",
    "actions_on_trigger",
    "actions_on_resolve",
    "owner_resource",
];

impl Automation {
    fn read(body: &Value, now: OffsetDateTime) -> Outcome<Self> {
        let fields = Fields::of(body)?.only(&KNOWN)?;
        fields.required("trigger")?;
        fields.required("actions")?;
        let trigger = match fields.child("trigger")? {
            Some(trigger) => shown_trigger(&trigger)?,
            None => Value::Null,
        };
        let actions = fields.list("actions", "dict_type", "Input should be a valid dictionary", |action| {
            let mut action = action.as_object()?.clone();
            if action.get("type").and_then(Value::as_str) == Some("call-webhook") {
                action.entry("payload").or_insert(json!(""));
            }
            Some(Value::Object(action))
        })?;
        Ok(Self {
            id: times::new_id(),
            created: now,
            updated: now,
            name: fields.required_text("name")?,
            description: fields.text("description")?.unwrap_or_default(),
            enabled: fields.boolean("enabled")?.unwrap_or(true),
            tags: fields.texts("tags")?.unwrap_or_default(),
            trigger,
            actions: actions.unwrap_or_default(),
        })
    }
}

/// A trigger with ids and defaults. Sets of texts come in another order than they were given.
fn shown_trigger(fields: &Fields<'_>) -> Outcome<Value> {
    let given = |key: &str, default: Value| fields.get(key).cloned().unwrap_or(default);
    match fields.required_text("type")?.as_str() {
        "event" => {
            let set = |key: &str| -> Outcome<Value> {
                let mut texts = fields.texts(key)?.unwrap_or_default();
                texts.sort_unstable_by(|one, other| other.cmp(one));
                Ok(json!(texts))
            };
            fields.required("posture")?;
            Ok(json!({
                "type": "event", "id": times::new_id(), "match": given("match", json!({})),
                "match_related": given("match_related", json!({})), "after": set("after")?, "expect": set("expect")?,
                "for_each": set("for_each")?, "posture": given("posture", Value::Null),
                "threshold": given("threshold", json!(1)), "within": given("within", json!(0)),
            }))
        }
        "compound" => {
            fields.required("triggers")?;
            let triggers = fields.get("triggers").and_then(Value::as_array).cloned().unwrap_or_default();
            let triggers =
                triggers.iter().map(|one| shown_trigger(&Fields::at(one, vec!["body".into(), "trigger".into()])?));
            Ok(json!({
                "type": "compound", "id": times::new_id(), "triggers": triggers.collect::<Outcome<Vec<_>>>()?,
                "within": fields.get("within"), "require": given("require", Value::Null),
            }))
        }
        _ => Err(fields.refuse("type", "union_tag_invalid", "Input tag 'type' is none of the expected tags")),
    }
}

/// A webhook that an automation calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookCall {
    /// Id of the automation.
    pub automation: String,
    /// Method.
    pub method: String,
    /// Where to.
    pub url: String,
    /// Headers of the block.
    pub headers: Vec<(String, String)>,
}

impl Prefect3 {
    fn automation_row(&self, one: &Automation) -> Value {
        json!({
            "id": one.id, "created": self.show(one.created), "updated": self.show(one.updated), "name": one.name,
            "description": one.description, "enabled": one.enabled, "tags": one.tags, "trigger": one.trigger,
            "actions": one.actions, "actions_on_trigger": [], "actions_on_resolve": [],
        })
    }

    /// A run got a state: the event of it, and what automations do about it.
    pub(super) fn emit(&mut self, run_id: &str, now: OffsetDateTime) {
        if self.automations.is_empty() || self.switches.generation.is_two() {
            return;
        }
        let Some(event) = self.state_event(run_id) else { return };
        let fired = self.automations.iter().filter(|one| one.enabled && fires(&one.trigger, &event));
        let fired: Vec<Automation> = fired.cloned().collect();
        for automation in fired {
            for action in &automation.actions {
                self.act(&automation.id, action, now);
            }
        }
    }

    fn state_event(&self, run_id: &str) -> Option<Value> {
        let run = self.flow_run(run_id)?;
        let state = run.state()?;
        let mut related = Vec::new();
        if let Some(flow) = self.flow(&run.flow_id) {
            related.push(json!({"prefect.resource.role": "flow", "prefect.resource.name": flow.name}));
        }
        if let Some((queue, pool)) = self.queue_and_pool(run.work_queue_id.as_deref()) {
            related.push(json!({
                "prefect.resource.role": "work-queue", "prefect.resource.name": queue.name,
                "prefect.resource.id": format!("prefect.work-queue.{}", queue.id),
            }));
            related.push(json!({
                "prefect.resource.role": "work-pool", "prefect.resource.name": pool.name,
                "prefect.resource.id": format!("prefect.work-pool.{}", pool.id), "prefect.work-pool.type": pool.kind,
            }));
        }
        Some(json!({
            "event": format!("prefect.flow-run.{}", state.name),
            "resource": {
                "prefect.resource.id": format!("prefect.flow-run.{}", run.id), "prefect.resource.name": run.name,
                "prefect.state-type": state.kind.name(), "prefect.state-name": state.name,
                "prefect.state-message": state.message.clone().unwrap_or_default(),
                "prefect.run-count": run.run_count.to_string(),
            },
            "related": related,
        }))
    }

    /// Calls are made outside of the API's own work, by whoever takes them from [`Prefect3::webhooks`].
    fn act(&mut self, automation: &str, action: &Value, now: OffsetDateTime) {
        if action["type"] != "call-webhook" {
            return;
        }
        let block = action["block_document_id"].as_str().and_then(|id| self.blocks.document(id));
        let Some(data) = block.map(|block| self.blocks.resolved(block, true)) else {
            let reason = "Unexpected status from 'call-webhook' action: 404";
            self.action_ended(automation, &Err(reason.to_owned()), now);
            return;
        };
        let Some(url) = data["url"].as_str() else {
            self.action_ended(automation, &Err("The webhook block was invalid: url".to_owned()), now);
            return;
        };
        let headers = data["headers"].as_object().into_iter().flatten();
        self.webhooks.push(WebhookCall {
            automation: automation.to_owned(),
            method: data["method"].as_str().unwrap_or("POST").to_owned(),
            url: url.to_owned(),
            headers: headers
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect(),
        });
    }

    /// What a call came to: the status of an answer, whatever it says, or why there is none.
    pub fn action_ended(&mut self, automation: &str, outcome: &Result<u16, String>, now: OffsetDateTime) {
        let (name, payload) = match outcome {
            Ok(status) => ("executed", json!({"action": {"type": "call-webhook"}, "status_code": status})),
            Err(reason) => ("failed", json!({"action": {"type": "call-webhook"}, "reason": reason})),
        };
        let occurred = self.show(now);
        self.automation_events.push(json!({
            "id": times::new_id(), "occurred": occurred, "event": format!("prefect.automation.action.{name}"),
            "resource": {"prefect.resource.id": format!("prefect.automation.{automation}")}, "related": [],
            "payload": payload,
        }));
    }

    fn automations_or_404(&self) -> Outcome<()> {
        if self.switches.generation.is_two() { Err(detail(404, "Not Found")) } else { Ok(()) }
    }
}

/// Whether a trigger wants an event. Only single events are counted: `threshold` 1, `within` 0.
fn fires(trigger: &Value, event: &Value) -> bool {
    if trigger["type"] == "compound" {
        let any = trigger["require"] == "any";
        return any && trigger["triggers"].as_array().into_iter().flatten().any(|one| fires(one, event));
    }
    let name = event["event"].as_str().unwrap_or_default();
    let expected = trigger["expect"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let related = event["related"].as_array().into_iter().flatten();
    let wanted = trigger["match_related"].as_object();
    trigger["posture"] == "Reactive"
        && expected.into_iter().any(|pattern| fits(pattern, name))
        && labels_fit(trigger["match"].as_object(), &event["resource"])
        && (wanted.is_none_or(Map::is_empty) || related.into_iter().any(|one| labels_fit(wanted, one)))
}

fn labels_fit(wanted: Option<&Map<String, Value>>, labels: &Value) -> bool {
    let fits_label = |(label, patterns): (&String, &Value)| {
        let Some(text) = labels[label].as_str() else { return false };
        match patterns {
            Value::Array(patterns) => patterns.iter().filter_map(Value::as_str).any(|pattern| fits(pattern, text)),
            pattern => fits(pattern.as_str().unwrap_or_default(), text),
        }
    };
    wanted.into_iter().flatten().all(fits_label)
}

/// A trailing `*` and a leading `!` mean what one thinks.
fn fits(pattern: &str, text: &str) -> bool {
    if let Some(pattern) = pattern.strip_prefix('!') {
        return !fits(pattern, text);
    }
    pattern.strip_suffix('*').map_or(pattern == text, |beginning| text.starts_with(beginning))
}

/// `POST /automations/`
pub(super) fn create(call: &mut Call<'_>) -> Outcome {
    call.prefect3.automations_or_404()?;
    let automation = Automation::read(call.body, call.now)?;
    let row = call.prefect3.automation_row(&automation);
    call.prefect3.automations.push(automation);
    Ok(Answer::json(201, row))
}

/// `POST /automations/filter`: by name and tags.
pub(super) fn filter(call: &mut Call<'_>) -> Outcome {
    call.prefect3.automations_or_404()?;
    let fields = Fields::embedded(call.body)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let (mut names, mut tags) = (None, None);
    if let Some(filter) = fields.child("automations")? {
        names = filter.child("name")?.map(|name| name.texts("any_")).transpose()?.flatten();
        tags = filter.child("tags")?.map(|tags| tags.texts("all_")).transpose()?.flatten();
    }
    let wanted = |one: &&Automation| {
        names.as_ref().is_none_or(|names| names.contains(&one.name))
            && tags.as_ref().is_none_or(|tags| tags.iter().all(|tag| one.tags.contains(tag)))
    };
    let found = call.prefect3.automations.iter().filter(wanted);
    Ok(Answer::ok(page.of(found, |one| call.prefect3.automation_row(one))))
}

fn index(call: &Call<'_>) -> Outcome<usize> {
    call.prefect3.automations_or_404()?;
    let id = call.parameter(0);
    let index = call.prefect3.automations.iter().position(|one| one.id == id);
    index.ok_or_else(|| detail(404, "Automation not found"))
}

/// `GET /automations/{id}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    let index = index(call)?;
    Ok(Answer::ok(call.prefect3.automation_row(&call.prefect3.automations[index])))
}

/// `PUT /automations/{id}`: all of it.
pub(super) fn replace(call: &mut Call<'_>) -> Outcome {
    let index = index(call)?;
    let new = Automation::read(call.body, call.now)?;
    let known = &mut call.prefect3.automations[index];
    *known = Automation { id: known.id.clone(), created: known.created, ..new };
    Ok(Answer::empty())
}

/// `PATCH /automations/{id}`: `enabled` and nothing else.
pub(super) fn update(call: &mut Call<'_>) -> Outcome {
    let index = index(call)?;
    let enabled = Fields::of(call.body)?.only(&["enabled"])?.boolean("enabled")?;
    let known = &mut call.prefect3.automations[index];
    known.enabled = enabled.unwrap_or(known.enabled);
    Ok(Answer::empty())
}

/// `DELETE /automations/{id}`
pub(super) fn delete(call: &mut Call<'_>) -> Outcome {
    let index = index(call)?;
    call.prefect3.automations.remove(index);
    Ok(Answer::empty())
}

/// Events that one answer has at most where nobody says how many.
const EVENTS_PAGE: i64 = 50;

/// `POST /events/filter`: those of automations, by name, resource and time; the newest first.
pub(super) fn filter_events(call: &mut Call<'_>) -> Outcome {
    call.prefect3.automations_or_404()?;
    let fields = Fields::embedded(call.body)?;
    let limit = fields.integer("limit", 0)?.unwrap_or(EVENTS_PAGE);
    let (mut names, mut resources, mut since) = (None, None, None);
    if let Some(filter) = fields.child("filter")? {
        names = filter.child("event")?.map(|event| event.texts("name")).transpose()?.flatten();
        resources = filter.child("resource")?.map(|resource| resource.texts("id")).transpose()?.flatten();
        since = filter.child("occurred")?.map(|occurred| occurred.time("since")).transpose()?.flatten();
    }
    let is_among = |wanted: &Option<Vec<String>>, text: &Value| {
        wanted.as_ref().is_none_or(|wanted| wanted.iter().any(|one| Some(one.as_str()) == text.as_str()))
    };
    let wanted = |event: &&Value| {
        let occurred = event["occurred"].as_str().and_then(times::parse);
        is_among(&names, &event["event"])
            && is_among(&resources, &event["resource"]["prefect.resource.id"])
            && since.is_none_or(|since| occurred.is_some_and(|occurred| occurred >= since))
    };
    let found: Vec<&Value> = call.prefect3.automation_events.iter().rev().filter(wanted).collect();
    let page = found.iter().take(usize::try_from(limit).unwrap_or_default());
    Ok(Answer::ok(json!({"events": page.collect::<Vec<_>>(), "total": found.len(), "next_page": null})))
}
