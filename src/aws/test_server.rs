//! A tiny HTTP server for tests: answers by a closure, keeps every request as it came over the wire.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::AwsClients;
use super::http::AwsHttp;
use crate::http::Http;
use crate::http::Options;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The operation of a JSON service: `X-Amz-Target` after the dot.
    pub(crate) fn operation(&self) -> &str {
        self.header("x-amz-target").rsplit('.').next().unwrap_or_default()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.body))
    }
}

/// What the server does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Status, headers, body.
    Answer(u16, Vec<(&'static str, String)>, String),
    /// Closes the connection without a word.
    Drop,
    /// Closes the connection in the middle of the body.
    CutOff,
    /// Never answers.
    Hang,
}

pub(crate) fn json(status: u16, body: &Value) -> Reply {
    Reply::Answer(status, vec![("content-type", "application/x-amz-json-1.1".into())], body.to_string())
}

pub(crate) fn text(status: u16, body: &str) -> Reply {
    Reply::Answer(status, vec![("content-type", "text/xml".into())], body.to_owned())
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (handler, seen) = (Arc::new(handler), requests.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, seen) = (handler.clone(), seen.clone());
                tokio::spawn(async move { serve(stream, &*handler, &seen).await });
            }
        });
        Self { address, requests, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far, in the order of their arrival.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Clients of which every service is this server.
    pub(crate) async fn clients(&self) -> AwsClients {
        self.clients_with(&[]).await
    }

    pub(crate) async fn clients_with(&self, more: &[(&str, &str)]) -> AwsClients {
        clients(&self.url(), more).await
    }
}

/// Clients for an endpoint, impatient so that tests of timeouts are short.
pub(crate) async fn clients(endpoint: &str, more: &[(&str, &str)]) -> AwsClients {
    let mut environment = HashMap::from([
        ("AWS_REGION".to_owned(), "eu-west-1".to_owned()),
        ("AWS_ACCESS_KEY_ID".to_owned(), "AKIDOWN".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), "secret".to_owned()),
        ("AWS_ENDPOINT_URL".to_owned(), endpoint.to_owned()),
    ]);
    environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let patience = Duration::from_millis(500);
    AwsClients::with_limits(&environment, Options { connect: patience, ..Options::AWS }, patience).unwrap()
}

/// The network as AWS is reached by it.
pub(crate) fn network() -> AwsHttp {
    AwsHttp::new(Http::network(Options::AWS, None).unwrap(), AwsHttp::ATTEMPT)
}

/// An address where nobody listens.
pub(crate) fn closed_port() -> String {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    // Kept as long as the process lives: a port that is given back may be another test's server by the next request.
    std::mem::forget(socket);
    format!("http://{address}")
}

async fn serve(mut stream: TcpStream, handler: &(dyn Fn(&Request) -> Reply + Send + Sync), seen: &Mutex<Vec<Request>>) {
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        seen.lock().unwrap().push(request.clone());
        match handler(&request) {
            Reply::Answer(status, headers, body) => {
                let mut head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
                for (name, value) in headers {
                    write!(head, "{name}: {value}\r\n").unwrap();
                }
                stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
            }
            Reply::CutOff => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"tasks\": [").await.unwrap();
                return;
            }
            Reply::Drop => return,
            Reply::Hang => std::future::pending().await,
        }
    }
}

async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        more(stream, buffer).await?;
    };
    let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap_or((&head, ""));
    let headers: HashMap<_, _> = fields
        .lines()
        .filter_map(|field| field.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    while buffer.len() < end + 4 + length {
        more(stream, buffer).await?;
    }
    let body = String::from_utf8(buffer[end + 4..end + 4 + length].to_vec()).unwrap();
    buffer.drain(..end + 4 + length);
    let mut words = line.split(' ').map(ToOwned::to_owned);
    Some(Request { method: words.next()?, target: words.next()?, headers, body })
}

async fn more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = vec![0; 16 * 1024];
    match stream.read(&mut chunk).await {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            buffer.extend_from_slice(&chunk[..count]);
            Some(())
        }
    }
}
