#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use bytes::Bytes;
use http::{HeaderMap, Method};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

const CA: &str = include_str!("testdata/ca.pem");
const SERVER: &str = include_str!("testdata/server.pem");
const SERVER_KEY: &str = include_str!("testdata/server-key.pem");

/// Answers one request over TLS, or fails the handshake; the certificate is signed by the tests' private authority.
fn tls_server() -> String {
    let chain = CertificateDer::pem_slice_iter(SERVER.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    serve(move |mut tcp| {
        let mut tls = rustls::ServerConnection::new(Arc::new(config.clone())).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut tcp);
        if stream.read(&mut [0; 4096]).is_ok() {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"));
        }
    })
}

/// Handles one connection on a free port of the loopback; returns its address.
fn serve(handle: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || handle(listener.accept().unwrap().0));
    address
}

fn client(ca_pem: Option<&str>) -> Result<Http, ClientError> {
    Http::network(Options::PREFECT1, ca_pem)
}

async fn answer(client: &Http, url: &str) -> Result<Answer, SendError> {
    let (method, headers, timeout) = (Method::POST, HeaderMap::new(), Duration::from_secs(5));
    client.send(Request { method, url: url.to_owned(), headers, body: Some("x".into()), timeout }).await
}

async fn post(client: &Http, url: &str) -> Result<Bytes, SendError> {
    answer(client, url).await.map(|answer| answer.body)
}

#[tokio::test]
async fn a_private_authority_is_trusted_when_given() {
    let answer = post(&client(Some(CA)).unwrap(), &format!("https://{}", tls_server())).await;
    assert_eq!(answer, Ok(Bytes::from_static(b"hi")));
}

#[tokio::test]
async fn an_unknown_authority_means_that_nothing_was_sent() {
    let answer = post(&client(None).unwrap(), &format!("https://{}", tls_server())).await;
    assert!(matches!(&answer, Err(SendError::NotSent(reason)) if reason.contains("certificate")), "{answer:?}");
}

#[tokio::test]
async fn a_closed_port_means_that_nothing_was_sent() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answer = post(&client(None).unwrap(), &format!("http://{address}")).await;
    assert!(matches!(&answer, Err(SendError::NotSent(reason)) if reason.contains("refused")), "{answer:?}");
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let address = serve(|mut tcp| {
        drop(tcp.read(&mut [0; 4096]));
        drop(tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"));
    });
    let answer = post(&client(None).unwrap(), &format!("http://{address}")).await;
    assert!(matches!(&answer, Err(SendError::NoAnswer { timed_out: false, .. })), "{answer:?}");
}

#[tokio::test]
async fn what_is_no_url_is_impossible() {
    let answer = post(&client(None).unwrap(), "api.prefect.io").await;
    assert!(matches!(&answer, Err(SendError::Impossible(_))), "{answer:?}");
}

#[tokio::test]
async fn a_redirect_to_another_origin_is_not_followed() {
    let other = serve(|_| panic!("credentials would have been sent here"));
    let address = serve(move |mut tcp| {
        drop(tcp.read(&mut [0; 4096]));
        let head = format!("HTTP/1.1 307 Moved\r\nlocation: http://{other}/\r\ncontent-length: 0\r\n\r\n");
        drop(tcp.write_all(head.as_bytes()));
    });
    assert_eq!(answer(&client(None).unwrap(), &format!("http://{address}")).await.unwrap().status, 307);
}

#[tokio::test]
async fn too_long_an_answer_is_not_read() {
    let address = serve(|mut tcp| {
        drop(tcp.read(&mut [0; 4096]));
        drop(tcp.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"));
        let block = vec![b'x'; 1 << 20];
        while tcp.write_all(&block).is_ok() {}
    });
    assert_eq!(post(&client(None).unwrap(), &format!("http://{address}")).await, Err(SendError::TooLong(20 << 20)));
}

#[test]
fn a_bundle_without_certificates_is_refused() {
    assert!(matches!(client(Some("")), Err(ClientError::CaBundle(_))));
    assert!(matches!(client(Some("ssm://name")), Err(ClientError::CaBundle(_))));
    assert!(matches!(client(Some(SERVER_KEY)), Err(ClientError::CaBundle(_))));
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(client(Some(broken)), Err(ClientError::CaBundle(_))));
    assert!(client(Some(&format!("{CA}{SERVER}"))).is_ok());
}
