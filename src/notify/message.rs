//! A mail: rendered, and as the message that goes over the wire.

use lettre::Message;
use lettre::message::header::{ContentType, Header, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, MultiPart, SinglePart};
use sha2::{Digest, Sha256};

use super::notice::Notice;
use super::{chart, html, text};

/// The picture's content id: one to a mail.
const CHART: &str = "chart";

/// What a mail consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// One line.
    pub subject: String,
    /// For those who read text.
    pub text: String,
    /// For those who read HTML.
    pub html: String,
    /// The chart as PNG, if there is one.
    pub chart: Option<Vec<u8>>,
}

/// Who writes to whom, and in which thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// As configured: `farebox <billing@example.com>`.
    pub from: &'a str,
    /// Who reads answers.
    pub reply_to: Option<&'a str>,
    /// One address.
    pub to: &'a str,
    /// See [`message_id`].
    pub message_id: &'a str,
    /// See [`thread_id`].
    pub thread_id: &'a str,
}

/// Everything that a notice says, as a mail. `console`: where the console is, when it can be reached.
pub fn render(notice: &Notice, console: Option<&str>) -> Mail {
    let chart = chart::png(notice);
    Mail {
        subject: text::said(notice, console, str::to_owned).subject,
        text: text::text(notice, console),
        html: html::html(notice, console, chart.as_ref().map(|_| CHART)),
        chart,
    }
}

/// The Message-ID of the mail about an alert to a recipient: the same however often it is sent. `from` gives the domain.
pub fn message_id(alert: &str, recipient: &str, from: &str) -> String {
    identifier(&["mail", alert, recipient], from)
}

/// What the mails of one budget and period to one recipient refer to, so that they stand together.
pub fn thread_id(account: &str, budget: &str, period_start: &str, recipient: &str, from: &str) -> String {
    identifier(&["thread", account, budget, period_start, recipient], from)
}

fn identifier(parts: &[&str], from: &str) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hex: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let domain = from.parse::<Mailbox>().map_or_else(|_| "farebox.invalid".to_owned(), |mailbox| mailbox.email.domain().to_owned());
    format!("<{hex}@{domain}>")
}

/// `Auto-Submitted`, so that nobody's absence notice answers.
#[derive(Debug, Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// The message.
///
/// # Errors
/// An address that is none, in words.
pub fn message(mail: &Mail, envelope: &Envelope<'_>) -> Result<Message, String> {
    let address =
        |text: &str| text.parse::<Mailbox>().map_err(|error| format!("`{}` is no mail address: {error}", super::words::name(text)));
    let mut builder = Message::builder()
        .from(address(envelope.from)?)
        .to(address(envelope.to)?)
        .subject(mail.subject.clone())
        .message_id(Some(envelope.message_id.to_owned()))
        .in_reply_to(envelope.thread_id.to_owned())
        .references(envelope.thread_id.to_owned())
        .header(AutoSubmitted);
    if let Some(reply_to) = envelope.reply_to {
        builder = builder.reply_to(address(reply_to)?);
    }
    let html = SinglePart::html(mail.html.clone());
    let rich = match &mail.chart {
        Some(chart) => {
            let png = ContentType::parse("image/png").map_err(|error| error.to_string())?;
            let picture = Attachment::new_inline(CHART.to_owned()).body(Body::new(chart.clone()), png);
            MultiPart::alternative()
                .singlepart(SinglePart::plain(mail.text.clone()))
                .multipart(MultiPart::related().singlepart(html).singlepart(picture))
        }
        None => MultiPart::alternative().singlepart(SinglePart::plain(mail.text.clone())).singlepart(html),
    };
    builder.multipart(rich).map_err(|error| error.to_string())
}
