//! Task definitions.

use prefect_serverless_agent::aws::ecs::DescribedDefinition;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const PREFIX: &str = "arn:aws:ecs:eu-west-1:123456789012:task-definition/";

/// The revisions of each family, the first one first.
#[derive(Debug, Default)]
pub struct Families {
    families: BTreeMap<String, Vec<Revision>>,
}

#[derive(Debug)]
struct Revision {
    body: Map<String, Value>,
    is_active: bool,
}

impl Families {
    /// Registers a definition → ARN.
    pub fn register(&mut self, body: &Map<String, Value>) -> String {
        let family = body.get("family").and_then(Value::as_str).unwrap_or_default().to_owned();
        let revisions = self.families.entry(family.clone()).or_default();
        revisions.push(Revision { body: body.clone(), is_active: true });
        format!("{PREFIX}{family}:{}", revisions.len())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.families.values().map(Vec::len).sum()
    }

    /// Deregisters all of them.
    pub fn deregister_all(&mut self) {
        self.families.values_mut().flatten().for_each(|revision| revision.is_active = false);
    }

    /// Whether a definition of this name is there and active.
    pub fn is_active(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(_, _, revision)| revision.is_active)
    }

    /// Whether two definitions were registered with the same words.
    pub fn say_the_same(&self, one: &str, other: &str) -> bool {
        one == other || self.find(one).map(|found| &found.2.body) == self.find(other).map(|found| &found.2.body)
    }

    /// A definition by ARN, or the latest active one of a family.
    pub fn describe(&self, name: &str) -> Option<DescribedDefinition> {
        let (family, number, revision) = self.find(name)?;
        let mut definition = revision.body.clone();
        let tags = definition.remove("tags");
        let text = |tag: &Value, key: &str| tag[key].as_str().unwrap_or_default().to_owned();
        let tags = tags.as_ref().and_then(Value::as_array).into_iter().flatten();
        let tags = tags.map(|tag| (text(tag, "key"), text(tag, "value"))).collect();
        definition.insert("taskDefinitionArn".into(), json!(format!("{PREFIX}{family}:{number}")));
        definition.insert("status".into(), json!(if revision.is_active { "ACTIVE" } else { "INACTIVE" }));
        Some(DescribedDefinition { definition, tags })
    }

    /// The newest active revisions of a family.
    pub fn list(&self, family: &str, limit: usize) -> Vec<String> {
        let revisions = self.families.get(family).into_iter().flatten().enumerate();
        let active = revisions.filter(|(_, revision)| revision.is_active);
        let mut arns: Vec<String> = active.map(|(index, _)| format!("{PREFIX}{family}:{}", index + 1)).collect();
        arns.reverse();
        arns.truncate(limit);
        arns
    }

    fn find(&self, name: &str) -> Option<(&str, usize, &Revision)> {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        let (family, number) = match name.split_once(':') {
            Some((family, number)) => (family, number.parse::<usize>().ok()?),
            None => (name, self.families.get(name)?.iter().rposition(|revision| revision.is_active)? + 1),
        };
        let (family, revisions) = self.families.get_key_value(family)?;
        Some((family, number, revisions.get(number.checked_sub(1)?)?))
    }
}
