//! What the command serves over HTTP: health and poke, as the Python agent serves them (`--agent-address`), and the page.

use super::CliError;
use super::args::AgentAddress;
use crate::clock::{Clock, SystemClock};
use crate::health::{AgentFacts, Health, HealthAnswer};
use crate::panics::lock;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// So many connections at once; for one more the oldest is let go.
const CONNECTIONS: usize = 32;

/// A connection may take so long: one small request, one small answer.
const CONNECTION: Duration = Duration::from_secs(10);

/// The largest head of a request, bytes.
const HEAD: usize = 16 * 1024;

/// A pause after a connection could not be accepted: most likely there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the loop and the server share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    facts: Mutex<BTreeMap<String, AgentFacts>>,
    poked: Notify,
}

impl Shared {
    /// What is known of the agents now.
    pub(super) fn know(&self, facts: BTreeMap<String, AgentFacts>) {
        *lock(&self.facts) = facts;
    }

    /// Returns when somebody pokes, at once when somebody did since the last call.
    pub(super) async fn poked(&self) {
        self.poked.notified().await;
    }

    fn health(&self) -> Health {
        Health::of(&lock(&self.facts), SystemClock.now())
    }
}

impl Site for Shared {
    async fn answer(&self, asked: Asked) -> HealthAnswer {
        answer(&asked.method, &asked.path, self)
    }
}

/// What is served.
pub(super) trait Site: Send + Sync + 'static {
    /// The answer to a request.
    fn answer(&self, asked: Asked) -> impl Future<Output = HealthAnswer> + Send;
}

/// What of a request matters.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    /// Without the query.
    pub(super) path: String,
    /// What the browser calls this machine.
    pub(super) host: Option<String>,
}

/// Serves from now on, for as long as the runtime lives. The address that was bound comes back. `argument`: what names it.
pub(super) async fn serve<S: Site>(
    address: &AgentAddress,
    argument: &str,
    site: Arc<S>,
) -> Result<SocketAddr, CliError> {
    let AgentAddress { host, port } = address;
    let cannot = |error| {
        let advice = format!("choose an address of this machine and a free port with {argument}");
        CliError::new(format!("cannot serve at {host}:{port}: {error}"), advice)
    };
    let listener = TcpListener::bind((host.as_str(), *port)).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    tokio::spawn(accept(listener, site));
    Ok(bound)
}

async fn accept<S: Site>(listener: TcpListener, site: Arc<S>) {
    let mut open: VecDeque<AbortHandle> = VecDeque::with_capacity(CONNECTIONS);
    // Until the runtime ends.
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                open.retain(|connection| !connection.is_finished());
                if open.len() >= CONNECTIONS
                    && let Some(oldest) = open.pop_front()
                {
                    // An answer takes no time: who has been there longest says nothing, and keeps nobody from asking.
                    oldest.abort();
                }
                let site = Arc::clone(&site);
                // Whoever is slow or gone is let go of.
                let conversation = tokio::time::timeout(CONNECTION, converse(stream, site));
                open.push_back(tokio::spawn(conversation).abort_handle());
            }
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse<S: Site>(stream: TcpStream, site: Arc<S>) {
    let service = service_fn(|request: Request<Incoming>| {
        let host = request.headers().get(hyper::header::HOST).and_then(|host| host.to_str().ok());
        let asked = Asked {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            host: host.map(str::to_owned),
        };
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(response(site.answer(asked).await)) }
    });
    let mut connection = http1::Builder::new();
    connection.timer(TokioTimer::new()).header_read_timeout(CONNECTION).max_buf_size(HEAD).keep_alive(false);
    if let Err(error) = connection.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// As the Python agent: only `GET`, on these two paths.
fn answer(method: &Method, path: &str, shared: &Shared) -> HealthAnswer {
    match path {
        "/api/health" | "/api/poke" if method != Method::GET => HealthAnswer::method_not_allowed(),
        "/api/health" => HealthAnswer::health(&shared.health()),
        "/api/poke" => {
            shared.poked.notify_one();
            HealthAnswer::poked()
        }
        _ => HealthAnswer::not_found(),
    }
}

fn response(answer: HealthAnswer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    if let Ok(status) = answer.status_code.try_into() {
        *response.status_mut() = status;
    }
    for (name, value) in answer.headers {
        let name = hyper::header::HeaderName::from_static(name);
        if let Ok(value) = hyper::header::HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn paths_and_methods_are_those_of_the_python_agent() {
        let shared = Shared::default();
        for (method, path, status) in [
            (Method::GET, "/api/health", 503),
            (Method::HEAD, "/api/health", 405),
            (Method::GET, "/api/poke", 200),
            (Method::POST, "/api/poke", 405),
            (Method::GET, "/", 404),
            (Method::POST, "/api", 404),
        ] {
            assert_eq!(answer(&method, path, &shared).status_code, status, "{method} {path}");
        }
    }

    #[test]
    fn an_agent_that_has_just_been_started_is_well() {
        let shared = Shared::default();
        let configuration = crate::health::status::ConfiguredAgent {
            enabled: true,
            poll_interval: Duration::from_mins(1),
            hold: Duration::ZERO,
            max_polls: None,
        };
        let facts = |since| AgentFacts {
            configuration: Some(configuration),
            configured_at: Some(since),
            status: None,
            deaths: Vec::new(),
        };
        shared.know([("etl".to_owned(), facts(SystemClock.now()))].into());
        let well = answer(&Method::GET, "/api/health", &shared);
        assert!(well.status_code == 200 && well.body.contains("\"starting\""), "{well:?}");
        shared.know([("etl".to_owned(), facts(datetime!(2020-01-01 0:00 UTC)))].into());
        assert_eq!(answer(&Method::GET, "/api/health", &shared).status_code, 503);
    }

    #[tokio::test]
    async fn a_poke_is_not_lost_when_nobody_waits_yet() {
        let shared = Shared::default();
        answer(&Method::GET, "/api/poke", &shared);
        answer(&Method::GET, "/api/poke", &shared);
        shared.poked().await;
        let again = tokio::time::timeout(Duration::from_millis(1), shared.poked()).await;
        assert!(again.is_err(), "two pokes at once wake once");
    }
}
