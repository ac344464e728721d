//! Delivery to one recipient over SMTP, and what its outcome means.
//!
//! Holds: whatever happens before the mail is begun (no connection, no greeting, TLS, a login refused) delivered nothing and is mended by waiting or by an
//! operator; an answer of the server says what it says; anything else, once the mail is begun, is unknown. Every stage ends within the timeout:
//! lettre's own holds for one read or write, and a server that says a little now and then would keep us for ever.

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Message, transport};
use tokio::time::timeout;

use super::outbox::Outcome;
use crate::config::Smtp as Settings;

/// The way to the mail server.
#[derive(Clone)]
pub struct Smtp {
    host: String,
    port: u16,
    /// `smtps`: TLS from the first byte.
    is_wrapped: bool,
    tls: TlsParameters,
    login: Option<Credentials>,
    timeout: Duration,
}

/// A setting that no delivery can work with.
#[derive(Debug, thiserror::Error)]
#[error("`{setting}` {reason}")]
pub struct SmtpError {
    /// Its path.
    pub setting: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl Smtp {
    /// From the configuration's section; connects to nothing.
    ///
    /// # Errors
    /// An address, a certificate or a sender that is none.
    pub fn new(settings: &Settings) -> Result<Self, SmtpError> {
        let refuse = |setting, reason: String| SmtpError { setting, reason };
        settings.from.parse::<Mailbox>().map_err(|error| refuse("smtp.from", format!("is no mail address: {error}")))?;
        let malformed = || refuse("smtp.url", "must look like smtp://host:port or smtps://host:port".to_owned());
        let (scheme, rest) = settings.url.split_once("://").ok_or_else(malformed)?;
        let (is_wrapped, usual_port) = match scheme {
            "smtps" => (true, 465),
            "smtp" => (false, 587),
            _ => return Err(malformed()),
        };
        let rest = rest.trim_end_matches('/');
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| malformed())?),
            None => (rest, usual_port),
        };
        if host.is_empty() {
            return Err(malformed());
        }
        let mut tls = TlsParameters::builder(host.to_owned());
        if let Some(file) = &settings.ca_file {
            let wrong = |error: String| refuse("smtp.ca_file", format!("cannot be used: {error}"));
            let pem = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
            tls = tls.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))?);
        }
        let tls = tls.build().map_err(|error| refuse("smtp.url", format!("allows no TLS: {error}")))?;
        let login = (!settings.username.is_empty())
            .then(|| Credentials::new(settings.username.clone(), settings.password.reveal().to_owned()));
        Ok(Self { host: host.to_owned(), port, is_wrapped, tls, login, timeout: settings.timeout.get() })
    }

    /// Delivers one message to its recipient.
    pub async fn deliver(&self, message: &Message) -> Outcome {
        let mut connection = match self.connected().await {
            Ok(connection) => connection,
            Err(reason) => return Outcome::Unreachable(reason),
        };
        let bytes = message.formatted();
        let outcome = match timeout(self.timeout, connection.send(message.envelope(), &bytes)).await {
            Ok(Ok(_)) => Outcome::Accepted,
            Ok(Err(error)) if error.is_permanent() => Outcome::Never(self.told(&error)),
            Ok(Err(error)) if error.is_transient() || error.is_client() => Outcome::Later(self.told(&error)),
            Ok(Err(error)) => Outcome::Unknown(self.told(&error)),
            Err(_) => Outcome::Unknown(self.silent()),
        };
        // The mail's fate is sealed; a server that does not say goodbye changes nothing.
        let _ = timeout(self.timeout, connection.quit()).await;
        outcome
    }

    /// Whether the server can be reached and takes our login.
    ///
    /// # Errors
    /// Why not.
    pub async fn test(&self) -> Result<(), String> {
        let mut connection = self.connected().await?;
        let _ = timeout(self.timeout, connection.quit()).await;
        Ok(())
    }

    async fn connected(&self) -> Result<AsyncSmtpConnection, String> {
        let connecting = async {
            let hello = ClientId::default();
            let wrapped = self.is_wrapped.then(|| self.tls.clone());
            let at = (self.host.as_str(), self.port);
            let mut connection = AsyncSmtpConnection::connect_tokio1(at, Some(self.timeout), &hello, wrapped, None).await?;
            if !self.is_wrapped && connection.can_starttls() {
                connection.starttls(self.tls.clone(), &hello).await?;
            }
            if let Some(login) = &self.login {
                connection.auth(DEFAULT_MECHANISMS, login).await?;
            }
            Ok(connection)
        };
        match timeout(self.timeout, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.told(&error)),
            Err(_) => Err(self.silent()),
        }
    }

    fn silent(&self) -> String {
        format!("`{}:{}` did not answer within {:?}", self.host, self.port, self.timeout)
    }

    /// An error with its causes in one line.
    fn told(&self, error: &transport::smtp::Error) -> String {
        let mut text = format!("`{}:{}`: {error}", self.host, self.port);
        let mut cause = std::error::Error::source(error);
        while let Some(next) = cause {
            let said = next.to_string();
            if !text.contains(&said) {
                text += ": ";
                text += &said;
            }
            cause = next.source();
        }
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect()
    }
}
