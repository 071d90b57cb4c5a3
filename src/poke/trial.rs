//! A poke that tries whether pokes arrive: the thin edge that sends it, and what the answer means (pure).

use crate::http::{Answer, Http, Request, SendError};
use crate::transport::authorization;
use ::http::header::AUTHORIZATION;
use ::http::{HeaderMap, Method};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

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
