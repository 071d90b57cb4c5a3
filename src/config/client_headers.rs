//! `PREFECT_CLIENT_CUSTOM_HEADERS`: further headers of every request to Prefect, as its own client has them since 2025.

use super::StoredSecret;
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

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
