#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use serde_json::json;
use std::time::Duration;

fn error(status: u16, body: &str) -> ApiError {
    read_answer(status, Again::default(), Bytes::from(body.to_owned())).expect_err("an error")
}

#[test]
fn success_is_read_as_json_a_list_or_a_text() {
    let answer = |body: &'static str| read_answer(201, Again::default(), Bytes::from_static(body.as_bytes())).unwrap();
    assert_eq!(answer("[1]").list(), Ok(vec![json!(1)]));
    assert_eq!(
        (answer("\"id\"").text(), answer("id\n").text(), answer("").text()),
        ("id".into(), "id".into(), String::new())
    );
    assert!(matches!(answer("<html>").json(), Err(ApiError::Malformed(text)) if text.ends_with("no JSON: <html>")));
}

#[test]
fn an_odd_answer_says_what_was_asked_and_what_came_and_quotes_nothing() {
    let answer = |body: &str| {
        let answer = read_answer(200, Again::default(), Bytes::from(body.to_owned())).unwrap();
        answer.to("GET", &format!("/work_pools/{}", "x".repeat(5000)))
    };
    let deep = "[".repeat(10_000);
    for (error, said) in [
        (answer(r#"{"a": "secret"}"#).list().unwrap_err(), "a list was expected, but it is an object of 1 field"),
        (answer(r#"["secret"]"#).object().unwrap_err(), "an object was expected, but it is a list of 1 entry"),
        (answer("7").object().unwrap_err(), "an object was expected, but it is a number"),
        (answer(r#"{"a": "secret"#).json().unwrap_err(), "broken JSON of 13 bytes: EOF while parsing a string"),
        (answer(&deep).json().unwrap_err(), "broken JSON of 10000 bytes: recursion limit exceeded"),
    ] {
        let text = error.to_string();
        assert!(text.contains("GET /work_pools/xxx") && text.contains(said) && !text.contains("secret"), "{text}");
        assert!(text.len() < 500, "{text}");
    }
}

#[test]
fn only_the_api_itself_says_that_something_is_not_there() {
    for said in [r#"{"detail":"Deployment not found"}"#, r#"{"exception_message":"Flow run not found"}"#] {
        assert!(says_absent(404, said.as_bytes()));
        assert!(!says_absent(200, said.as_bytes()) && !says_absent(403, said.as_bytes()));
    }
    for other in
        ["", "<html>404 Not Found</html>", "404 page not found", r#"{"detail":"Not Found"}"#, "{}", "[]", "null"]
    {
        assert!(!says_absent(404, other.as_bytes()), "{other}");
    }
}

#[test]
fn a_servers_words_are_found_wherever_it_puts_them() {
    let said = |body: &str| error(404, body).to_string();
    assert!(said(r#"{"detail":"Work pool \"x\" not found."}"#).ends_with(r#"HTTP 404: Work pool "x" not found."#));
    assert!(said(r#"{"exception_message":"Flow run not found"}"#).ends_with("Flow run not found"));
    assert!(said("<html> not\nhere </html>").ends_with("<html> not here </html>"));
    assert!(said("").ends_with("(empty body)"));
    let problems = r#"{"exception_message":"Invalid request received.","exception_detail":[
        {"loc":["body","limit"],"msg":"too many"},{"loc":["body",0],"msg":"bad"}]}"#;
    let refused = error(422, problems);
    assert!(
        matches!(&refused, ApiError::Refused { message, .. }
        if message == "Invalid request received. body.limit: too many; body.0: bad"),
        "{refused:?}"
    );
}

#[test]
fn each_status_has_its_kind_of_error() {
    assert!(matches!(error(401, r#"{"exception_message":"Unauthorized"}"#), ApiError::Unauthorised(_)));
    assert!(matches!(error(403, "{}"), ApiError::Unauthorised(_)));
    let throttled =
        read_answer(429, Again { retry_after: Some(Duration::from_secs(3)), maintenance: false }, Bytes::new());
    assert_eq!(throttled, Err(ApiError::Throttled { retry_after: Some(Duration::from_secs(3)) }));
    assert!(matches!(error(409, r#"{"detail":"exists"}"#), ApiError::Refused { .. }));
    for status in [301, 404, 405, 408, 499, 500, 503] {
        assert!(
            matches!(error(status, r#"{"detail":"x"}"#), ApiError::Status { status: s, .. } if s == status),
            "{status}"
        );
    }
}

#[test]
fn only_what_the_server_certainly_did_not_do_is_not_done() {
    for error in [error(404, ""), error(422, "{}"), error(401, ""), error(429, ""), error(302, "")] {
        assert!(error.is_certainly_not_done(), "{error}");
    }
    // A time-out is one whether or not it comes with a reason.
    let timed_out = [error(408, r#"{"detail":"x"}"#), error(499, r#"{"detail":"x"}"#), error(504, "")];
    let odd = [error(500, ""), error(503, ""), ApiError::NoAnswer("x".into()), ApiError::Malformed("x".into())];
    for error in timed_out.into_iter().chain(odd) {
        assert!(!error.is_certainly_not_done(), "{error}");
    }
}

#[test]
fn a_missing_route_is_not_a_missing_thing() {
    let (thing, route, method) =
        (error(404, r#"{"detail":"Flow run not found"}"#), error(404, r#"{"detail":"Not Found"}"#), error(405, ""));
    assert!(is_missing(&thing) && !is_no_route(&thing));
    assert!(is_no_route(&route) && is_no_route(&method));
}
