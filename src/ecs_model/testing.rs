//! Requests of the shape that the model has, at random, for the tests of whoever renders them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::{Operation, Shape, Structure, structure};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// A request with nothing wrong, zeros and empty values among them.
pub(crate) fn request(operation: Operation) -> BoxedStrategy<Map<String, Value>> {
    members(operation.input())
}

fn members(structure: &'static Structure) -> BoxedStrategy<Map<String, Value>> {
    if structure.is_union {
        let one = structure.members.iter().map(|member| {
            let name = member.name;
            value(&member.shape).prop_map(move |value| Map::from_iter([(name.to_owned(), value)])).boxed()
        });
        return proptest::strategy::Union::new(one).boxed();
    }
    let each: Vec<_> = structure
        .members
        .iter()
        .map(|member| {
            let (name, value) = (member.name, value(&member.shape));
            let value =
                if member.is_required { value.prop_map(Some).boxed() } else { option::weighted(0.2, value).boxed() };
            value.prop_map(move |value| Some((name.to_owned(), value?))).boxed()
        })
        .collect();
    each.prop_map(|members| members.into_iter().flatten().collect()).boxed()
}

fn value(shape: &'static Shape) -> BoxedStrategy<Value> {
    match shape {
        Shape::Text { least } => {
            let text = "[a-z][a-z0-9]{0,5}".prop_map(Value::from);
            if *least > 0 { text.boxed() } else { prop_oneof![9 => text, 1 => Just(Value::from(""))].boxed() }
        }
        Shape::Integer { least } => {
            let least = least.unwrap_or(-2);
            prop_oneof![3 => (least.max(1)..2000_i64).boxed(), 1 => Just(least.max(0)).boxed()]
                .prop_map(Value::from)
                .boxed()
        }
        Shape::Boolean => any::<bool>().prop_map(Value::from).boxed(),
        Shape::List { of, least } => {
            let least = usize::try_from(*least).unwrap();
            vec(value(of), least..=least + 2).prop_map(Value::from).boxed()
        }
        Shape::Map(of) => {
            btree_map("[a-z]{1,4}", value(of), 0..3).prop_map(|map| Value::Object(map.into_iter().collect())).boxed()
        }
        Shape::Structure(name) => members(structure(name)).prop_map(Value::Object).boxed(),
    }
}

/// Puts a member that the model does not know into the `nth` of all mappings with known keys; says where it is.
pub(crate) fn with_unknown(operation: Operation, request: &mut Map<String, Value>, nth: usize) -> String {
    let mut places = Vec::new();
    visit(request, "", operation.input(), &mut |path, _| places.push(path.to_owned()));
    let place = places[nth % places.len()].clone();
    visit(request, "", operation.input(), &mut |path, map| {
        if path == place {
            map.insert(UNKNOWN.into(), UNKNOWN.into());
        }
    });
    place
}

/// Key and value of a member that the model does not know.
pub(crate) const UNKNOWN: &str = "newMember";

fn visit(
    map: &mut Map<String, Value>,
    path: &str,
    structure: &Structure,
    see: &mut impl FnMut(&str, &mut Map<String, Value>),
) {
    // A union with two members would be wrong for another reason.
    if !structure.is_union {
        see(path, map);
    }
    for (name, value) in map {
        if let Some(member) = structure.member(name) {
            let dot = if path.is_empty() { "" } else { "." };
            visit_value(value, &format!("{path}{dot}{name}"), &member.shape, see);
        }
    }
}

fn visit_value(value: &mut Value, path: &str, shape: &Shape, see: &mut impl FnMut(&str, &mut Map<String, Value>)) {
    match (shape, value) {
        (Shape::Structure(name), Value::Object(map)) => visit(map, path, structure(name), see),
        (Shape::List { of, .. }, Value::Array(items)) => {
            for (index, item) in items.iter_mut().enumerate() {
                visit_value(item, &format!("{path}[{index}]"), of, see);
            }
        }
        _ => {}
    }
}

/// Puts a value of another type in the place of the `nth` of all values; says where it is, and what it was.
pub(crate) fn with_wrong_type(operation: Operation, request: &mut Map<String, Value>, nth: usize) -> (String, Value) {
    let mut count = 0;
    values(request, "", operation.input(), &mut |_, _, _| count += 1);
    let (wanted, mut seen, mut changed) = (nth % count.max(1), 0, (String::new(), Value::Null));
    values(request, "", operation.input(), &mut |path, value, shape| {
        if seen == wanted {
            // Neither a size nor a list of pairs, which renderers know to read.
            let other = if shape.kind() == super::MemberType::Text { json!({"wrong": 5.5}) } else { json!(5.5) };
            changed = (path.to_owned(), std::mem::replace(value, other));
        }
        seen += 1;
    });
    changed
}

fn values(
    map: &mut Map<String, Value>,
    path: &str,
    structure: &Structure,
    see: &mut impl FnMut(&str, &mut Value, &Shape),
) {
    for (name, value) in map {
        let Some(member) = structure.member(name) else { continue };
        let dot = if path.is_empty() { "" } else { "." };
        value_and_below(value, &format!("{path}{dot}{name}"), &member.shape, see);
    }
}

fn value_and_below(value: &mut Value, path: &str, shape: &Shape, see: &mut impl FnMut(&str, &mut Value, &Shape)) {
    match (shape, &mut *value) {
        (Shape::Structure(name), Value::Object(map)) => values(map, path, structure(name), see),
        (Shape::Map(of), Value::Object(map)) => {
            map.iter_mut().for_each(|(key, value)| value_and_below(value, &format!("{path}.{key}"), of, see));
        }
        (Shape::List { of, .. }, Value::Array(items)) => {
            let each = items.iter_mut().enumerate();
            each.for_each(|(index, item)| value_and_below(item, &format!("{path}[{index}]"), of, see));
        }
        _ => {}
    }
    see(path, value, shape);
}

/// One difference between what was written and what is sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Difference {
    pub(crate) path: String,
    pub(crate) written: Option<Value>,
    pub(crate) sent: Option<Value>,
}

/// All differences; lists of different lengths are one.
pub(crate) fn differences(written: &Map<String, Value>, sent: &Map<String, Value>) -> Vec<Difference> {
    let mut found = Vec::new();
    compare("", Some(&Value::Object(written.clone())), Some(&Value::Object(sent.clone())), &mut found);
    found
}

fn compare(path: &str, written: Option<&Value>, sent: Option<&Value>, found: &mut Vec<Difference>) {
    match (written, sent) {
        (Some(Value::Object(written)), Some(Value::Object(sent))) => {
            let keys: std::collections::BTreeSet<&String> = written.keys().chain(sent.keys()).collect();
            let dot = if path.is_empty() { "" } else { "." };
            for key in keys {
                compare(&format!("{path}{dot}{key}"), written.get(key), sent.get(key), found);
            }
        }
        (Some(Value::Array(written)), Some(Value::Array(sent))) if written.len() == sent.len() => {
            let pairs = written.iter().zip(sent).enumerate();
            pairs.for_each(|(index, (one, other))| compare(&format!("{path}[{index}]"), Some(one), Some(other), found));
        }
        _ if written == sent => {}
        _ => found.push(Difference { path: path.to_owned(), written: written.cloned(), sent: sent.cloned() }),
    }
}
