//! Words that two readers of YAML take for different things: refused, for nobody knows what was meant. Pure.
//!
//! Prefect's Python reads YAML 1.1: `0123` is 83 there, `yes` is true, `1:30` is 90. Here YAML 1.2 is read.

use super::read;
use crate::config::reader::Problem;
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
fn different(word: &str) -> Option<Problem> {
    if is_usual_number(word) {
        return None;
    }
    let python = read_as_yaml_1_1(word);
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

// What YAML 1.1 makes of a bare word, as `PyYAML` reads it: with it Prefect's agents read their documents. Pure.

/// What a bare word means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    Null,
    Bool(bool),
    /// `None`: longer than anybody counts.
    Int(Option<i128>),
    Float(f64),
    Text,
    /// A date, or something that `PyYAML` takes for a value and then cannot read.
    Other,
}

/// Reads a bare word.
pub(super) fn read_as_yaml_1_1(word: &str) -> Reading {
    match word {
        "" | "~" | "null" | "Null" | "NULL" => return Reading::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Reading::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Reading::Bool(false),
        "=" | "<<" => return Reading::Other,
        _ => {}
    }
    float(word).or_else(|| int(word)).unwrap_or(if is_date(word) { Reading::Other } else { Reading::Text })
}

fn float(word: &str) -> Option<Reading> {
    let (negative, rest) = signed(word);
    let sign = if negative { -1.0 } else { 1.0 };
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(Reading::Float(sign * f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if rest == word => return Some(Reading::Float(f64::NAN)),
        _ => {}
    }
    let (whole, fraction) = rest.split_once('.')?;
    if whole.contains(':') {
        let seconds = sexagesimal(whole, digits)?;
        // Its value is of no interest: no other reader takes it for a number.
        return fraction.bytes().all(is_digit_or_underscore).then_some(Reading::Float(sign * to_f64(seconds)));
    }
    let (mantissa, exponent) = match fraction.find(['e', 'E']) {
        Some(at) => (fraction.get(..at)?, fraction.get(at + 1..)?),
        None => (fraction, ""),
    };
    let has_exponent = mantissa.len() < fraction.len();
    let exponent_is_signed = exponent.strip_prefix(['+', '-']).is_some_and(digits);
    // Without a digit before the point there is no sign, and a digit after it.
    let is_number = if whole.is_empty() {
        rest == word && mantissa.starts_with(|c: char| c.is_ascii_digit())
    } else {
        starts_with_digit(whole)
    };
    let fits = is_number
        && whole.bytes().all(is_digit_or_underscore)
        && mantissa.bytes().all(is_digit_or_underscore)
        && (!has_exponent || exponent_is_signed);
    if !fits {
        return None;
    }
    // Python's `float` takes what is left; `5.` and `.5` too.
    rest.replace('_', "").parse::<f64>().ok().map(|number| Reading::Float(sign * number))
}

fn int(word: &str) -> Option<Reading> {
    let (negative, rest) = signed(word);
    let of = |text: &str, radix: u32| {
        let digits = text.replace('_', "");
        if digits.is_empty() {
            return Reading::Other;
        }
        let number = i128::from_str_radix(&digits, radix).ok();
        Reading::Int(number.map(|number| if negative { -number } else { number }))
    };
    let made_of =
        |text: &str, allowed: fn(u8) -> bool| !text.is_empty() && text.bytes().all(|b| b == b'_' || allowed(b));
    if let Some(binary) = rest.strip_prefix("0b").filter(|text| made_of(text, |b| matches!(b, b'0' | b'1'))) {
        return Some(of(binary, 2));
    }
    if let Some(hexadecimal) = rest.strip_prefix("0x").filter(|text| made_of(text, |b| b.is_ascii_hexdigit())) {
        return Some(of(hexadecimal, 16));
    }
    if rest == "0" {
        return Some(Reading::Int(Some(0)));
    }
    if let Some(octal) = rest.strip_prefix('0').filter(|text| made_of(text, |b| matches!(b, b'0'..=b'7'))) {
        return Some(if octal.bytes().all(|b| b == b'_') { Reading::Int(Some(0)) } else { of(octal, 8) });
    }
    if !rest.starts_with(|c: char| matches!(c, '1'..='9')) {
        return None;
    }
    if rest.contains(':') {
        let number = sexagesimal(rest, starts_with_digit)?;
        return Some(Reading::Int(number.map(|number| if negative { -number } else { number })));
    }
    made_of(rest, |b| b.is_ascii_digit()).then(|| of(rest, 10))
}

/// `1:30` is 90. `None`: it is no such number; its value is unknown where it is too large.
#[allow(clippy::option_option)] // Whether it is one, and which.
fn sexagesimal(text: &str, first_fits: impl Fn(&str) -> bool) -> Option<Option<i128>> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    if !first_fits(first) || !first.bytes().all(is_digit_or_underscore) {
        return None;
    }
    let mut number = first.replace('_', "").parse::<i128>().ok();
    for part in parts {
        let fits = matches!(part.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
        let part = part.parse::<i128>().ok().filter(|_| fits)?;
        number = number.and_then(|number| number.checked_mul(60)?.checked_add(part));
    }
    Some(number)
}

fn to_f64(seconds: Option<i128>) -> f64 {
    seconds.and_then(|seconds| seconds.to_string().parse().ok()).unwrap_or(f64::INFINITY)
}

/// `2026-11-30`, with or without a time.
fn is_date(word: &str) -> bool {
    let (date, time) = match word.find(['T', 't', ' ', '\t']) {
        Some(at) => (word.get(..at).unwrap_or_default(), word.get(at + 1..)),
        None => (word, None),
    };
    let parts: Vec<&str> = date.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let all_digits = [year, month, day].iter().all(|part| digits(part));
    let lengths = (year.len(), month.len(), day.len());
    match time {
        None => all_digits && lengths == (4, 2, 2),
        Some(time) => {
            let hour = time.trim_start().split(':').next().unwrap_or_default();
            all_digits && matches!(lengths, (4, 1..=2, 1..=2)) && digits(hour) && time.matches(':').count() >= 2
        }
    }
}

fn signed(word: &str) -> (bool, &str) {
    match word.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_digit_or_underscore(b: u8) -> bool {
    b.is_ascii_digit() || b == b'_'
}
