//! What a value must be beyond its kind, alone and beside others.

use super::error::Error;
use super::{Config, Duration};

pub(super) fn check(config: &Config) -> Result<(), Error> {
    let refuse = |key: &str, message: &str| Error::new(config.place_of(key).clone(), format!("`{key}` {message}"));
    let Config { kafka, clickhouse, events, batch, dedupe, .. } = config;

    for (key, text) in [
        ("kafka.brokers", &kafka.brokers),
        ("kafka.group", &kafka.group),
        ("kafka.topic", &kafka.topic),
        ("kafka.dead_letter_topic", &kafka.dead_letter_topic),
        ("clickhouse.url", &clickhouse.url),
        ("clickhouse.database", &clickhouse.database),
        ("clickhouse.user", &clickhouse.user),
        ("smtp.url", &config.smtp.url),
        ("smtp.from", &config.smtp.from),
        ("log.level", &config.log.level),
    ] {
        if text.trim().is_empty() {
            return Err(refuse(key, "must not be empty"));
        }
    }
    if config.users.hash_key_file.as_os_str().is_empty() {
        return Err(refuse("users.hash_key_file", "must not be empty"));
    }

    let topics = [
        ("kafka.topic", Some(&kafka.topic)),
        ("kafka.dead_letter_topic", Some(&kafka.dead_letter_topic)),
        ("kafka.balances_topic", kafka.balances_topic.as_ref()),
    ];
    for (at, (key, topic)) in topics.iter().enumerate() {
        let Some(topic) = topic else { continue };
        let legal = topic.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !legal || topic.len() > 249 || matches!(topic.as_str(), "." | "..") {
            return Err(refuse(key, "is no name of a topic: at most 249 letters, digits, `.`, `_` and `-`"));
        }
        if let Some((other, _)) = topics[..at].iter().find(|(_, other)| *other == Some(topic)) {
            return Err(refuse(key, &format!("names the same topic as `{other}`")).hint("every topic has one use"));
        }
    }
    if !(1..=10_000).contains(&kafka.partitions) {
        return Err(refuse("kafka.partitions", "must lie between 1 and 10000"));
    }
    if !(kafka.replication_factor == -1 || (1..=100).contains(&kafka.replication_factor)) {
        return Err(refuse("kafka.replication_factor", "must be -1 (the broker's default) or lie between 1 and 100"));
    }
    between(config, "kafka.session_timeout", kafka.session_timeout, "1s", "30m")?;
    if kafka.security.is_sasl() && (kafka.username.is_empty() || kafka.password.is_empty()) {
        return Err(refuse("kafka.security", "asks for a name and a password").hint("set kafka.username and kafka.password_file"));
    }
    if !kafka.security.is_sasl() && (!kafka.username.is_empty() || !kafka.password.is_empty()) {
        let key = if kafka.username.is_empty() { "kafka.password" } else { "kafka.username" };
        return Err(refuse(key, "would never be sent, as kafka.security says")
            .hint("set kafka.security to \"sasl_tls\" or \"sasl_plaintext\""));
    }
    if kafka.cert_file.is_some() != kafka.key_file.is_some() {
        let (set, missing) =
            if kafka.cert_file.is_some() { ("kafka.cert_file", "kafka.key_file") } else { ("kafka.key_file", "kafka.cert_file") };
        return Err(refuse(set, &format!("needs `{missing}` beside it")));
    }

    url(config, "clickhouse.url", &clickhouse.url, &["http://", "https://"])?;
    url(config, "smtp.url", &config.smtp.url, &["smtp://", "smtps://"])?;
    if let Some(address) = &config.http.public_url {
        url(config, "http.public_url", address, &["http://", "https://"])?;
    }
    if let Some(address) = &config.stripe.api_url {
        url(config, "stripe.api_url", address, &["http://", "https://"])?;
    }
    for (key, name) in [("clickhouse.database", Some(&clickhouse.database)), ("clickhouse.cluster", clickhouse.cluster.as_ref())] {
        // It becomes part of statements: what needs no quoting cannot break out of any.
        let Some(name) = name else { continue };
        let legal = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.starts_with(|c: char| c.is_ascii_digit());
        if !legal || name.len() > 64 {
            return Err(refuse(key, "must be at most 64 letters, digits and `_`, not beginning with a digit"));
        }
    }
    between(config, "clickhouse.connect_timeout", clickhouse.connect_timeout, "100ms", "10m")?;
    between(config, "clickhouse.insert_timeout", clickhouse.insert_timeout, "1s", "1h")?;
    between(config, "clickhouse.query_timeout", clickhouse.query_timeout, "1s", "1h")?;
    if !(1..=1_000).contains(&clickhouse.inserts_per_second_max) {
        return Err(refuse("clickhouse.inserts_per_second_max", "must lie between 1 and 1000"));
    }

    between(config, "events.max_age", events.max_age, "1m", "36500d")?;
    between(config, "events.max_ahead", events.max_ahead, "0", "1d")?;
    if !(1_024..=64 << 20).contains(&events.max_size.get()) {
        return Err(refuse("events.max_size", "must lie between 1 KiB and 64 MiB"));
    }
    between(config, "batch.max_age", batch.max_age, "10ms", "10m")?;
    // One block of the log must become one part: the insert's own limit is 1 048 449 rows.
    if !(1..=1_000_000).contains(&batch.max_events) {
        return Err(refuse("batch.max_events", "must lie between 1 and 1000000"));
    }
    // And 256 MiB is the limit in bytes.
    if batch.max_bytes < events.max_size || batch.max_bytes.get() > 256 << 20 {
        return Err(refuse("batch.max_bytes", "must lie between events.max_size and 256 MiB"));
    }
    if !(8 << 20..=64 << 30).contains(&batch.total_bytes.get()) {
        return Err(refuse("batch.total_bytes", "must lie between 8 MiB and 64 GiB"));
    }
    between(config, "dedupe.window", dedupe.window, "1s", "30d")?;
    if !(1..=1_000_000_000).contains(&dedupe.max_ids) {
        return Err(refuse("dedupe.max_ids", "must lie between 1 and 1000000000"));
    }
    between(config, "sessions.lateness", config.sessions.lateness, "0", "365d")?;
    if !config.usage_log.keep.is_zero() {
        between(config, "usage_log.keep", config.usage_log.keep, "1d", "36500d")?;
        // An assignment counts the rows of recent batches: they must still be there.
        if config.usage_log.keep.millis() < events.max_age.millis() + Duration::from_secs(30 * 86_400).millis() {
            let later = config.place_of("events.max_age").rank() > config.place_of("usage_log.keep").rank();
            let key = if later { "events.max_age" } else { "usage_log.keep" };
            return Err(Error::new(
                config.place_of(key).clone(),
                "`usage_log.keep` must be at least 30 days more than `events.max_age`, or rows would leave before they are checked",
            )
            .hint("raise `usage_log.keep`, or turn the log off with \"0\""));
        }
    }
    between(config, "rejected.keep", config.rejected.keep, "31d", "36500d")?;
    between(config, "price_book.reload", config.price_book.reload, "100ms", "1h")?;
    between(config, "smtp.timeout", config.smtp.timeout, "1s", "10m")?;
    between(config, "alerts.retry_for", config.alerts.retry_for, "0", "30d")?;
    between(config, "alerts.canary", config.alerts.canary, "0", "30d")?;
    if let Some(email) = config.alerts.operator_emails.iter().find(|email| !email.contains('@') || email.contains(char::is_control))
    {
        return Err(refuse("alerts.operator_emails", &format!("holds `{}`, which is no address", email.escape_debug())));
    }
    if config.http.listen.is_some()
        && config.http.listen == config.metrics.listen
        && config.metrics.listen.is_some_and(|at| at.port() != 0)
    {
        return Err(refuse("metrics.listen", "is the same address as `http.listen`").hint("give it another port"));
    }
    if config.stripe.secret_key_file.is_some() != config.stripe.webhook_secret_file.is_some() {
        return Err(refuse("stripe.secret_key_file", "and `stripe.webhook_secret_file` belong together").hint("set both or none"));
    }
    between(config, "leader.interval", config.leader.interval, "1s", "1d")?;
    between(config, "shutdown.drain", config.shutdown.drain, "0", "10m")?;
    crate::telemetry::log::check_level(&config.log.level).map_err(|message| refuse("log.level", &message))
}

fn between(config: &Config, key: &str, value: Duration, least: &str, most: &str) -> Result<(), Error> {
    let inside = Duration::parse(least).is_ok_and(|least| value >= least) && Duration::parse(most).is_ok_and(|most| value <= most);
    if inside {
        Ok(())
    } else {
        Err(Error::new(config.place_of(key).clone(), format!("`{key}` must lie between {least} and {most}")))
    }
}

/// The value itself is not shown: a password may stand in it.
fn url(config: &Config, key: &str, value: &str, schemes: &[&str]) -> Result<(), Error> {
    let refuse = |message: String| Error::new(config.place_of(key).clone(), format!("`{key}` {message}"));
    let Some(rest) = schemes.iter().find_map(|scheme| value.strip_prefix(scheme)) else {
        return Err(refuse(format!("must begin with {}", schemes.join(" or "))));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            refuse("must not hold a name or a password".to_owned()).hint("they have keys of their own, in the same section")
        );
    }
    if authority.is_empty() || value.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(refuse("names no host".to_owned()));
    }
    Ok(())
}
