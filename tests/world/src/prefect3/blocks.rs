//! Blocks: their types, the schemas of these, and the documents.

use super::{
    Prefect3,
    answer::{Answer, Outcome, detail},
    fields::Fields,
    flow_runs::integrity,
    routes::Call,
    times,
};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// All blocks. The types `secret`, `aws-credentials` and `webhook` are there from the start, as on the server.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Types, oldest first.
    pub types: Vec<BlockType>,
    /// Schemas, oldest first.
    pub schemas: Vec<BlockSchema>,
    /// Documents, oldest first.
    pub documents: Vec<BlockDocument>,
}

/// A type of blocks.
#[derive(Clone, Debug)]
pub struct BlockType {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// Its name, e.g. `Secret`.
    pub name: String,
    /// Its name in references, e.g. `secret`.
    pub slug: String,
}

/// What documents of a type look like.
#[derive(Clone, Debug)]
pub struct BlockSchema {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// The type.
    pub block_type_id: String,
    /// A JSON schema, with `secret_fields`.
    pub fields: Map<String, Value>,
}

/// A block.
#[derive(Clone, Debug)]
pub struct BlockDocument {
    /// UUID.
    pub id: String,
    /// When it was created.
    pub created: OffsetDateTime,
    /// Its name, which no other of the type has.
    pub name: String,
    /// The data; `{"$ref": {"block_document_id": …}}` stands for the data of another document.
    pub data: Map<String, Value>,
    /// The schema.
    pub block_schema_id: String,
    /// The type.
    pub block_type_id: String,
}

/// What hidden values look like.
const HIDDEN: &str = "********";

impl Default for Blocks {
    fn default() -> Self {
        let mut blocks = Self { types: Vec::new(), schemas: Vec::new(), documents: Vec::new() };
        let start = OffsetDateTime::UNIX_EPOCH;
        blocks.add_type("Secret", "secret", &["value"], start);
        blocks.add_type("AWS Credentials", "aws-credentials", &["aws_secret_access_key"], start);
        blocks.add_type("Webhook", "webhook", &["url", "headers.*"], start);
        blocks
    }
}

impl Blocks {
    /// Adds a type with a schema.
    pub(super) fn add_type(&mut self, name: &str, slug: &str, secret_fields: &[&str], now: OffsetDateTime) {
        let (id, title) = (times::new_id(), name.to_owned());
        let fields = json!({
            "title": title, "type": "object", "properties": {}, "block_type_slug": slug,
            "secret_fields": secret_fields, "block_schema_references": {},
        });
        let fields = fields.as_object().cloned().unwrap_or_default();
        self.schemas.push(BlockSchema { id: times::new_id(), created: now, block_type_id: id.clone(), fields });
        self.types.push(BlockType { id, created: now, name: name.to_owned(), slug: slug.to_owned() });
    }

    /// A type by slug.
    pub fn of_type(&self, slug: &str) -> Option<&BlockType> {
        self.types.iter().find(|one| one.slug == slug)
    }

    /// A document by type and name.
    pub fn named(&self, slug: &str, name: &str) -> Option<&BlockDocument> {
        let kind = self.of_type(slug)?;
        self.documents.iter().find(|one| one.block_type_id == kind.id && one.name == name)
    }

    pub(super) fn document(&self, id: &str) -> Option<&BlockDocument> {
        self.documents.iter().find(|one| one.id == id)
    }

    fn schema(&self, id: &str) -> Option<&BlockSchema> {
        self.schemas.iter().find(|one| one.id == id)
    }

    /// The data, with those of other documents in place of references to them.
    pub(super) fn resolved(&self, document: &BlockDocument, with_secrets: bool) -> Value {
        let value = |value: &Value| {
            let other = value["$ref"]["block_document_id"].as_str().and_then(|id| self.document(id));
            other.map_or_else(|| value.clone(), |other| self.resolved(other, with_secrets))
        };
        let mut data: Value = document.data.iter().map(|(key, data)| (key.clone(), value(data))).collect();
        if !with_secrets {
            let schema = self.schema(&document.block_schema_id);
            let secrets = schema.and_then(|schema| schema.fields.get("secret_fields")).and_then(Value::as_array);
            secrets.into_iter().flatten().filter_map(Value::as_str).for_each(|path| hide(&mut data, path));
        }
        data
    }
}

/// Hides the value at a dotted path; `*` is every key.
fn hide(data: &mut Value, path: &str) {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let Some(data) = data.as_object_mut() else { return };
    for (_, value) in data.iter_mut().filter(|(key, _)| first == "*" || *key == first) {
        match rest {
            Some(rest) => hide(value, rest),
            None if value.is_null() => {}
            None => *value = json!(HIDDEN),
        }
    }
}

impl Prefect3 {
    fn block_type_row(&self, kind: &BlockType) -> Value {
        let created = self.show(kind.created);
        json!({
            "id": kind.id, "created": created, "updated": created, "name": kind.name, "slug": kind.slug,
            "logo_url": null, "documentation_url": null, "description": null, "code_example": null,
            "is_protected": matches!(kind.slug.as_str(), "secret" | "webhook"),
        })
    }

    fn block_schema_row(&self, schema: &BlockSchema) -> Value {
        let kind = self.blocks.types.iter().find(|one| one.id == schema.block_type_id);
        let created = self.show(schema.created);
        json!({
            "id": schema.id, "created": created, "updated": created,
            "checksum": format!("sha256:{}", schema.id.replace('-', "").repeat(2)),
            "fields": schema.fields, "block_type_id": schema.block_type_id,
            "block_type": kind.map(|kind| self.block_type_row(kind)), "capabilities": [], "version": "3.8.8",
        })
    }

    fn block_document_row(&self, document: &BlockDocument, with_secrets: bool) -> Value {
        let kind = self.blocks.types.iter().find(|one| one.id == document.block_type_id);
        let schema = self.blocks.schema(&document.block_schema_id);
        let data = self.blocks.resolved(document, with_secrets);
        let created = self.show(document.created);
        json!({
            "id": document.id, "created": created, "updated": created, "name": document.name, "data": data,
            "block_schema_id": document.block_schema_id,
            "block_schema": schema.map(|schema| self.block_schema_row(schema)),
            "block_type_id": document.block_type_id,
            "block_type_name": kind.map(|kind| kind.name.as_str()),
            "block_type": kind.map(|kind| self.block_type_row(kind)),
            "block_document_references": {}, "is_anonymous": false,
        })
    }
}

/// `POST /block_types/`
pub(super) fn create_type(call: &mut Call<'_>) -> Outcome {
    let known = ["name", "slug", "logo_url", "documentation_url", "description", "code_example"];
    let fields = Fields::of(call.body)?.only(&known)?;
    let (name, slug) = (fields.required_text("name")?, fields.required_text("slug")?);
    if call.prefect3.blocks.of_type(&slug).is_some() {
        return Err(detail(409, format!("Block type with name \"{name}\" already exists")));
    }
    let kind = BlockType { id: times::new_id(), created: call.now, name, slug };
    let row = call.prefect3.block_type_row(&kind);
    call.prefect3.blocks.types.push(kind);
    Ok(Answer::json(201, row))
}

/// `GET /block_types/slug/{slug}`
pub(super) fn read_type(call: &mut Call<'_>) -> Outcome {
    let kind = call.prefect3.blocks.of_type(&call.parameter(0)).ok_or_else(|| detail(404, "Block type not found"))?;
    Ok(Answer::ok(call.prefect3.block_type_row(kind)))
}

/// `POST /block_schemas/`
pub(super) fn create_schema(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&["fields", "block_type_id", "capabilities", "version"])?;
    fields.required("block_type_id")?;
    let block_type_id = fields.id("block_type_id")?.unwrap_or_default();
    let schema = BlockSchema {
        id: times::new_id(),
        created: call.now,
        block_type_id,
        fields: fields.object("fields")?.unwrap_or_default(),
    };
    let row = call.prefect3.block_schema_row(&schema);
    call.prefect3.blocks.schemas.push(schema);
    Ok(Answer::json(201, row))
}

/// `POST /block_schemas/filter`: by type.
pub(super) fn filter_schemas(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::embedded(call.body)?;
    let page = super::filters::Page::read(&fields, call.prefect3.switches.api_limit)?;
    let types = match fields.child("block_schemas")? {
        None => None,
        Some(filter) => filter.child("block_type_id")?.map(|types| types.ids("any_")).transpose()?.flatten(),
    };
    let wanted = |schema: &&BlockSchema| types.as_ref().is_none_or(|types| types.contains(&schema.block_type_id));
    let schemas = call.prefect3.blocks.schemas.iter().filter(wanted);
    Ok(Answer::ok(page.of(schemas, |schema| call.prefect3.block_schema_row(schema))))
}

/// `POST /block_documents/`
pub(super) fn create_document(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&["name", "data", "block_schema_id", "block_type_id", "is_anonymous"])?;
    fields.required("block_schema_id")?;
    fields.required("block_type_id")?;
    let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if fields.text("name")?.is_some_and(|name| !name.chars().all(is_fine)) {
        let message = "Value error, Block document name must only contain lowercase letters, numbers, and dashes.";
        return Err(fields.refuse("name", "value_error", message));
    }
    let document = BlockDocument {
        id: times::new_id(),
        created: call.now,
        name: fields.text("name")?.unwrap_or_default(),
        data: fields.object("data")?.unwrap_or_default(),
        block_schema_id: fields.id("block_schema_id")?.unwrap_or_default(),
        block_type_id: fields.id("block_type_id")?.unwrap_or_default(),
    };
    let blocks = &mut call.prefect3.blocks;
    if blocks.schema(&document.block_schema_id).is_none() {
        return Err(integrity());
    }
    if blocks.documents.iter().any(|one| one.block_type_id == document.block_type_id && one.name == document.name) {
        return Err(detail(409, "Block already exists"));
    }
    blocks.documents.push(document.clone());
    Ok(Answer::json(201, call.prefect3.block_document_row(&document, false)))
}

fn found(call: &Call<'_>, document: Option<&BlockDocument>) -> Outcome {
    let document = document.ok_or_else(|| detail(404, "Block document not found"))?;
    let with_secrets = call.query.get("include_secrets").is_some_and(|text| text.eq_ignore_ascii_case("true"));
    Ok(Answer::ok(call.prefect3.block_document_row(document, with_secrets)))
}

/// `GET /block_types/slug/{slug}/block_documents/name/{name}`
pub(super) fn read_by_name(call: &mut Call<'_>) -> Outcome {
    found(call, call.prefect3.blocks.named(&call.parameter(0), &call.parameter(1)))
}

/// `PATCH /block_documents/{id}`: its data, field by field unless all of it is meant.
pub(super) fn update_document(call: &mut Call<'_>) -> Outcome {
    let fields = Fields::of(call.body)?.only(&["block_schema_id", "data", "merge_existing_data"])?;
    let (data, merge) = (fields.object("data")?.unwrap_or_default(), fields.boolean("merge_existing_data")?);
    let id = call.parameter(0);
    let document = call.prefect3.blocks.documents.iter_mut().find(|one| one.id == id);
    let document = document.ok_or_else(|| detail(404, "Block document not found"))?;
    if merge.unwrap_or(true) {
        document.data.extend(data);
    } else {
        document.data = data;
    }
    Ok(Answer::empty())
}

/// `DELETE /block_documents/{id}`
pub(super) fn delete_document(call: &mut Call<'_>) -> Outcome {
    let (id, documents) = (call.parameter(0), &mut call.prefect3.blocks.documents);
    let index = documents.iter().position(|one| one.id == id);
    documents.remove(index.ok_or_else(|| detail(404, "Block document not found"))?);
    Ok(Answer::empty())
}

/// `GET /block_documents/{id}`
pub(super) fn read_document(call: &mut Call<'_>) -> Outcome {
    found(call, call.prefect3.blocks.document(&call.parameter(0)))
}
