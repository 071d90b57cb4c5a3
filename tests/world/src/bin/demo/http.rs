//! HTTP as plain as can be: a connection per request, JSON both ways.

use crate::Error;
use serde_json::Value;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// One request. Its answer's status and body, `null` when that is empty. `limit` is for all of it.
pub(crate) async fn ask(
    limit: Duration,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> Result<(u16, Value), Error> {
    let exchange = tokio::time::timeout(limit, exchange(method, url, headers, body)).await;
    let answer = exchange.map_err(|_| format!("{url} does not answer"))??;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("{url} answers no HTTP: {answer}"))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| format!("{url} answers no HTTP: {head}"))?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap_or_else(|_| body.into()) };
    Ok((status, body))
}

async fn exchange(method: &str, url: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Result<String, Error> {
    let rest = url.strip_prefix("http://").ok_or("the demo's APIs are served over plain http")?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let body = body.map(Value::to_string).unwrap_or_default();
    // Version 1.0: the answer ends with the connection, and comes in one piece.
    let line = format!("{method} /{path} HTTP/1.0");
    let length = body.len().to_string();
    let own = [("host", address), ("content-type", "application/json"), ("content-length", length.as_str())];
    let headers: Vec<String> = own.iter().chain(headers).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let headers = headers.concat();
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{line}\r\n{headers}\r\n{body}").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}
