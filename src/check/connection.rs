//! The way to a Prefect API: names, TLS, clocks, and what became of a credential. What a failed exchange said is judged
//! here, purely; [`hear`] only listens.

use super::codes::{
    API_MAINTENANCE, API_TROUBLE, AUTHORITY_UNKNOWN, CERTIFICATE_EXPIRED, CLOCK_DRIFTS, CLOCK_OFF,
    CREDENTIAL_FORBIDDEN, CREDENTIAL_UNKNOWN, NAME_UNKNOWN, NO_PREFECT_API, NOT_REACHED, POOL_MISSING, PREFECT_UNKNOWN,
    TLS_FAILED,
};
use super::{Finding, Group, Looked};
use crate::clock::Clock;
use crate::http::{Http, Request};
use crate::model::ApiError;
use crate::transport::retries::http_date;
use ::http::HeaderMap;
use ::http::header::{AGE, DATE};
use time::{Duration, OffsetDateTime};

#[cfg(test)]
mod tests;

/// A difference of clocks that somebody should look at.
const DRIFT: Duration = Duration::seconds(60);
/// From here on AWS refuses signatures.
const OFF: Duration = Duration::minutes(5);

/// What the last answer said of the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// The answer's `Date`.
    pub date: OffsetDateTime,
    /// When it came, by this machine's clock.
    pub at: OffsetDateTime,
}

/// Asks for the time: any answer tells it.
pub async fn hear(http: &Http, api: &str, patience: std::time::Duration, clock: &impl Clock) -> Option<Heard> {
    let (method, headers) = (::http::Method::GET, HeaderMap::new());
    let request = Request { method, url: api.to_owned(), headers, body: None, timeout: patience };
    match http.send(request).await {
        Ok(answer) => told(&answer.headers, clock.now()),
        Err(error) => {
            tracing::debug!(%error, "the time was not told");
            None
        }
    }
}

/// What an answer says of the time. What comes out of a cache has the time at which it came into it.
fn told(headers: &HeaderMap, at: OffsetDateTime) -> Option<Heard> {
    let date = headers.get(DATE).filter(|_| !headers.contains_key(AGE))?;
    Some(Heard { date: http_date(date.to_str().ok()?)?, at })
}

/// Whether this machine and the API agree on the time.
pub fn judge_clock(api: &str, heard: Option<Heard>) -> Looked {
    let mut looked = Looked::default();
    let Some(Heard { date, at }) = heard else { return looked };
    let difference = at - date;
    let (by, direction) = (in_words(difference.abs()), if difference.is_positive() { "ahead of" } else { "behind" });
    let sentence = format!("this machine's clock is {by} {direction} that of {api}");
    let mend = "compare both with `date -u` and https://time.gov, and let NTP set the one that is wrong \
                (`timedatectl set-ntp true`)";
    if difference.abs() > OFF {
        let sentence = format!("{sentence}; AWS refuses what is signed more than five minutes off");
        looked.found(CLOCK_OFF.found("clock", sentence, mend));
    } else if difference.abs() > DRIFT {
        looked.found(CLOCK_DRIFTS.found("clock", sentence, mend));
    }
    looked
}

fn in_words(difference: Duration) -> String {
    match difference.whole_seconds() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Who asked the API, for what is said of a refusal.
#[derive(Debug, Clone, Copy)]
pub struct AskedApi<'a> {
    /// Base URL, for people.
    pub api: &'a str,
    /// For people: `agent etl`.
    pub agent: &'a str,
    /// Where its credential is kept, for people: a parameter or a variable.
    pub credential: &'a str,
}

/// What it means that the API gave no good answer.
pub fn judge_error(asked: AskedApi<'_>, error: &ApiError) -> Finding {
    let AskedApi { api, agent, credential } = asked;
    match error {
        ApiError::Unreachable { reason, .. } => not_connected(api, reason),
        ApiError::NoAnswer(reason) => {
            let sentence = format!("a connection was made, but no answer came: {reason}");
            NOT_REACHED.found(api, sentence, format!("curl -v {api}/health, from where the agent runs"))
        }
        ApiError::Unauthorised(text) if !text.starts_with("HTTP 403") => {
            let sentence = format!("its credential is not known to {api} ({text})");
            let mend = format!("write one that is to {credential}");
            CREDENTIAL_UNKNOWN.found(agent, sentence, mend)
        }
        ApiError::Unauthorised(text) => {
            let sentence = format!("{api} knows its credential, and forbids this ({text})");
            let mend = "give the key's user or service account the role Worker or Developer in this workspace, or correct \
                        the ids of account and workspace in `api`";
            CREDENTIAL_FORBIDDEN.found(agent, sentence, mend)
        }
        ApiError::Configuration(text) if text.starts_with("work_pool: ") => {
            POOL_MISSING.found(agent, text.trim_start_matches("work_pool: "), "prefect work-pool ls")
        }
        ApiError::Configuration(text) => NO_PREFECT_API.found(agent, text, "correct `api`"),
        ApiError::Malformed(text) => {
            let sentence = format!("what {api} answers cannot be understood: {text}");
            PREFECT_UNKNOWN.found(
                agent,
                sentence,
                format!("check again; curl {api}/health says true where `api` is right"),
            )
        }
        ApiError::Maintenance { .. } => API_MAINTENANCE.found(api, error.to_string(), "wait, and check again"),
        ApiError::NoTime => PREFECT_UNKNOWN.found(api, "there was no time left to ask", "check again"),
        ApiError::Throttled { .. } | ApiError::Status { .. } | ApiError::Refused { .. } | ApiError::NotOurs(_) => {
            API_TROUBLE.found(api, error.to_string(), "look at the server's log, and check again")
        }
    }
}

/// What it means that no connection could be made. `reason`: the words of the network library.
fn not_connected(api: &str, reason: &str) -> Finding {
    let url = reqwest::Url::parse(api).ok();
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or_default();
    let port = url.as_ref().and_then(reqwest::Url::port_or_known_default).unwrap_or(443);
    let has = |text: &str| reason.contains(text);
    if has("dns error") || has("failed to lookup address") {
        let sentence = format!("nobody here knows the name {host}: {reason}");
        return NAME_UNKNOWN.found(api, sentence, format!("nslookup {host}, and correct `api` or the VPC's DNS"));
    }
    if has("certificate expired") || has("peer certificate: Expired") {
        let sentence = format!("its certificate has expired: {reason}");
        return CERTIFICATE_EXPIRED.found(api, sentence, format!("renew the certificate of {host}"));
    }
    if has("UnknownIssuer") || has("SelfSigned") || has("CaUsedAsEndEntity") {
        let sentence = "its certificate is signed by an authority that nobody here trusts";
        let mend = "set `ca_bundle` to the PEM text of that authority, or to ssm:// and the parameter that holds it";
        return AUTHORITY_UNKNOWN.found(api, sentence, mend);
    }
    if has("certificate") || has("InvalidContentType") || has("corrupt message") || has("tls") || has("handshake") {
        let sentence = format!("no TLS with it: {reason}");
        let mend = format!(
            "openssl s_client -connect {host}:{port} -servername {host}; `api` must name the host as its certificate does"
        );
        return TLS_FAILED.found(api, sentence, mend);
    }
    let sentence = format!("no connection can be made: {reason}");
    NOT_REACHED.found(api, sentence, format!("curl -v {api}/health, from where the agent runs"))
}

/// What is well where there is an answer.
pub fn reached(api: &str, credential: bool) -> (Group, String) {
    let known = if credential { ", and knows the credential" } else { "" };
    (Group::Prefect, format!("{api} answers{known}"))
}
