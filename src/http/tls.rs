//! TLS: whom a client trusts, and that it verifies a server's certificates once, not with every connection.

use super::ClientError;
use crate::panics::lock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

/// Seconds for which a chain counts as verified: as long as it takes to open the connections of one poll.
const VERIFIED_SECONDS: u64 = 60;
/// Servers whose chains are remembered.
const MAX_SERVERS: usize = 16;
/// Sets of roots that are remembered: the agents' private authorities.
const MAX_ROOTS: usize = 16;

/// What clients with the same roots share, by the private ones: chains that were verified, and sessions to resume. Ten agents
/// that speak to one Prefect open fifty connections at once.
static SHARED: LazyLock<Mutex<HashMap<Option<String>, ClientConfig>>> = LazyLock::new(Mutex::default);

/// The same as [`tls`], shared by all that have the same roots.
pub(super) fn shared(ca_pem: Option<&str>) -> Result<ClientConfig, ClientError> {
    let mut shared = lock(&SHARED);
    let roots = ca_pem.map(str::to_owned);
    if let Some(known) = shared.get(&roots) {
        return Ok(known.clone());
    }
    let made = tls(ca_pem)?;
    if shared.len() >= MAX_ROOTS {
        shared.clear();
    }
    shared.insert(roots, made.clone());
    Ok(made)
}

/// Public roots, the private ones, no client certificate. Nothing is known of any server yet.
pub(crate) fn tls(ca_pem: Option<&str>) -> Result<ClientConfig, ClientError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    for certificate in private_roots(ca_pem)? {
        roots.add(certificate).map_err(|error| ClientError::CaBundle(error.to_string()))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ClientError::Setup(error.to_string()))?;
    let verifier = Arc::new(ChainVerifier { webpki, verified: Mutex::default() });
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificates of a PEM text; a text without any is an error, because it would silently trust nobody new.
fn private_roots(ca_pem: Option<&str>) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let Some(pem) = ca_pem else { return Ok(Vec::new()) };
    let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ClientError::CaBundle(format!("no PEM text: {error}")))?;
    if certificates.is_empty() {
        return Err(ClientError::CaBundle("the PEM text holds no certificate".into()));
    }
    Ok(certificates)
}

/// Verifies chains of certificates as rustls does, and remembers those that were found good. A poll opens up to ten
/// connections to two servers at once, and a chain is three RSA signatures: a fifth of what a cold start computes.
///
/// Only that is remembered which is the same for every connection: this chain, for this server's name. That the server holds
/// the key of its certificate is proven by each handshake anew.
#[derive(Debug)]
struct ChainVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    verified: Mutex<HashMap<ServerName<'static>, VerifiedChain>>,
}

/// A chain that was verified.
#[derive(Debug)]
struct VerifiedChain {
    at: UnixTime,
    /// The server's own certificate, then those between it and a root.
    chain: Vec<CertificateDer<'static>>,
}

impl VerifiedChain {
    fn is(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        // A clock that was put back says nothing about age.
        let age = now.as_secs().checked_sub(self.at.as_secs());
        let is_fresh = age.is_some_and(|age| age < VERIFIED_SECONDS);
        is_fresh && self.chain.split_first().is_some_and(|(own, others)| own == end_entity && others == intermediates)
    }
}

impl ServerCertVerifier for ChainVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let known = |chain: &VerifiedChain| chain.is(end_entity, intermediates, now);
        let server_name = server_name.to_owned();
        if lock(&self.verified).get(&server_name).is_some_and(known) {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self.webpki.verify_server_cert(end_entity, intermediates, &server_name, ocsp_response, now)?;
        let chain = std::iter::once(end_entity).chain(intermediates).map(|one| one.clone().into_owned()).collect();
        let mut remembered = lock(&self.verified);
        if remembered.len() >= MAX_SERVERS {
            remembered.clear();
        }
        remembered.insert(server_name, VerifiedChain { at: now, chain });
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustls::CertificateError;
    use std::time::Duration;

    const CA: &str = include_str!("testdata/ca.pem");
    const SERVER: &str = include_str!("testdata/server.pem");

    fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
        CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
    }

    /// Trusts the tests' authority.
    fn verifier() -> ChainVerifier {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates(CA));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        ChainVerifier { webpki, verified: Mutex::default() }
    }

    #[test]
    fn a_chain_that_was_verified_is_known_for_a_minute_and_nothing_else_is() {
        let (verifier, own) = (verifier(), certificates(SERVER));
        let (own, between) = own.split_first().unwrap();
        let now = UnixTime::now();
        let later = |seconds: u64| UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + seconds));
        let verify = |own: &CertificateDer<'_>, name: &str, now| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            verifier.verify_server_cert(own, between, &name, &[], now).map(drop)
        };
        let known = || lock(&verifier.verified).values().map(|chain| chain.at.as_secs()).collect::<Vec<_>>();
        verify(own, "127.0.0.1", now).unwrap();
        verify(own, "127.0.0.1", later(59)).unwrap();
        assert_eq!(known(), [now.as_secs()], "the second connection was not verified again");
        verify(own, "127.0.0.1", later(60)).unwrap();
        assert_eq!(known(), [now.as_secs() + 60]);
        // Before the certificate was made; after its end, within a minute of the last time it was good or not.
        assert!(verify(own, "127.0.0.1", UnixTime::since_unix_epoch(Duration::from_secs(1))).is_err());
        assert!(verify(own, "127.0.0.1", later(10_000_000_000)).is_err());
        // Another name, and another certificate of a name that is known.
        let unknown = verify(own, "other.example", now).unwrap_err();
        assert!(matches!(unknown, Error::InvalidCertificate(CertificateError::NotValidForNameContext { .. })));
        let [other] = certificates(CA).try_into().unwrap();
        assert!(verify(&other, "127.0.0.1", later(60)).is_err());
        assert_eq!(known(), [now.as_secs() + 60], "what is not good is not remembered");
    }
}
