//! A self-hosted Prefect behind TLS, whose certificate a private authority has signed.

use crate::support::{Deployment, agent, ids, report_in};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use world::prefect1::FlowRunSpec;

const AUTHORITY: &str = include_str!("../../src/http/testdata/ca.pem");
const CERTIFICATE: &str = include_str!("../../src/http/testdata/server.pem");
const KEY: &str = include_str!("../../src/http/testdata/server-key.pem");

async fn tls_before(deployment: &Deployment) -> String {
    tls_with(deployment, CERTIFICATE, KEY).await
}

/// Ends TLS with this certificate in front of the world; the address.
pub(crate) async fn tls_with(deployment: &Deployment, certificate: &str, key: &str) -> String {
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
            tokio::spawn(async move {
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
