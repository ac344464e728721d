//! Whether alerts would reach anybody.

use super::{Finding, SILENCE_MAX};
use crate::config::{Config, Duration};
use crate::notify::Smtp;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let mut settings = config.smtp.clone();
    settings.timeout = settings.timeout.min(Duration::from_secs(SILENCE_MAX.as_secs()));
    let url = &config.smtp.url;
    let smtp = match Smtp::new(&settings) {
        Ok(smtp) => smtp,
        Err(error) => return vec![Finding::fail("mail", error.to_string(), "mend it in [smtp]")],
    };
    let mut findings = vec![match smtp.test().await {
        Ok(()) if config.smtp.username.is_empty() => Finding::ok("mail", format!("{url} answers")),
        Ok(()) => Finding::ok("mail", format!("{url} takes the login of `{}`", config.smtp.username)),
        // Metering goes on, and mails wait in the outbox.
        Err(reason) => Finding::warn("mail", reason, "alerts wait in the outbox for `alerts.retry_for`: start it, or mend [smtp]"),
    }];
    if config.alerts.operator_emails.is_empty() {
        let found =
            "alerts.operator_emails is empty: nobody hears of rejected and unpriced usage, and of partitions that stand still";
        findings.push(Finding::warn("operators", found, "name somebody"));
    } else if config.alerts.canary.is_zero() {
        findings.push(Finding::warn(
            "operators",
            "alerts.canary is off: nobody notices when mails stop to arrive",
            "set it, as to \"24h\"",
        ));
    }
    findings
}
