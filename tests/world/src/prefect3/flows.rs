//! The operations on flows.

use super::{
    Flow, Prefect3,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    filters::{Column, Columns, Filter, Kind, Page},
    routes::Call,
    times,
};
use serde_json::{Map, Value};
use time::OffsetDateTime;

pub(super) const COLUMNS: Columns = &[("id", Kind::Ids), ("name", Kind::Texts), ("tags", Kind::Tags)];

/// A flow's columns, as filters look at them.
pub(super) fn column<'a>(flow: &'a Flow, name: &str) -> Column<'a> {
    match name {
        "tags" => Column::Tags(&flow.tags),
        "id" => Column::Text(Some(&flow.id)),
        "name" => Column::Text(Some(&flow.name)),
        _ => Column::Text(None),
    }
}

impl Prefect3 {
    /// The flow of a name, which is made if there is none; and whether it was made.
    pub(super) fn flow_named(
        &mut self,
        name: &str,
        tags: Vec<String>,
        labels: Map<String, Value>,
        now: OffsetDateTime,
    ) -> (&Flow, bool) {
        let known = self.flows.iter().position(|flow| flow.name == name);
        let index = known.unwrap_or_else(|| {
            self.flows.push(Flow { id: times::new_id(), created: now, name: name.to_owned(), tags, labels });
            self.flows.len() - 1
        });
        (&self.flows[index], known.is_none())
    }
}

/// `POST /flows/`: an existing one of the name is answered as it is.
pub(super) fn create(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&["name", "tags", "labels"])?;
    let name = fields.required_text("name")?;
    let (tags, labels) = (fields.texts("tags")?.unwrap_or_default(), fields.object("labels")?.unwrap_or_default());
    let (flow, is_new) = call.prefect3.flow_named(&name, tags, labels, call.now);
    let flow = flow.clone();
    Ok(Answer::json(if is_new { 201 } else { 200 }, call.prefect3.flow_row(&flow)))
}

/// `POST /flows/filter`: by name.
pub(super) fn filter(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let filter = Filter::read(&fields, "flows", COLUMNS)?;
    let page = Page::read(&fields, call.prefect3.switches.api_limit)?;
    let mut flows: Vec<_> =
        call.prefect3.flows.iter().filter(|flow| filter.wants(&|name: &str| column(flow, name))).collect();
    flows.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Answer::ok(page.of(flows, |flow| call.prefect3.flow_row(flow))))
}

fn found(call: &Call<'_>, flow: Option<&Flow>) -> Outcome {
    flow.map(|flow| Answer::ok(call.prefect3.flow_row(flow))).ok_or_else(|| detail(404, "Flow not found"))
}

/// `GET /flows/{id}`
pub(super) fn read(call: &mut Call<'_>) -> Outcome {
    found(call, call.prefect3.flow(&call.parameter(0)))
}

/// `GET /flows/name/{name}`
pub(super) fn read_by_name(call: &mut Call<'_>) -> Outcome {
    let name = call.parameter(0);
    found(call, call.prefect3.flows.iter().find(|flow| flow.name == name))
}
