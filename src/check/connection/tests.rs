#![allow(clippy::unwrap_used)]
use super::super::testing::codes;
use super::*;
use time::macros::datetime;

const API: &str = "https://prefect.example.com/api";

#[test]
fn clocks_differ_a_little_too_much_or_not() {
    let at = datetime!(2026-12-01 12:00 UTC);
    for (date, found) in [
        (at, &[][..]),
        (at - Duration::seconds(60), &[]),
        (at + Duration::seconds(61), &["PSA208"]),
        (at - Duration::minutes(5), &["PSA208"]),
        (at - Duration::seconds(301), &["PSA207"]),
        (at + Duration::hours(1), &["PSA207"]),
    ] {
        assert_eq!(codes(&judge_clock(API, Some(Heard { date, at }))), found, "{date}");
    }
    assert_eq!(codes(&judge_clock(API, None)), [""; 0]);
    let said = judge_clock(API, Some(Heard { date: at + Duration::hours(2), at }));
    assert!(said.findings.iter().all(|finding| finding.sentence.contains("2 h behind")), "{said:?}");
}

#[test]
fn the_time_of_an_answer_is_told_by_who_gave_it_and_not_by_a_cache() {
    let at = datetime!(2026-12-01 12:00 UTC);
    let date = ("date", "Tue, 01 Dec 2026 11:00:00 GMT");
    for (headers, told_at) in [
        (vec![date], Some(datetime!(2026-12-01 11:00 UTC))),
        (vec![date, ("age", "3600")], None),
        (vec![("date", "an hour ago")], None),
        (vec![], None),
    ] {
        let pairs = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let heard = told(&pairs.collect::<HeaderMap>(), at);
        assert_eq!(heard, told_at.map(|date| Heard { date, at }), "{headers:?}");
    }
}

/// The reasons are those that reqwest, rustls and the resolver gave.
#[test]
fn every_way_not_to_be_answered_has_a_code_of_its_own() {
    let unreachable = |reason: &str| ApiError::Unreachable { api: API.into(), reason: reason.into() };
    let connect = "error sending request: client error (Connect): ";
    let status = |status, text: &str| ApiError::Status { status, text: text.into() };
    for (error, code) in [
        (
            unreachable(&format!(
                "{connect}dns error: failed to lookup address information: Name or service not known"
            )),
            "PSA201",
        ),
        (unreachable(&format!("{connect}tcp connect error: Connection refused (os error 111)")), "PSA202"),
        (unreachable(&format!("{connect}operation timed out")), "PSA202"),
        (
            unreachable(&format!(
                "{connect}invalid peer certificate: certificate expired: verification time 2 (UNIX), but certificate is not valid after 1 (1 seconds ago)"
            )),
            "PSA203",
        ),
        (unreachable(&format!("{connect}invalid peer certificate: Expired")), "PSA203"),
        (unreachable(&format!("{connect}invalid peer certificate: UnknownIssuer")), "PSA204"),
        (
            unreachable(&format!(
                "{connect}invalid peer certificate: certificate not valid for name \"a\"; certificate is only valid for b"
            )),
            "PSA205",
        ),
        (unreachable(&format!("{connect}received corrupt message of type InvalidContentType")), "PSA205"),
        (ApiError::NoAnswer("connection closed before message completed".into()), "PSA202"),
        (ApiError::Unauthorised("HTTP 401: Invalid authentication credentials".into()), "PSA209"),
        (ApiError::Unauthorised("AuthenticationError: Forbidden".into()), "PSA209"),
        (ApiError::Unauthorised("HTTP 403: Forbidden".into()), "PSA210"),
        (ApiError::Configuration("api: https://x answers, but not as a Prefect API".into()), "PSA211"),
        // Half an answer, or one of another version.
        (ApiError::Malformed("GET /work_pools/x: no JSON".into()), "PSA299"),
        (ApiError::Configuration("work_pool: Prefect says: Work pool \"x\" not found.".into()), "PSA221"),
        (status(500, "Internal Server Error"), "PSA212"),
        (ApiError::Throttled { retry_after: None }, "PSA212"),
        (ApiError::Maintenance { status: 503, retry_after: None }, "PSA213"),
        (ApiError::NoTime, "PSA299"),
    ] {
        let asked =
            AskedApi { api: API, agent: "agent etl", credential: "the parameter /psa/test/secrets/etl/api-key" };
        let finding = judge_error(asked, &error);
        assert_eq!(finding.code, code, "{error}");
        assert!(!finding.mend.is_empty() && !finding.sentence.is_empty(), "{finding:?}");
    }
}
