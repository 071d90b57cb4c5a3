//! Pokes: somebody says that a run is due now. Who is answered, which agent is meant, and when the poll begins that follows.
//! Pure, but for the sending of a trial.
//!
//! | part | what happens there |
//! |---|---|
//! | `coalescing` | pokes that come together → few polls, each of which begins after the pokes that it answers |
//! | `connection` | what is made in Prefect 3 so that it pokes, and what of it is there |
//!
//! A [`Trial`] is a poke that tries whether pokes arrive: the thin edge that sends it, and what the answer means (pure).

pub mod coalescing;
pub mod connection;

use crate::config::is_agent_name;
use crate::health::HealthRequest;
use crate::http::{Answer, Http, Request, SendError};
use crate::transport::authorization;
use coalescing::Poked;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

/// The one path of the poke URL.
pub const PATH: &str = "/api/poke";
/// Which agent is poked, in the URL's query: a webhook without a body has no content type that somebody must understand.
pub const AGENT: &str = "agent";
/// Characters of a query that are looked at: more is nobody's name.
const MOST_QUERY: usize = 256;

/// What is asked of the poke URL, before anybody knows who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PokeRoute {
    /// `POST /api/poke`
    Poke,
    /// The same path with another method.
    MethodNotAllowed,
    /// Any other path.
    NotFound,
}

impl PokeRoute {
    /// Where a request goes.
    pub fn of(request: &HealthRequest) -> Self {
        match (request.path.as_str(), request.method.as_str()) {
            (PATH, "POST") => Self::Poke,
            (PATH, _) => Self::MethodNotAllowed,
            _ => Self::NotFound,
        }
    }
}

/// A poke that names what cannot be an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "`agent` in the query is one name of letters, digits, `-` and `_` (at most 64); without it all agents are poked"
)]
pub struct NoAgentName;

/// Whom a poke is for, by the query of its URL.
pub fn poked(query: &str) -> Result<Poked, NoAgentName> {
    if query.len() > MOST_QUERY {
        return Err(NoAgentName);
    }
    let mut named = query.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == AGENT);
    match (named.next(), named.next()) {
        (None, _) => Ok(Poked::All),
        (Some((_, name)), None) => {
            let name = percent_decode_str(name).decode_utf8().map_err(|_| NoAgentName)?;
            if is_agent_name(&name) { Ok(Poked::Agent(name.into_owned())) } else { Err(NoAgentName) }
        }
        (Some(_), Some(_)) => Err(NoAgentName),
    }
}

/// Prefect waits five seconds. A cold start behind a slow line is given a little more.
const PATIENCE: Duration = Duration::from_secs(8);
/// What the functions' own refusal begins with; AWS's own is JSON.
const OWN_PAGE: &[u8] = b"<html><title>403";

/// What became of a poke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// A poll follows.
    Answered,
    /// The function knows another token, or none.
    WrongToken,
    /// AWS let nobody through: the URL wants IAM, or nobody has the permission.
    NotLetThrough,
    /// Something answers there that takes no pokes.
    OtherAnswer(u16),
    /// The function could not start a poll.
    Failed(u16),
    /// No answer, and why.
    NotReached(String),
}

impl Trial {
    /// What is the matter, for people; `None`: nothing.
    pub fn trouble(&self) -> Option<String> {
        Some(match self {
            Self::Answered => return None,
            Self::WrongToken => "it refuses the token (403): it knows another one".into(),
            Self::NotLetThrough => "AWS refuses the poke (403): the URL wants IAM, or lacks its permissions".into(),
            Self::OtherAnswer(status) => format!("something answers there that takes no pokes (HTTP {status})"),
            Self::Failed(status) => format!("the poke function failed (HTTP {status}): its log says why"),
            Self::NotReached(why) => format!("it does not answer: {why}"),
        })
    }
}

/// Pokes, as Prefect does. The poll that follows is a poll as any other.
pub async fn poke(http: &Http, url: &str, token: &SecretString) -> Trial {
    let mut headers = HeaderMap::new();
    match authorization(&format!("Bearer {}", token.expose_secret())) {
        Ok(value) => drop(headers.insert(AUTHORIZATION, value)),
        Err(_) => return Trial::NotReached("the token cannot be put into a header".into()),
    }
    let request = Request { method: Method::POST, url: url.to_owned(), headers, body: None, timeout: PATIENCE };
    judge(&http.send(request).await)
}

fn judge(answered: &Result<Answer, SendError>) -> Trial {
    match answered {
        Ok(Answer { status: 200, body, .. }) if body.is_empty() => Trial::Answered,
        Ok(Answer { status: 403, body, .. }) if body.starts_with(OWN_PAGE) => Trial::WrongToken,
        Ok(Answer { status: 403, .. }) => Trial::NotLetThrough,
        Ok(Answer { status: status @ 429.., .. }) => Trial::Failed(*status),
        Ok(Answer { status, .. }) => Trial::OtherAnswer(*status),
        Err(error) => Trial::NotReached(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_post_to_the_one_path_is_a_poke() {
        let route = |method: &str, path: &str| {
            let (method, path) = (method.to_owned(), path.to_owned());
            PokeRoute::of(&HealthRequest {
                method,
                path,
                query: String::new(),
                bearer: None,
                by_iam: true,
                cookies: vec![],
                body: vec![],
            })
        };
        assert_eq!(route("POST", "/api/poke"), PokeRoute::Poke);
        for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(route(method, "/api/poke"), PokeRoute::MethodNotAllowed, "{method}");
        }
        for path in ["/", "/api/health", "/api/poke/", "/api//poke", "/API/POKE"] {
            assert_eq!(route("POST", path), PokeRoute::NotFound, "{path}");
        }
    }

    #[test]
    fn a_query_names_one_agent_or_means_all() {
        for query in ["", "x=1", "agents=etl", "&&", "agent"] {
            assert_eq!(poked(query), Ok(Poked::All), "{query}");
        }
        for query in ["agent=etl_2-b", "x=1&agent=etl_2-b", "agent=etl%5F2%2Db&y"] {
            assert_eq!(poked(query), Ok(Poked::Agent("etl_2-b".into())), "{query}");
        }
        let long = format!("agent={}", "a".repeat(65));
        let endless = format!("agent=etl&x={}", "a".repeat(MOST_QUERY));
        for query in ["agent=", "agent=a/b", "agent=%FF", "agent=a&agent=b", "agent=a+b", &long, &endless] {
            assert_eq!(poked(query), Err(NoAgentName), "{query}");
        }
    }
}

#[cfg(test)]
mod trial_tests {
    use super::*;
    use crate::health::HealthAnswer;

    fn answer(status: u16, body: &str) -> Trial {
        judge(&Ok(Answer { status, headers: HeaderMap::new(), body: body.to_owned().into() }))
    }

    #[test]
    fn our_own_refusal_is_told_from_that_of_aws() {
        let own = |said: HealthAnswer| answer(said.status_code, &said.body);
        assert_eq!(own(HealthAnswer::poked()), Trial::Answered);
        assert_eq!(own(HealthAnswer::forbidden()), Trial::WrongToken);
        assert_eq!(answer(403, r#"{"Message":"Forbidden"}"#), Trial::NotLetThrough);
        assert_eq!(own(HealthAnswer::poke_failed()), Trial::Failed(502));
        assert_eq!(own(HealthAnswer::not_found()), Trial::OtherAnswer(404));
        assert_eq!(answer(200, "<html>a portal</html>"), Trial::OtherAnswer(200));
        assert_eq!(answer(429, "slow down"), Trial::Failed(429));
        assert!(Trial::Answered.trouble().is_none() && Trial::WrongToken.trouble().is_some());
    }
}
