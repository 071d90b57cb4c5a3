//! What the ways to both Prefect APIs have in common: time limits, pauses, headers, errors.

pub(crate) mod again;
pub(crate) mod deadline;
pub(crate) mod errors;
pub(crate) mod headers;
pub(crate) mod shape;

pub(crate) use deadline::Deadline;

use crate::http_client;
use reqwest::header::HeaderMap;
use std::time::Duration;

/// The time that one request may take at most.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Opens a connection ahead of its first use, if that takes a TLS handshake. It says nothing of who asks, any answer
/// will do, and so will none. `shown` stands for the URL in logs; `further`: headers of every request.
pub(crate) async fn warm_up(client: &reqwest::Client, url: &str, shown: &str, further: &HeaderMap) {
    if !url.starts_with("https:") {
        return;
    }
    let asked =
        client.get(url).headers(further.clone()).timeout(REQUEST_TIMEOUT).send().await.map_err(http_client::classify);
    let answered = match asked {
        // Read to its end, so that the connection can be used again.
        Ok(response) => http_client::body(response).await.map(drop),
        Err(error) => Err(error),
    };
    if let Err(error) = answered {
        tracing::debug!(api = shown, ?error, "no connection yet");
    }
}
