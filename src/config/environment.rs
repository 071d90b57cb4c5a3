//! Prefect's documented environment variables, as fallbacks of an agent's keys, and the literals that they hold.

use super::reader::{Parsed, Problem, refuse};
use super::values::{push_new, quoted, variable_name};
use super::{Environment, StoredSecret};
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use std::iter::Peekable;
use std::str::Chars;

/// API key.
pub(super) const API_KEY: &str = "PREFECT__CLOUD__API_KEY";
/// API key of Prefect 2 and 3.
pub(super) const WORKER_API_KEY: &str = "PREFECT_API_KEY";
/// `user:password` of Prefect 2 and 3.
pub(super) const AUTH_STRING: &str = "PREFECT_API_AUTH_STRING";
/// Further headers of every request, a JSON object.
pub(super) const CLIENT_HEADERS: &str = "PREFECT_CLIENT_CUSTOM_HEADERS";
/// Base URL of the API of Prefect 2 and 3.
pub(super) const API_URL: &str = "PREFECT_API_URL";
/// Legacy token of Prefect 0.15.
pub(super) const AUTH_TOKEN: &str = "PREFECT__CLOUD__AGENT__AUTH_TOKEN";
/// Tenant.
pub(super) const TENANT_ID: &str = "PREFECT__CLOUD__TENANT_ID";
/// Base URL of the API.
pub(super) const API: &str = "PREFECT__CLOUD__API";
/// The agent's name in Prefect.
pub(super) const NAME: &str = "PREFECT__CLOUD__AGENT__NAME";
/// Labels.
pub(super) const LABELS: &str = "PREFECT__CLOUD__AGENT__LABELS";
/// Environment of the flow runs; also the prefix of `…__<NAME>`.
pub(super) const ENV_VARS: &str = "PREFECT__CLOUD__AGENT__ENV_VARS";
/// Whether flow runs send their logs to the API.
pub(super) const SEND_FLOW_RUN_LOGS: &str = "PREFECT__CLOUD__SEND_FLOW_RUN_LOGS";
/// Log level of the flow runs.
pub(super) const LOGGING_LEVEL: &str = "PREFECT__LOGGING__LEVEL";
/// `cloud` or `server`.
pub(super) const BACKEND: &str = "PREFECT__BACKEND";
/// Base URL of a Prefect Server.
pub(super) const SERVER_ENDPOINT: &str = "PREFECT__SERVER__ENDPOINT";
/// Address of a Prefect Server, with scheme and without port.
pub(super) const SERVER_HOST: &str = "PREFECT__SERVER__HOST";
/// Port of a Prefect Server.
pub(super) const SERVER_PORT: &str = "PREFECT__SERVER__PORT";

/// Labels: a Python or JSON list, comma separated words, or one word, which is the one label.
pub(super) fn labels(text: &str) -> Parsed<Vec<String>> {
    const ALLOWED: &str = "a list of texts (\"['a', 'b']\"), comma separated labels, or one label";
    let mut labels = Vec::new();
    if !text.starts_with(['[', '(', '{', '\'', '"']) {
        for label in text.split(',').map(str::trim).filter(|label| !label.is_empty()) {
            push_new(&mut labels, label.to_owned());
        }
        return if labels.is_empty() { refuse(found(text), ALLOWED) } else { Ok(labels) };
    }
    let items = match Literal::read(text) {
        Some(Literal::List(items)) => items,
        Some(one @ Literal::Text(_)) => vec![one],
        // What Python and JSON call an empty dict can only be meant as an empty set here.
        Some(Literal::Map(pairs)) if pairs.is_empty() => Vec::new(),
        _ => return refuse(found(text), ALLOWED),
    };
    for item in items {
        match item {
            Literal::Text(label) if !label.trim().is_empty() => push_new(&mut labels, label),
            _ => return refuse(found(text), ALLOWED),
        }
    }
    Ok(labels)
}

fn found(text: &str) -> String {
    format!("the text {}", quoted(text))
}

/// `true` or `false`, in any case and in the other spellings people use.
pub(super) fn flag(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => refuse(found(text), "true or false"),
    }
}

/// The environment of the flow runs: a Python dict or JSON object, then one variable each as
/// `PREFECT__CLOUD__AGENT__ENV_VARS__<NAME>`, with `<NAME>` in lower case as Prefect does. `None` = nothing is set.
/// Values are never shown.
pub(super) fn env_vars(environment: &Environment) -> Option<Parsed<Vec<(String, String)>>> {
    let dict = environment.get(ENV_VARS).map(|text| text.trim()).filter(|text| !text.is_empty());
    let prefix = format!("{ENV_VARS}__");
    let mut single: Vec<(String, &str)> = environment
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(&prefix)?.to_lowercase(), value.as_str())))
        .filter(|(name, _)| !name.is_empty())
        .collect();
    if dict.is_none() && single.is_empty() {
        return None;
    }
    // The environment has no order: the names' own order makes the result the same each time.
    single.sort_unstable();
    let mut variables = match dict.map(dict_of_texts).transpose() {
        Ok(variables) => variables.unwrap_or_default(),
        Err(problems) => return Some(Err(problems)),
    };
    for (name, value) in single {
        set(&mut variables, name, value.to_owned());
    }
    Some(Ok(variables))
}

fn dict_of_texts(text: &str) -> Parsed<Vec<(String, String)>> {
    let Some(Literal::Map(pairs)) = Literal::read(text) else {
        return refuse("a text that is none", "a mapping (\"{'NAME': 'value'}\") or a JSON object");
    };
    let mut variables = Vec::with_capacity(pairs.len());
    let mut problems = Vec::new();
    for (name, value) in pairs {
        let null = value.is_null();
        match (name, value) {
            (Literal::Text(name), Literal::Text(value) | Literal::Word(value)) if !null => {
                problems.extend(variable_name(&name).err());
                set(&mut variables, name, value);
            }
            (Literal::Text(name), _) => problems.push(Problem::at(format!("[{}]", quoted(&name)), "no text", "text")),
            _ => problems.push(Problem::here("a name that is no text", "text")),
        }
    }
    if problems.is_empty() { Ok(variables) } else { Err(problems) }
}

/// Sets a variable; a later value replaces an earlier one in its place.
fn set(variables: &mut Vec<(String, String)>, name: String, value: String) {
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => variables.push((name, value)),
    }
}

// The literals that Prefect's environment variables hold: Python's lists, tuples, sets, dicts and strings, and JSON.

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 8;

/// A literal. Bare words keep their spelling: numbers, `True`, `None`.
#[derive(Debug, Clone, PartialEq)]
enum Literal {
    /// A string.
    Text(String),
    /// A number, truth value or null, as written.
    Word(String),
    /// A list, tuple or set.
    List(Vec<Literal>),
    /// A dict or JSON object, in the order written.
    Map(Vec<(Literal, Literal)>),
}

impl Literal {
    /// Reads a whole text; items side by side (`'a', 'b'`) are a tuple.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parser = Parser { chars: text.chars().peekable() };
        let first = parser.value(0)?;
        if parser.end() {
            return Some(first);
        }
        let mut items = vec![first];
        while !parser.end() {
            parser.expect(',')?;
            if !parser.end() {
                items.push(parser.value(0)?);
            }
        }
        Some(Self::List(items))
    }

    /// Whether it is null.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Word(word) if word == "None" || word == "null")
    }
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    /// Skips white space; the next character.
    fn peek(&mut self) -> Option<char> {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
        self.chars.peek().copied()
    }

    fn end(&mut self) -> bool {
        self.peek().is_none()
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.chars.next())?.map(|_| ())
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            '[' => self.list('[', ']', depth),
            '(' => self.list('(', ')', depth),
            '{' => self.braces(depth),
            quote @ ('"' | '\'') => self.string(quote).map(Literal::Text),
            _ => self.word(),
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Option<Literal> {
        self.expect(open)?;
        let mut items = Vec::new();
        while self.peek()? != close {
            items.push(self.value(depth + 1)?);
            if self.peek()? != close {
                self.expect(',')?;
            }
        }
        self.expect(close)?;
        Some(Literal::List(items))
    }

    /// A dict, or a set where the first item has no colon. `{}` is a dict.
    fn braces(&mut self, depth: usize) -> Option<Literal> {
        self.expect('{')?;
        let mut pairs = Vec::new();
        let mut items = Vec::new();
        while self.peek()? != '}' {
            let item = self.value(depth + 1)?;
            if self.peek()? == ':' {
                self.expect(':')?;
                pairs.push((item, self.value(depth + 1)?));
            } else {
                items.push(item);
            }
            if self.peek()? != '}' {
                self.expect(',')?;
            }
        }
        self.expect('}')?;
        match (pairs.is_empty(), items.is_empty()) {
            (_, true) => Some(Literal::Map(pairs)),
            (true, false) => Some(Literal::List(items)),
            (false, false) => None,
        }
    }

    fn word(&mut self) -> Option<Literal> {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_')) {
            word.push(c);
        }
        (word.parse::<f64>().is_ok() || matches!(word.as_str(), "True" | "False" | "None" | "true" | "false" | "null"))
            .then_some(Literal::Word(word))
    }

    fn string(&mut self, quote: char) -> Option<String> {
        self.chars.next()?;
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '\\' => self.escape(&mut text)?,
                c if c == quote => return Some(text),
                c => text.push(c),
            }
        }
    }

    /// What follows a backslash. Like Python, an unknown escape is kept as it is.
    fn escape(&mut self, text: &mut String) -> Option<()> {
        match self.chars.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'x' => text.push(char::from_u32(self.hex(2)?)?),
            'u' => text.push(self.unicode()?),
            'U' => text.push(char::from_u32(self.hex(8)?)?),
            '\n' => {}
            c @ ('\\' | '\'' | '"' | '/') => text.push(c),
            other => text.extend(['\\', other]),
        }
        Some(())
    }

    /// Four hexadecimal digits, or two such groups that are a surrogate pair, as JSON writes them.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        if self.chars.next()? != '\\' || self.chars.next()? != 'u' {
            return None;
        }
        let second = self.hex(4)?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + second)
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0_u32, |number, _| Some((number << 4) | self.chars.next()?.to_digit(16)?))
    }
}

// `PREFECT_CLIENT_CUSTOM_HEADERS`: further headers of every request to Prefect, as its own client has them since 2025.

const ALLOWED: &str = "a JSON object of header names and texts, as {\"CF-Access-Client-Id\": \"…\"}";

/// What Prefect's client keeps for itself, in lower case.
const PREFECTS: [&str; 1] = ["user-agent"];
const PREFECTS_PREFIX: &str = "prefect-csrf-";
/// What says how the body of a request is to be read, in lower case.
const FRAMING: [&str; 3] = ["content-length", "content-type", "transfer-encoding"];

/// Further headers of every request to Prefect.
#[derive(Debug, Clone)]
pub struct ClientHeaders {
    /// As they were written, a JSON object: what flow runs get.
    pub stored: StoredSecret,
    /// Names, in lower case and each once, and values.
    pub headers: Vec<(HeaderName, SecretString)>,
}

impl ClientHeaders {
    /// Reads what was written. Errors tell what is there and what may be there, and never a value.
    pub(super) fn read(stored: StoredSecret) -> Result<Self, (String, String)> {
        let refuse = |found: &str| Err((found.to_owned(), ALLOWED.to_owned()));
        let written = match serde_json::from_str(stored.value.expose_secret()) {
            Ok(Value::Object(written)) => written,
            Ok(other) => return refuse(super::values::kind(&other)),
            Err(_) => return refuse("a text that is no JSON"),
        };
        let headers = headers(&written)?;
        Ok(Self { stored, headers })
    }
}

fn headers(written: &Map<String, Value>) -> Result<Vec<(HeaderName, SecretString)>, (String, String)> {
    let mut headers: Vec<(HeaderName, SecretString)> = Vec::with_capacity(written.len());
    for (number, (name, value)) in written.iter().enumerate() {
        // A name that is none may be a value in the wrong place: it is not shown.
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            (format!("an entry (number {}) whose name no HTTP header can have", number + 1), ALLOWED.into())
        })?;
        if PREFECTS.contains(&name.as_str()) || name.as_str().starts_with(PREFECTS_PREFIX) {
            let allowed = "other headers than User-Agent and Prefect-Csrf-…, which Prefect's client keeps for itself";
            return Err((format!("the header {name}"), allowed.into()));
        }
        if FRAMING.contains(&name.as_str()) {
            let allowed =
                "other headers than Content-Length, Content-Type and Transfer-Encoding, which follow from the body";
            return Err((format!("the header {name}"), allowed.into()));
        }
        let Value::String(value) = value else {
            return Err((format!("{} as the value of the header {name}", super::values::kind(value)), ALLOWED.into()));
        };
        if HeaderValue::from_str(value).is_err() {
            let found = format!("a value of the header {name} with characters that no HTTP header can carry");
            return Err((found, ALLOWED.into()));
        }
        headers.retain(|(known, _)| *known != name);
        headers.push((name, SecretString::from(value.as_str())));
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<ClientHeaders, (String, String)> {
        ClientHeaders::read(StoredSecret { value: text.into(), arn: None })
    }

    fn shown(text: &str) -> Vec<(String, String)> {
        let pair = |(name, value): (HeaderName, SecretString)| (name.to_string(), value.expose_secret().to_owned());
        read(text).unwrap().headers.into_iter().map(pair).collect()
    }

    #[test]
    fn an_object_of_texts_is_read_and_a_later_spelling_of_a_name_replaces_the_earlier_one() {
        let text = "{\n  \"CF-Access-Client-Id\": \"id\", \"x-a\": \"1\", \"Authorization\": \"Basic eA==\", \"X-A\": \"2\"\n}\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [pair("cf-access-client-id", "id"), pair("authorization", "Basic eA=="), pair("x-a", "2")];
        assert_eq!(shown(text), expected);
        assert!(shown("{}").is_empty());
    }

    #[test]
    fn what_prefect_keeps_for_itself_and_what_no_header_can_be_is_refused_without_a_value() {
        for (text, said) in [
            ("geheim", "no JSON"),
            ("{\"X-A\": \"geheim\"", "no JSON"),
            ("[\"geheim\"]", "a list"),
            ("\"geheim\"", "text"),
            ("null", "null"),
            ("{\"User-Agent\": \"geheim\"}", "user-agent"),
            ("{\"uSER-aGENT\": \"geheim\"}", "user-agent"),
            ("{\"Prefect-Csrf-Token\": \"geheim\"}", "prefect-csrf-token"),
            ("{\"PREFECT-CSRF-CLIENT\": \"geheim\"}", "prefect-csrf-client"),
            ("{\"prefect-csrf-new\": \"geheim\"}", "prefect-csrf-new"),
            ("{\"Content-Length\": \"geheim\"}", "content-length"),
            ("{\"X-A\": 7}", "x-a"),
            ("{\"X-A\": null}", "x-a"),
            ("{\"X-A\": {\"geheim\": \"geheim\"}}", "x-a"),
            ("{\"X-A\": \"geheim\\n\"}", "x-a"),
            ("{\"X-A\": \"geheim\\u00e9\\u0000\"}", "x-a"),
            ("{\"geheim !\": \"x\"}", "number 1"),
            ("{\"\": \"geheim\"}", "number 1"),
        ] {
            let (found, allowed) = read(text).unwrap_err();
            assert!(found.contains(said), "{text}: {found}");
            assert!(
                !allowed.is_empty() && !format!("{found} {allowed}").contains("geheim"),
                "{text}: {found}; {allowed}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic_and_no_debug_text_shows_a_value(text in any::<String>(), value in "[a-z]{12}") {
            let _ = read(&text);
            let text = serde_json::json!({"x-a": value}).to_string();
            let shown = format!("{:?}", read(&text));
            prop_assert!(!shown.contains(&value), "{}", shown);
        }
    }
}
