//! Words that two readers of YAML take for different things: refused, for nobody knows what was meant. Pure.
//!
//! Prefect's Python reads YAML 1.1: `0123` is 83 there, `yes` is true, `1:30` is 90. Here YAML 1.2 is read.

use super::one_one::{self, Reading};
use super::read;
use crate::config::errors::Problem;
use crate::config::values::{describe, path_key, quoted};
use serde_json::Value;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Tag};

/// So many are told at once.
const MAX_PROBLEMS: usize = 20;
/// No number is longer.
const MAX_WORD: usize = 64;

/// The ambiguous words of a text. `as_written`: the key at the top whose values are texts as they stand there.
pub(super) fn problems(text: &str, as_written: Option<&str>) -> Vec<Problem> {
    let mut walk = Walk::default();
    let mut problems = Vec::new();
    for event in Parser::new_from_str(text) {
        // Whoever reads the text says what is wrong with it.
        let Ok((event, _)) = event else { break };
        match event {
            Event::Scalar(word, style, _, tag) => {
                let found = match tag.as_deref() {
                    Some(tag) if !is_plain(tag) => Some(of_tag(tag)),
                    Some(_) => None,
                    None if style != ScalarStyle::Plain || walk.is_value_of(as_written) => None,
                    None => different(&word),
                };
                if let Some(problem) = found {
                    problems.push(problem.under(&walk.path(&word)));
                }
                walk.scalar(&word);
            }
            Event::MappingStart(_, _, tag) | Event::SequenceStart(_, _, tag)
                if tag.as_deref().is_some_and(|tag| !is_plain(tag)) =>
            {
                problems.extend(tag.as_deref().map(|tag| of_tag(tag).under(&walk.path(""))));
                break;
            }
            Event::MappingStart(..) => walk.open(Frame::Mapping { key: None, in_key: false }),
            Event::SequenceStart(..) => walk.open(Frame::List(0)),
            Event::MappingEnd | Event::SequenceEnd => walk.close(),
            Event::Alias(_) => walk.scalar("*"),
            _ => {}
        }
        if problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    problems
}

/// Where the walk is, from the top.
#[derive(Debug, Default)]
struct Walk(Vec<Frame>);

#[derive(Debug)]
enum Frame {
    Mapping {
        /// The key whose value comes next; `None` = a key comes next.
        key: Option<String>,
        /// The key itself is a list or a mapping, and is being read.
        in_key: bool,
    },
    List(usize),
}

impl Walk {
    /// Whether a value stands directly in the mapping of this key at the top.
    fn is_value_of(&self, name: Option<&str>) -> bool {
        match self.0.as_slice() {
            [Frame::Mapping { key: Some(top), .. }, Frame::Mapping { key: Some(_), .. }] => Some(top.as_str()) == name,
            _ => false,
        }
    }

    /// The place of the next node; `word` names it where it is a key.
    fn path(&self, word: &str) -> String {
        self.0.iter().fold(String::new(), |path, frame| {
            let (part, dot) = match frame {
                Frame::List(index) => (format!("[{index}]"), ""),
                Frame::Mapping { key, .. } => (path_key(key.as_deref().unwrap_or(word)), "."),
            };
            if path.is_empty() || part.starts_with('[') { path + &part } else { path + dot + &part }
        })
    }

    fn scalar(&mut self, word: &str) {
        match self.0.last_mut() {
            Some(Frame::Mapping { key: key @ None, .. }) => *key = Some(word.to_owned()),
            Some(Frame::Mapping { key, .. }) => *key = None,
            Some(Frame::List(index)) => *index += 1,
            None => {}
        }
    }

    fn open(&mut self, frame: Frame) {
        if let Some(Frame::Mapping { key: None, in_key }) = self.0.last_mut() {
            *in_key = true;
        }
        self.0.push(frame);
    }

    fn close(&mut self) {
        self.0.pop();
        match self.0.last_mut() {
            Some(Frame::Mapping { key, in_key: in_key @ true }) => (*key, *in_key) = (Some(String::new()), false),
            _ => self.scalar(""),
        }
    }
}

/// What is ambiguous about a bare word, if it is.
pub(super) fn different(word: &str) -> Option<Problem> {
    if is_usual_number(word) {
        return None;
    }
    let python = one_one::read(word);
    let looks_like_a_number = || word.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    // What is a text to both begins like one, mostly: no need to ask.
    if python == Reading::Text && !looks_like_a_number() {
        return None;
    }
    // A mapping merged into another means the same to both.
    if word == "<<" {
        return None;
    }
    let here = if word.len() > MAX_WORD && python != Reading::Text { None } else { Some(here(word)) };
    if here.as_ref().is_some_and(|here| is_same(python, here)) {
        return None;
    }
    let shown = quoted(word);
    let reading = match here {
        Some(here) => format!("{} in YAML 1.2", described(&here)),
        None => "too long for a number".to_owned(),
    };
    Some(Problem::here(
        format!(
            "the bare word {}, which is {reading}, and {} in Prefect's YAML 1.1",
            shown.trim_matches('"'),
            said(python)
        ),
        "the text in quotes, or the value in a spelling that is the same everywhere (true, false, null, 83, 0.5)",
    ))
}

/// A whole number as everybody writes and reads it: most of those there are.
fn is_usual_number(word: &str) -> bool {
    (1..=18).contains(&word.len()) && !word.starts_with('0') && word.bytes().all(|b| b.is_ascii_digit())
}

/// How this program reads the word.
fn here(word: &str) -> Value {
    read(word).unwrap_or_else(|_| Value::String(word.to_owned()))
}

fn is_same(python: Reading, here: &Value) -> bool {
    match (python, here) {
        (Reading::Null, Value::Null) | (Reading::Text, Value::String(_)) => true,
        (Reading::Bool(one), Value::Bool(other)) => one == *other,
        (Reading::Int(Some(one)), Value::Number(other)) => {
            other.as_i64().map(i128::from).or(other.as_u64().map(i128::from)) == Some(one)
        }
        (Reading::Float(one), Value::Number(other)) if other.is_f64() => {
            one.is_finite() && other.as_f64().map(f64::to_bits) == Some(one.to_bits())
        }
        _ => false,
    }
}

fn described(here: &Value) -> String {
    match here {
        Value::String(_) => "a text".to_owned(),
        other => describe(other),
    }
}

fn said(python: Reading) -> String {
    match python {
        Reading::Null => "nothing (null)".to_owned(),
        Reading::Bool(truth) => format!("the truth value {truth}"),
        Reading::Int(Some(number)) => format!("the number {number}"),
        Reading::Int(None) => "a number".to_owned(),
        Reading::Float(number) => format!("the number {number}"),
        Reading::Text => "a text".to_owned(),
        Reading::Other => "a date or something else".to_owned(),
    }
}

/// `!!str` and the like say what is there anyway.
fn is_plain(tag: &Tag) -> bool {
    matches!(tag.core_suffix(), Some("str" | "map" | "seq")) || (tag.handle().is_empty() && tag.suffix() == "!")
}

fn of_tag(tag: &Tag) -> Problem {
    let tag = format!("{}{}", tag.original_handle(), tag.suffix());
    Problem::here(format!("the tag {}", quoted(&tag).trim_matches('"')), "the value itself, without a tag")
}
