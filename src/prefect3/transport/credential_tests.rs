#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::super::test_support::secret;
use super::*;

fn credential(api_key: Option<&str>, auth_string: Option<&str>) -> Credential {
    let secrets =
        AgentSecrets { api_key: api_key.map(secret), auth_string: auth_string.map(secret), ..AgentSecrets::default() };
    Credential::of(&secrets)
}

fn header(api_key: Option<&str>, auth_string: Option<&str>) -> Option<String> {
    let value = credential(api_key, auth_string).header().unwrap()?;
    Some(value.to_str().unwrap().to_owned())
}

#[test]
fn an_auth_string_beats_a_key_and_nothing_sends_nothing() {
    assert_eq!(header(Some("pnu_k\n"), None).as_deref(), Some("Bearer pnu_k"));
    assert_eq!(header(Some("pnu_k"), Some("admin:pass word")).as_deref(), Some("Basic YWRtaW46cGFzcyB3b3Jk"));
    assert_eq!(header(Some(" "), Some("")), None);
    assert_eq!(header(None, None), None);
}

#[test]
fn a_key_that_no_header_can_have_is_named_without_being_shown() {
    let error = credential(Some("pnu\nkey"), None).header().unwrap_err().to_string();
    assert!(error.contains("authorization") && !error.contains("pnu"), "{error}");
}
