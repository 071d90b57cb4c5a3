//! How requests leave: the one way to Prefect, to AWS, and to the documents that configurations name.
//!
//! Whatever is sent goes through [`Http::send`], and everything above it is the same whoever answers: the network
//! ([`Http::network`]), a recorder before it (a dry run), or a world in the same process (the tests' histories, in virtual
//! time).

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method};
use reqwest::redirect::{Attempt, Policy};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub mod hosts;
mod tls;

pub(crate) use tls::tls;

#[cfg(test)]
mod tests;

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
        // A connection that is there may have ended while the process was frozen: that shows when it is used.
        for _ in 0..2 {
            let (url, headers) = (url.to_owned(), headers.clone());
            let Err(error) = self.send(Request { method: Method::GET, url, headers, body: None, timeout }).await else {
                return;
            };
            tracing::debug!(url = shown, %error, "no connection yet");
            if !matches!(error, SendError::NoAnswer { timed_out: false, .. }) {
                return;
            }
        }
    }
}

/// A request that got no complete answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The request itself is impossible: no such URL, or a host that may not be asked.
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

// The network: TLS roots, time limits, and what a network error says about the effect.
//
// The roots are Mozilla's, compiled in: scanning the operating system's certificates costs a cold start tens of
// milliseconds. A private authority (a self-hosted Prefect's, `AWS_CA_BUNDLE`) is added to them.

/// Redirects that are followed at most, within one host.
const MAX_REDIRECTS: usize = 3;
/// What Prefect's access log shows.
const USER_AGENT: &str = concat!("prefect-serverless-agent/", env!("CARGO_PKG_VERSION"));
/// A server of Prefect 2 or 3 closes connections that were idle for 5 s.
const WORKER_IDLE: Duration = Duration::from_secs(4);

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// To connect, with the TLS handshake. A connection that takes longer counts as none.
    pub connect: Duration,
    /// Connections idle for longer are not used again. The sockets of a function that was frozen longer than the default
    /// are likely dead.
    pub idle: Duration,
    /// Longer answers are not read: memory is bounded.
    pub max_answer_bytes: usize,
    /// Redirects that keep method, body and origin are followed.
    pub follows_redirects: bool,
}

impl Options {
    /// For Prefect 1, and for documents.
    pub const PREFECT1: Self = Self {
        connect: Duration::from_secs(3),
        idle: Duration::from_secs(20),
        // No poll has so much to say.
        max_answer_bytes: 20 * 1024 * 1024,
        follows_redirects: true,
    };
    /// For Prefect 2 and 3.
    pub const PREFECT3: Self = Self { idle: WORKER_IDLE, ..Self::PREFECT1 };
    /// For AWS, whose largest legitimate answer is a document of a few megabytes.
    pub const AWS: Self = Self {
        connect: Duration::from_secs(2),
        idle: Duration::from_secs(20),
        max_answer_bytes: 8 * 1024 * 1024,
        follows_redirects: false,
    };
}

/// A client that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The private authority's certificates cannot be read.
    #[error("{0}")]
    CaBundle(String),
    /// TLS or the client itself could not be set up.
    #[error("the HTTP client cannot be built: {0}")]
    Setup(String),
}

impl Http {
    /// The network. `ca_pem` holds the certificates of a private authority, which is trusted besides the public ones.
    pub fn network(options: Options, ca_pem: Option<&str>) -> Result<Self, ClientError> {
        Self::by(options, ca_pem, |client| client)
    }

    fn by(
        options: Options,
        ca_pem: Option<&str>,
        with: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, ClientError> {
        let redirects = if options.follows_redirects { Policy::custom(redirect) } else { Policy::none() };
        let client = with(reqwest::Client::builder())
            .tls_backend_preconfigured(tls::shared(ca_pem)?)
            .connect_timeout(options.connect)
            .pool_idle_timeout(options.idle)
            .tcp_nodelay(true)
            .redirect(redirects)
            .retry(reqwest::retry::never())
            .user_agent(USER_AGENT)
            .build()
            .map_err(|error| ClientError::Setup(chain(&error)))?;
        Ok(Self::over(Network { client, max_answer_bytes: options.max_answer_bytes }))
    }
}

#[derive(Debug)]
struct Network {
    client: reqwest::Client,
    max_answer_bytes: usize,
}

impl Exchange for Network {
    fn exchange(&self, request: Request) -> BoxFuture<'_, Result<Answer, SendError>> {
        Box::pin(async move {
            let Request { method, url, headers, body, timeout } = request;
            let mut builder = self.client.request(method, url).headers(headers).timeout(timeout);
            if let Some(body) = body {
                builder = builder.body(body);
            }
            let mut response = builder.send().await.map_err(classify)?;
            let (status, headers) = (response.status().as_u16(), std::mem::take(response.headers_mut()));
            let mut body = BytesMut::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error.without_url()))? {
                if body.len() + chunk.len() > self.max_answer_bytes {
                    return Err(SendError::TooLong(self.max_answer_bytes));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(Answer { status, headers, body: body.freeze() })
        })
    }
}

/// Follows a redirect only when it keeps method and body (307, 308) and stays with the same scheme, host and port:
/// the headers carry credentials.
fn redirect(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
    let same_origin = attempt.previous().first().is_some_and(|first| first.origin() == attempt.url().origin());
    if keeps_body && same_origin && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

/// Tells what a request that got no answer may have done. The texts hold no URL, which may hold a password.
fn classify(error: reqwest::Error) -> SendError {
    let error = error.without_url();
    if let Some(refusal) = host_refusal(&error) {
        return SendError::Impossible(refusal.to_string());
    }
    if error.is_builder() {
        return SendError::Impossible(chain(&error));
    }
    if error.is_connect() {
        return SendError::NotSent(chain(&error));
    }
    no_answer(&error)
}

/// Why the resolver did not resolve the host, if that was its own decision.
fn host_refusal(error: &reqwest::Error) -> Option<&hosts::HostRefusal> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(refusal) = error.downcast_ref() {
            return Some(refusal);
        }
        cause = error.source();
    }
    None
}

fn no_answer(error: &reqwest::Error) -> SendError {
    SendError::NoAnswer { reason: chain(error), timed_out: error.is_timeout() }
}
