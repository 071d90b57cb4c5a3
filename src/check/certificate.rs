//! When the certificate of an API ends: a handshake of its own, because what requests go through does not tell.

use super::codes::CERTIFICATE_ENDS;
use super::{Group, Looked};
use crate::http::tls;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// How long before its end somebody should know.
const SOON: time::Duration = time::Duration::days(21);
/// For each step of the handshake.
const PATIENCE: Duration = Duration::from_secs(4);

/// The end of the certificate that an address shows; `None`: it shows none, or not to us (a proxy is between).
pub async fn end(url: &str, ca_pem: Option<String>) -> Option<OffsetDateTime> {
    let url = reqwest::Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
    let (host, port) = (url.host_str()?.to_owned(), url.port_or_known_default()?);
    tokio::task::spawn_blocking(move || not_after(&shown(&host, port, ca_pem.as_deref())?)).await.ok()?
}

/// The certificate itself.
fn shown(host: &str, port: u16, ca_pem: Option<&str>) -> Option<Vec<u8>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(tls(ca_pem).ok()?), name).ok()?;
    let mut addresses = (bare, port).to_socket_addrs().ok()?;
    let mut socket = addresses.find_map(|address| TcpStream::connect_timeout(&address, PATIENCE).ok())?;
    socket.set_read_timeout(Some(PATIENCE)).ok()?;
    socket.set_write_timeout(Some(PATIENCE)).ok()?;
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).ok()?;
    }
    Some(connection.peer_certificates()?.first()?.to_vec())
}

/// Whether it ends soon.
pub fn judge(api: &str, end: Option<OffsetDateTime>, now: OffsetDateTime) -> Looked {
    let mut looked = Looked::default();
    let Some(end) = end else { return looked };
    let left = end - now;
    if left < SOON {
        let sentence = format!("its certificate ends in {} days, on {}", left.whole_days(), end.date());
        looked.found(CERTIFICATE_ENDS.found(api, sentence, "renew it, or see that whoever renews it will"));
    } else {
        looked.is_well(Group::Prefect, format!("{api}: its certificate is good until {}", end.date()));
    }
    looked
}

// DER, as far as the end of a certificate's validity.

/// Tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f)).filter(|(bytes, _)| bytes.len() <= 4)?;
        (bytes.iter().fold(0_usize, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// `tbsCertificate.validity.notAfter`
fn not_after(certificate: &[u8]) -> Option<OffsetDateTime> {
    let (_, certificate, _) = element(certificate)?;
    let (_, tbs, _) = element(certificate)?;
    let (tag, _, after_first) = element(tbs)?;
    // The version stands before the serial number, where it is not the first.
    let mut rest = if tag == 0xa0 { element(after_first)?.2 } else { after_first };
    // The signature's algorithm and the issuer.
    for _ in 0..2 {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest)?;
    let (_, _, rest) = element(validity)?;
    let (tag, text, _) = element(rest)?;
    time_of(tag, std::str::from_utf8(text).ok()?)
}

/// `UTCTime` has two digits for the year.
fn time_of(tag: u8, text: &str) -> Option<OffsetDateTime> {
    let number = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<u16>().ok();
    let (year, rest) = match tag {
        0x17 => {
            let year = number(text, 0, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        0x18 => (number(text, 0, 4)?, text.get(4..)?),
        _ => return None,
    };
    let part = |from: usize| u8::try_from(number(rest, from, from + 2)?).ok();
    let date = Date::from_calendar_date(i32::from(year), Month::try_from(part(0)?).ok()?, part(2)?).ok()?;
    let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use time::macros::datetime;

    #[test]
    fn the_end_of_a_certificate_is_read() {
        for (pem, end) in [
            (include_str!("../http/testdata/server.pem"), datetime!(2126-10-31 12:41:28 UTC)),
            (include_str!("../../tests/it/command/check/expired.pem"), datetime!(2025-01-01 0:00 UTC)),
        ] {
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
            assert_eq!(not_after(&certificate), Some(end));
            // Whatever is cut off is none, and ends nothing.
            for length in 0..certificate.len() {
                let _ = not_after(certificate.get(..length).unwrap());
            }
        }
        for odd in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0xff], b"no certificate"] {
            assert_eq!(not_after(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn somebody_is_told_three_weeks_before() {
        let end = datetime!(2026-12-31 0:00 UTC);
        let code = |now| judge("https://prefect/api", Some(end), now).findings.first().map(|finding| finding.code);
        assert_eq!(code(datetime!(2026-12-09 0:00 UTC)), None);
        assert_eq!(code(datetime!(2026-12-11 0:00 UTC)), Some("PSA206"));
        assert_eq!(judge("http://prefect/api", None, end), Looked::default());
    }
}
