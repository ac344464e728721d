//! Until when the certificates of servers are valid: the outage of which everybody knew the date.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Finding, SILENCE_MAX};
use crate::config::{Config, Security};
use crate::model::{Timestamp, Zone};
use crate::runtime::clock;

/// So many days before the end somebody should begin to do something.
const SOON_DAYS: i64 = 21;
const DAY_SECONDS: i64 = 86_400;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for place in places(config) {
        let asked = place.clone();
        // A server that is away is told of by others; here it says nothing.
        let Ok(Ok(end)) = tokio::task::spawn_blocking(move || end_of(&asked)).await else { continue };
        findings.push(finding(&place, end, clock::now()));
    }
    findings
}

/// Servers that speak TLS from the first byte, as `host:port`.
fn places(config: &Config) -> Vec<String> {
    let mut places = Vec::new();
    if matches!(config.kafka.security, Security::Tls | Security::SaslTls) {
        places.extend(config.kafka.brokers.split(',').map(|broker| broker.trim().to_owned()));
    }
    for (url, scheme, port) in [(&config.clickhouse.url, "https://", "8443"), (&config.smtp.url, "smtps://", "465")] {
        if let Some(rest) = url.strip_prefix(scheme) {
            let host = rest.split('/').next().unwrap_or_default();
            places.push(if host.contains(':') { host.to_owned() } else { format!("{host}:{port}") });
        }
    }
    places
}

fn finding(place: &str, end: Timestamp, now: Timestamp) -> Finding {
    let (check, day) = (format!("TLS of {place}"), Zone::UTC.local(end).day);
    let days = (end.seconds() - now.seconds()) / DAY_SECONDS;
    if end <= now {
        Finding::fail(check, format!("the certificate has ended on {day}"), "give the server a new one")
    } else if days < SOON_DAYS {
        Finding::warn(check, format!("the certificate ends on {day}, in {days} days"), "give the server a new one")
    } else {
        Finding::ok(check, format!("the certificate is valid until {day}"))
    }
}

/// When the certificate ends that a server shows.
fn end_of(place: &str) -> io::Result<Timestamp> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.dangerous();
    // Whoever it is: only a date is read, and nothing is said.
    let config = config.with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth();
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(io::Error::other)?;
    let address = place.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, SILENCE_MAX)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    while connection.is_handshaking() && connection.peer_certificates().is_none() {
        connection.complete_io(&mut stream)?;
    }
    let shown = connection.peer_certificates().and_then(|shown| shown.first()).ok_or_else(|| io::Error::other("no certificate"))?;
    let (_, certificate) = X509Certificate::from_der(shown).map_err(io::Error::other)?;
    Ok(Timestamp::from_millis(certificate.validity().not_after.timestamp().saturating_mul(1_000)))
}

/// Takes every certificate: an ended one is what is looked for.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn a_certificate_that_ends_within_three_weeks_is_told() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        let after = |days: i64| finding("h:1", now.plus_millis(days * DAY_SECONDS * 1_000), now).state;
        assert_eq!([after(-1), after(0), after(20), after(21)], [State::Fail, State::Fail, State::Warn, State::Ok]);
    }
}
