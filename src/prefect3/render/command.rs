//! Commands given as one text.

use crate::orchestrator::RunRefusal;
use std::str::Chars;

/// The words of a command, as Python's `shlex.split` finds them: POSIX quoting, nothing is a comment.
pub(super) fn split(command: &str) -> Result<Vec<String>, RunRefusal> {
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
