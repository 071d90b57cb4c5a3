//! Entry point and command of a container → what it starts, word by word. Pure.

use crate::config::Environment;
use crate::flow_run::prefect3::split_command;
use crate::transport::shape::items_at;
use serde_json::Value;

/// What was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartedAs {
    Worker,
    Agent1,
    /// `prefect agent start` of Prefect 2, which knows no work pools of its own type.
    Agent2,
}

/// All words of entry point and command; those of a shell's script, which follows `-c`, one by one. Blanks in any other word
/// are part of it.
pub(super) fn words_of(container: &Value) -> Vec<String> {
    let takes_script = |word: &str| {
        let letters = word.strip_prefix('-').and_then(|word| word.strip_suffix('c'));
        letters.is_some_and(|letters| letters.bytes().all(|letter| letter.is_ascii_lowercase()))
    };
    let written = ["entryPoint", "command"].into_iter().flat_map(|key| items_at(container, &[key]));
    let (mut words, mut is_script) = (Vec::new(), false);
    for word in written.filter_map(Value::as_str) {
        match split_command(word) {
            Ok(script) if is_script => {
                for word in script {
                    match word.strip_suffix(';') {
                        Some(word) => words.extend([word.to_owned(), ";".to_owned()]),
                        None => words.push(word),
                    }
                }
                words.push(";".into());
            }
            _ => words.push(word.to_owned()),
        }
        is_script = takes_script(word);
    }
    words
}

/// What the words start, and its arguments.
pub(super) fn start_of(words: &[String]) -> Option<(StartedAs, Vec<String>)> {
    let starts: [(StartedAs, &[&str]); 3] = [
        (StartedAs::Worker, &["worker", "start"]),
        (StartedAs::Agent1, &["agent", "ecs", "start"]),
        (StartedAs::Agent2, &["agent", "start"]),
    ];
    for (at, word) in words.iter().enumerate() {
        if word.rsplit('/').next() != Some("prefect") {
            continue;
        }
        let rest = words.get(at + 1..).unwrap_or_default();
        for (start, named) in starts {
            if rest.len() >= named.len() && rest.iter().zip(named).all(|(word, named)| word == named) {
                let is_end = |word: &&String| ["&&", "||", "|", ";", "&"].contains(&word.as_str());
                let arguments = rest.iter().skip(named.len()).take_while(|word| !is_end(word)).cloned();
                return Some((start, arguments.collect()));
            }
        }
    }
    None
}

/// A word with the variables that it names; the name of the one that is not known.
pub(super) fn expanded(word: &str, environment: &Environment) -> Result<String, String> {
    let mut parts = word.split('$');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let (name, rest) = match part.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some(braced) => braced,
            None => part.split_at(part.find(|c| !is_name(c)).unwrap_or(part.len())),
        };
        text.push_str(environment.get(name).ok_or_else(|| name.to_owned())?);
        text.push_str(rest);
    }
    Ok(text)
}
