//! The calls that automations make, as the server's action runner sends them: once, and given up after five seconds.

use super::WebhookCall;
use crate::World;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The server's patience.
const LIMIT: Duration = Duration::from_secs(5);

/// Makes the calls that are to be made, each in a task of its own, and writes down what they come to.
pub(super) fn call_all(world: &World) {
    for call in std::mem::take(&mut world.lock().prefect3.webhooks) {
        let world = world.clone();
        tokio::spawn(async move {
            let outcome = match tokio::time::timeout(LIMIT, send(&call)).await {
                Ok(outcome) => outcome,
                Err(_) => Err("Webhook call failed: ReadTimeout('')".to_owned()),
            };
            {
                let mut state = world.lock();
                let now = super::times::micros(state.now());
                state.prefect3.action_ended(&call.automation, &outcome, now);
            }
            world.notify();
        });
    }
}

/// The answer's status. There is no content type: the body is empty.
async fn send(call: &WebhookCall) -> Result<u16, String> {
    let failed = |what: &str| format!("Webhook call failed: {what}");
    let rest = call.url.strip_prefix("http://").ok_or_else(|| failed("UnsupportedProtocol('')"))?;
    let (address, path) = rest.split_once('/').unwrap_or((rest, ""));
    let own = [
        ("Host", address),
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Connection", "close"),
        ("User-Agent", "python-httpx/0.28.1"),
        ("Content-Length", "0"),
    ];
    let given = call.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let headers: Vec<String> =
        own.into_iter().chain(given).map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{} /{path} HTTP/1.1\r\n{}\r\n", call.method, headers.concat());
    let unreachable = |_| failed("ConnectError('All connection attempts failed')");
    let mut stream = TcpStream::connect(address).await.map_err(unreachable)?;
    let broken = |_| failed("ReadError('')");
    stream.write_all(request.as_bytes()).await.map_err(broken)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(broken)?;
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| failed("RemoteProtocolError('')"))
}
