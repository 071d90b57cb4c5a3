use crate::ecs_model::{Operation, Shape, Structure, structure};
use crate::guardrails::members::{Decision, decision, decisions};
use std::collections::BTreeSet;

/// Paths of all members, with whether they have members themselves.
fn walk(structure: &Structure, path: &str, found: &mut Vec<(String, bool)>) {
    for member in &structure.members {
        let path = format!("{path}.{}", member.name);
        let (inner, path_of_items) = named(&member.shape, path.clone());
        found.push((path, inner.is_some()));
        if let Some(inner) = inner {
            walk(inner, &path_of_items, found);
        }
    }
}

fn named(shape: &Shape, path: String) -> (Option<&'static Structure>, String) {
    match shape {
        Shape::Structure(name) => (Some(structure(name)), path),
        Shape::List { of, .. } => named(of, format!("{path}[]")),
        Shape::Map(of) => named(of, format!("{path}{{}}")),
        _ => (None, path),
    }
}

pub(super) fn all() -> Vec<(String, bool)> {
    let mut found = Vec::new();
    walk(Operation::RunTask.input(), "RunTask", &mut found);
    walk(Operation::RegisterTaskDefinition.input(), "RegisterTaskDefinition", &mut found);
    found
}

#[test]
fn every_member_of_both_requests_is_decided() {
    let members = all();
    assert!(members.len() > 200, "the model was not read");
    let mut wrong = Vec::new();
    for (path, has_members) in &members {
        match decision(path) {
            None => wrong.push(format!("{path}: which rule judges it, or why is it harmless?")),
            Some(Decision::ByMembers) if !has_members => wrong.push(format!("{path}: it has no members")),
            Some(Decision::Harmless(reason)) if reason.len() < 10 => wrong.push(format!("{path}: no reason")),
            Some(_) => {}
        }
    }
    assert!(wrong.is_empty(), "members.txt:\n{}", wrong.join("\n"));
}

#[test]
fn nothing_is_decided_that_the_requests_do_not_have_or_twice() {
    let members: BTreeSet<String> = all().into_iter().map(|(path, _)| path).collect();
    let unknown: Vec<&str> = decisions().map(|(path, _)| path).filter(|path| !members.contains(*path)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    let lines = include_str!("../members.txt").lines().count();
    assert_eq!((decisions().count(), lines), (members.len(), lines), "a line cannot be read, or a member has two");
}
