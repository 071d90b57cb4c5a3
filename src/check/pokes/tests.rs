#![allow(clippy::unwrap_used, clippy::unnecessary_wraps)]

use super::super::testing::{codes, denied, root, stack};
use super::*;
use serde_json::json;

const URL: &str = "https://x.on.aws/";

fn url(auth_type: &str) -> Result<Option<FunctionUrl>, AwsError> {
    Ok(Some(FunctionUrl { function: "psa-poke".into(), url: URL.into(), auth_type: auth_type.into() }))
}

fn connected() -> Connection {
    Connection { is_there: true, faults: Vec::new(), last: Ok(None) }
}

fn tried(trial: Trial, followed: Option<bool>) -> Tried {
    let followed = followed.map(|followed| (followed, Duration::from_secs(30)));
    Tried { url: format!("{URL}api/poke?agent=etl"), trial, followed }
}

fn observed(connection: Connection, tried: Tried) -> ObservedPokes {
    ObservedPokes { url: url("NONE"), agents: vec![("etl".into(), Ok(connection))], tried: Some(tried) }
}

fn judged(observed: &ObservedPokes) -> Looked {
    judge(&root(), &stack(&[("PokeUrl", "ENABLED")], &[(POKE_FUNCTION, "psa-poke")]), true, observed)
}

#[test]
fn a_connection_that_pokes_and_is_polled_for_is_well() {
    let looked = judged(&observed(connected(), tried(Trial::Answered, Some(true))));
    assert_eq!((codes(&looked), looked.well.len()), (vec![], 2), "{looked:?}");
    let looked = judged(&observed(connected(), tried(Trial::Answered, None)));
    assert_eq!((codes(&looked), looked.well.len()), (vec![], 2), "what is not known is no verdict: {looked:?}");
}

#[test]
fn what_is_wrong_with_a_connection_is_said_at_once() {
    let faults = vec![ConnectionFault::OtherToken, ConnectionFault::AutomationDisabled];
    let looked = judged(&observed(Connection { faults, ..connected() }, tried(Trial::Answered, Some(true))));
    assert_eq!(codes(&looked), ["PSA233"]);
    let finding = &looked.findings[0];
    assert!(finding.sentence.contains("another token") && finding.sentence.contains("disabled"), "{finding:?}");
    assert_eq!(finding.mend, "prefect-serverless-agent connect --root /psa/test --agent etl");
    let nothing = Connection { is_there: false, faults: Vec::new(), last: Ok(None) };
    let looked = judged(&ObservedPokes { tried: None, ..observed(nothing, tried(Trial::Answered, None)) });
    assert_eq!(codes(&looked), ["PSA232"]);
    let without_token = ObservedPokes { tried: None, ..observed(connected(), tried(Trial::Answered, None)) };
    let looked = judge(&root(), &stack(&[], &[(POKE_FUNCTION, "psa-poke")]), false, &without_token);
    assert_eq!(codes(&looked), ["PSA233"]);
    assert!(looked.findings[0].sentence.contains("/psa/test/secrets/poke-token is gone"), "{looked:?}");
}

#[test]
fn a_poke_that_was_made_is_judged_by_what_became_of_it() {
    for (trial, followed, code) in [
        (Trial::WrongToken, None, "PSA234"),
        (Trial::NotLetThrough, None, "PSA234"),
        (Trial::OtherAnswer(404), None, "PSA234"),
        (Trial::Failed(502), None, "PSA234"),
        (Trial::NotReached("no route".into()), None, "PSA299"),
        (Trial::Answered, Some(false), "PSA236"),
    ] {
        let looked = judged(&observed(connected(), tried(trial.clone(), followed)));
        assert_eq!(codes(&looked), [code], "{trial:?}");
    }
}

#[test]
fn prefects_last_poke_is_judged_by_its_status() {
    let last = |event: Value| {
        let seen = Connection { last: Ok(Some(event)), ..connected() };
        judged(&observed(seen, tried(Trial::Answered, Some(true))))
    };
    let event = |name: &str, payload: Value| json!({"event": format!("prefect.automation.action.{name}"), "occurred": "2026-11-30T22:00:00Z", "payload": payload});
    let refused = last(event("executed", json!({"status_code": 403})));
    assert_eq!(codes(&refused), ["PSA235"], "it counts as success there");
    assert!(refused.findings[0].sentence.contains("HTTP 403"), "{refused:?}");
    let failed = last(event("failed", json!({"reason": "Webhook call failed: ReadTimeout('')"})));
    assert!(failed.findings[0].sentence.contains("ReadTimeout"), "{failed:?}");
    assert_eq!(codes(&last(event("executed", json!({"status_code": 200})))), [""; 0]);
    assert_eq!(codes(&last(event("executed", json!({})))), [""; 0], "what is not told is no verdict");
    let unknown = Connection { last: Err(ApiError::NoTime), ..connected() };
    assert_eq!(codes(&judged(&observed(unknown, tried(Trial::Answered, None)))), ["PSA299"]);
}

#[test]
fn without_a_url_that_lets_prefect_through_nobody_can_poke() {
    let at = |url, resources: &[(&str, &str)], seen: Connection| {
        let observed = ObservedPokes { url, agents: vec![("etl".into(), Ok(seen))], tried: None };
        let looked = judge(&root(), &stack(&[], resources), true, &observed);
        (codes(&looked), looked.findings.first().map(|finding| finding.mend.clone()).unwrap_or_default())
    };
    let (function, nothing) = (&[(POKE_FUNCTION, "psa-poke")][..], Connection { is_there: false, ..connected() });
    let (code, mend) = at(Ok(None), &[], connected());
    assert!(code == ["PSA231"] && mend.contains("PokeUrl=ENABLED") && mend.contains("--remove"), "{mend}");
    assert_eq!(at(Ok(None), &[], nothing.clone()).0, [""; 0], "the token may be of the health URL");
    assert_eq!(at(Ok(None), function, nothing.clone()).0, ["PSA231"]);
    assert_eq!(at(url("AWS_IAM"), function, connected()).0, ["PSA231"]);
    assert_eq!(at(Err(denied()), function, nothing).0, ["PSA299"]);
}

#[test]
fn a_prefect_without_automations_has_nothing_to_connect() {
    let at = |error| {
        let agents = vec![("etl".into(), Err(error))];
        codes(&judged(&ObservedPokes { url: url("NONE"), agents, tried: None }))
    };
    assert_eq!(at(ApiError::Configuration("it has no automations".into())), [""; 0]);
    assert_eq!(at(ApiError::Unauthorised("HTTP 403".into())), ["PSA299"]);
}
