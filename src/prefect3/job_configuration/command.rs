//! Commands: what starts a flow where nothing names one, and commands given as one text.

use super::{Generation, WorkerSettings};
use crate::model::RunRefusal;
use secrecy::ExposeSecret;
use std::str::Chars;

/// Setting of Prefect 2, on by default since 2.14.5. Off, a flow is started without anything beside it that would hear
/// of its cancellation.
const ENHANCED_CANCELLATION: &str = "PREFECT_EXPERIMENTAL_ENABLE_ENHANCED_CANCELLATION";

/// What counts as off in a setting that is true or false, in lower case.
const OFF: [&str; 6] = ["false", "0", "off", "no", "f", "n"];

/// The command of flow runs for which nothing names one. It runs the flow beside a process that watches for its
/// cancellation, ends it in time and lets its `on_cancellation` hooks run.
pub(crate) fn default(worker: &WorkerSettings) -> &'static str {
    if worker.generation == Generation::Two && is_off(worker, ENHANCED_CANCELLATION) {
        "python -m prefect.engine"
    } else {
        "prefect flow-run execute"
    }
}

/// Whether the settings of the worker switch one off. Of several of that name, the last counts.
fn is_off(worker: &WorkerSettings, setting: &str) -> bool {
    let set = worker.base_environment.iter().rev().find(|(name, _)| name == setting);
    set.is_some_and(|(_, value)| OFF.contains(&value.expose_secret().trim().to_lowercase().as_str()))
}

/// The words of a command, as Python's `shlex.split` finds them: POSIX quoting, nothing is a comment.
pub(crate) fn split(command: &str) -> Result<Vec<String>, RunRefusal> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = command.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().push(escaped(&mut rest)?),
            '\'' | '"' => quoted(c, &mut rest, word.get_or_insert_default())?,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn escaped(rest: &mut Chars<'_>) -> Result<char, RunRefusal> {
    rest.next().ok_or_else(|| RunRefusal("ValueError: No escaped character".into()))
}

/// Adds what is between two quotes to `word`. Only in double quotes, a backslash escapes a quote or a backslash.
fn quoted(quote: char, rest: &mut Chars<'_>, word: &mut String) -> Result<(), RunRefusal> {
    while let Some(c) = rest.next() {
        if c == quote {
            return Ok(());
        }
        if c == '\\' && quote == '"' {
            let next = escaped(rest)?;
            if next != '\\' && next != '"' {
                word.push('\\');
            }
            word.push(next);
        } else {
            word.push(c);
        }
    }
    Err(RunRefusal("ValueError: No closing quotation".into()))
}

#[cfg(test)]
mod tests;
