//! When the certificate of an API ends: a handshake of its own, because what requests go through does not tell.

use super::codes::CERTIFICATE_ENDS;
use super::{Group, Looked};
use crate::http::tls;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};
use tokio::net::TcpStream;

/// How long before its end somebody should know.
const SOON: time::Duration = time::Duration::days(21);
/// For all of it: the name, the connection, the handshake.
const PATIENCE: Duration = Duration::from_secs(8);

/// The end of the certificate that an address shows; `None`: it shows none in time, or not to us (a proxy is between).
pub async fn end(url: &str, ca_pem: Option<String>) -> Option<OffsetDateTime> {
    let url = reqwest::Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
    let shown = shown(url.host_str()?, url.port_or_known_default()?, ca_pem.as_deref());
    not_after(&tokio::time::timeout(PATIENCE, shown).await.ok()??)
}

/// The certificate itself.
async fn shown(host: &str, port: u16, ca_pem: Option<&str>) -> Option<Vec<u8>> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let name = ServerName::try_from(bare.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(tls(ca_pem).ok()?), name).ok()?;
    let socket = TcpStream::connect((bare, port)).await.ok()?;
    loop {
        while connection.wants_write() {
            let mut records = Vec::new();
            connection.write_tls(&mut records).ok()?;
            send(&socket, &records).await.ok()?;
        }
        if !connection.is_handshaking() {
            return Some(connection.peer_certificates()?.first()?.to_vec());
        }
        let bytes = receive(&socket).await.ok()?;
        let mut came = bytes.as_slice();
        while !came.is_empty() {
            connection.read_tls(&mut came).ok()?;
            connection.process_new_packets().ok()?;
        }
    }
}

async fn send(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Some bytes.
async fn receive(socket: &TcpStream) -> io::Result<Vec<u8>> {
    loop {
        socket.readable().await?;
        let mut bytes = vec![0; 4096];
        match socket.try_read(&mut bytes) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
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
            for length in 0..certificate.len() {
                assert_eq!(not_after(certificate.get(..length).unwrap()), None, "what is cut off is none");
            }
        }
        for odd in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0xff], b"no certificate"] {
            assert_eq!(not_after(odd), None, "{odd:?}");
        }
    }

    /// A server that says a little every now and then goes on for as long as it likes.
    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_does_not_end_is_left() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}/api", listener.local_addr().unwrap());
        let drips = tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            // The beginning of a long handshake record.
            for byte in [0x16, 0x03, 0x03, 0x20, 0x00].into_iter().chain(std::iter::repeat(0)) {
                if send(&socket, &[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let begun = tokio::time::Instant::now();
        assert_eq!(end(&url, None).await, None);
        let elapsed = begun.elapsed();
        assert!((PATIENCE..=PATIENCE + Duration::from_secs(1)).contains(&elapsed), "{elapsed:?}");
        drips.abort();
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
