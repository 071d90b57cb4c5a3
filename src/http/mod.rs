//! How requests leave: the one way to Prefect, to AWS, and to the documents that configurations name.
//!
//! Whatever is sent goes through [`Http::send`], and everything above it is the same whoever answers: the network
//! ([`network`]), a recorder before it (a dry run), or a world in the same process (the tests' histories, in virtual
//! time).

pub mod network;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A request. Its debug text tells neither headers nor body, which hold secrets.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Complete URL; a user and a password in it are sent as basic authentication.
    pub url: String,
    /// Headers.
    pub headers: HeaderMap,
    /// Body; `None` is not the same as an empty one.
    pub body: Option<Bytes>,
    /// From the start to the last byte of the answer.
    pub timeout: Duration,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

/// A complete answer, of whatever status.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// The seam: sends a request, once, and reads the whole answer, or says what may have become of it.
pub trait Exchange: fmt::Debug + Send + Sync {
    /// One exchange. It ends within the request's timeout.
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Answer, SendError>>;
}

/// The shared client; clones share its connections.
#[derive(Debug, Clone)]
pub struct Http {
    way: Arc<dyn Exchange>,
}

impl Http {
    /// Sends by this way.
    pub fn over(way: impl Exchange + 'static) -> Self {
        Self { way: Arc::new(way) }
    }

    /// Sends a request, once. Any HTTP status is an answer.
    pub async fn send(&self, request: Request) -> Result<Answer, SendError> {
        self.way.exchange(request).await
    }

    /// Opens a connection ahead of its first use, if that takes a TLS handshake: a plain address is not asked. It says
    /// nothing of who asks but `headers`; any answer will do, and so will none. `shown` stands for the URL in logs.
    pub async fn warm_up(&self, url: &str, shown: &str, headers: HeaderMap, timeout: Duration) {
        if !url.starts_with("https:") {
            return;
        }
        let request = Request { method: Method::GET, url: url.to_owned(), headers, body: None, timeout };
        if let Err(error) = self.send(request).await {
            tracing::debug!(url = shown, %error, "no connection yet");
        }
    }
}

/// A request that got no complete answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The request itself is impossible: no such URL.
    #[error("{0}")]
    Impossible(String),
    /// Nothing was sent: the time was up before.
    #[error("the time was up")]
    NoTime,
    /// Nothing was sent: no connection (name, route, TLS).
    #[error("{0}")]
    NotSent(String),
    /// Sent, perhaps, but no complete answer came.
    #[error("{reason}")]
    NoAnswer {
        /// What the network said.
        reason: String,
        /// The time was up, as opposed to a connection that broke.
        timed_out: bool,
    },
    /// The answer is longer than this many bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// An error and its causes, in one line: the cause is what a person needs.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
