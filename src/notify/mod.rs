//! What people are told, and the mail that tells it.
//!
//! A [`Notice`] holds everything that a mail says; [`render`] makes its subject, its text, its HTML and its chart of it. The outbox's states are
//! decided in `outbox`, delivery is `smtp`. Holds: a name in a mail is data, whatever it is made of; the figures are those of the notice, rounded once.
//! Absent on purpose: the clock, SQL, who is due. `runtime::alerts` brings them.

mod chart;
mod html;
mod message;
mod notice;
pub mod outbox;
mod smtp;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub use message::{Envelope, Mail, message, message_id, render, thread_id};
pub use notice::{Notice, Pace};
pub use smtp::{Smtp, SmtpError};
pub use words::{percent_used, shown_credits};
