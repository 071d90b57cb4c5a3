//! A self-hosted Prefect behind TLS, whose certificate a private authority has signed.

use crate::support::{DEADLINE, Deployment, agent, ids, report_in};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use world::faults::{Fault, FaultKind};
use world::prefect1::FlowRunSpec;

const AUTHORITY: &str = include_str!("../../src/http/testdata/ca.pem");
const CERTIFICATE: &str = include_str!("../../src/http/testdata/server.pem");
const KEY: &str = include_str!("../../src/http/testdata/server-key.pem");

async fn tls_before(deployment: &Deployment) -> String {
    tls_with(deployment, CERTIFICATE, KEY).await
}

/// Ends TLS with this certificate in front of the world; the address.
pub(crate) async fn tls_with(deployment: &Deployment, certificate: &str, key: &str) -> String {
    tls_front(deployment, certificate, key, Arc::default()).await
}

/// The same. Whoever empties `connections` ends them.
async fn tls_front(
    deployment: &Deployment,
    certificate: &str,
    key: &str,
    connections: Arc<Mutex<JoinSet<()>>>,
) -> String {
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let behind = deployment.world.addr();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.lock().unwrap().spawn(async move {
                let Ok(mut front) = acceptor.accept(stream).await else { return };
                let Ok(mut back) = TcpStream::connect(behind).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut front, &mut back).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn the_authority_may_stand_in_the_configuration_or_in_a_parameter() {
    let deployment = Deployment::empty().await;
    let api = tls_before(&deployment).await + "/prefect1";
    deployment.world.put_parameter("/shared/ca", AUTHORITY);
    for (run_label, bundle) in [("inline", AUTHORITY), ("parameter", "ssm://shared/ca")] {
        let name = format!("by-{run_label}");
        deployment.agent(&name, json!({"api": api, "ca_bundle": bundle, "labels": [run_label]}));
        let labels = vec![run_label.to_owned()];
        let run = deployment.schedule(FlowRunSpec { labels, ..FlowRunSpec::default() });
        let report = deployment.poll().await;
        assert_eq!(ids(agent(&report, &name), "launched"), [run], "{report:#}");
    }
}

#[tokio::test]
async fn an_authority_that_nobody_named_is_not_trusted() {
    let deployment = Deployment::empty().await;
    let api = tls_before(&deployment).await + "/prefect1";
    deployment.agent("etl", json!({"api": api}));
    let report = report_in(&deployment.poll_fails().await);
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], "api-unreachable", "{report:#}");
    assert!(etl["error"].as_str().unwrap().contains("certificate"), "{report:#}");
    assert!(deployment.prefect_requests().is_empty());
}

#[tokio::test]
async fn a_bundle_that_is_none_is_a_matter_of_configuration() {
    let deployment = Deployment::with_agent(json!({"ca_bundle": "ssm://shared/none"})).await;
    let report = report_in(&deployment.poll_fails().await);
    let etl = agent(&report, "etl");
    assert_eq!(etl["error_kind"], "configuration", "{report:#}");
    assert!(etl["error"].as_str().unwrap().contains("ca_bundle"), "{report:#}");
}

/// A function that was frozen for a minute has no connections any more.
#[tokio::test]
async fn a_warm_poll_opens_the_way_of_its_status_while_it_asks_prefect() {
    let deployment = Deployment::with_agent(json!({})).await;
    let connections = Arc::<Mutex<JoinSet<()>>>::default();
    let aws = tls_front(&deployment, CERTIFICATE, KEY, Arc::clone(&connections)).await;
    let bundle = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(bundle.path(), AUTHORITY).unwrap();
    let options = deployment.options("poll").env("AWS_ENDPOINT_URL", &aws);
    let function = options.env("AWS_CA_BUNDLE", bundle.path().to_str().unwrap()).start().await.unwrap();
    function.invoke(json!({}), DEADLINE).await.unwrap();

    connections.lock().unwrap().abort_all();
    // Prefect takes its time.
    deployment.world.fault(Fault::new("prefect1", "*", FaultKind::DelayBefore { ms: 500 }).always());
    let before = deployment.world.count("*", "*");
    function.invoke(json!({}), DEADLINE).await.unwrap();
    let requests = deployment.world.requests("*", "*").split_off(before);
    let lines: Vec<_> =
        requests.iter().map(|one| (one.connection, one.line.as_str(), one.operation.as_str())).collect();
    let opened = requests.iter().find(|one| one.line == "GET /").unwrap_or_else(|| panic!("{lines:?}"));
    let written = requests.iter().find(|one| one.operation == "PutParameter").unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(opened.header("authorization"), None);
    assert_eq!(opened.connection, written.connection, "{lines:?}");
}
