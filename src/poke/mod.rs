//! Pokes: somebody says that a run is due now. Who is answered, which agent is meant, and when the poll begins that follows.
//! Pure, but for the sending of `trial`.
//!
//! | part | what happens there |
//! |---|---|
//! | `coalescing` | pokes that come together → few polls, each of which begins after the pokes that it answers |
//! | `connection` | what is made in Prefect 3 so that it pokes, and what of it is there |
//! | `trial` | a poke that tries whether pokes arrive |

pub mod coalescing;
pub mod connection;
pub mod trial;

use crate::config::is_agent_name;
use crate::health::HealthRequest;
use coalescing::Poked;
use percent_encoding::percent_decode_str;

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
