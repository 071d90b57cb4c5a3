//! What somebody may have meant who wrote an unknown key.

use strsim::osa_distance;

/// Names of the Python agent's options and of similar things, and what they are called here.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("agent_name", "name"),
    ("endpoint", "api"),
    ("env", "env_vars"),
    ("log_level", "logging_level"),
    ("region", "region_name"),
];

/// A longer key resembles none.
const LONGEST_KEY: usize = 100;

/// Keys that people write for a secret.
const SECRETS: &[&str] = &["key", "api_key", "token", "auth_token", "auth_string", "poke_token"];

/// Describes an unknown key, with a hint where one can be given.
pub(super) fn unknown(key: &str, known: &[&'static str]) -> String {
    if key.len() > LONGEST_KEY {
        return "an unknown key".to_owned();
    }
    let plain = plain(key);
    if SECRETS.iter().any(|secret| self::plain(secret) == plain) {
        return "an unknown key (a secret is a SecureString parameter of its own, or an environment variable)"
            .to_owned();
    }
    let renamed = OTHER_NAMES.iter().find(|(other, _)| self::plain(other) == plain).map(|(_, name)| *name);
    match renamed.or_else(|| nearest(&plain, known)) {
        Some(name) => format!("an unknown key (did you mean `{name}`?)"),
        None => "an unknown key".to_owned(),
    }
}

/// A key without case and separators: `maxPolls` and `max-polls` are `maxpolls`.
fn plain(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

/// The known key that begins like this, else the one with the fewest edits, if these are few.
fn nearest(plain_key: &str, known: &[&'static str]) -> Option<&'static str> {
    let begins = |name: &&&'static str| plain_key.chars().count() >= 4 && plain(name).starts_with(plain_key);
    if let Some(name) = known.iter().find(begins) {
        return Some(name);
    }
    let allowed = (plain_key.chars().count() / 3).min(3);
    let candidates = known.iter().map(|name| (osa_distance(plain_key, &plain(name)), *name));
    candidates.min().filter(|(edits, _)| *edits <= allowed).map(|(_, name)| name)
}
