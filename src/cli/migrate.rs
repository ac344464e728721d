//! `farebox migrate`: tables, topics, and the users key.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::args::{Format, Migrate};
use super::exit::Mend;
use super::output;
use super::run::marked;
use crate::config::{self, Config};
use crate::publish::{Publisher, TopicPlan, TopicSeen, ensure_topics};
use crate::runtime::{self, clock, key};
use crate::store::{self, SchemaStatus, Store};

const ATTEMPTS: usize = 10;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn migrate(config: Config, options: Migrate, format: Format) -> anyhow::Result<()> {
    let store = Store::new(&runtime::settings_of_store(&config)).map_err(runtime::Error::from).map_err(marked)?;
    if options.status {
        return status(&store, format).await;
    }
    let keep = runtime::keep(&config);
    let request = store::Migrate {
        cluster: config.clickhouse.cluster.clone().unwrap_or_default(),
        usage_log_keep_days: keep.usage_log_days,
        rejected_keep_days: keep.rejected_days,
        lateness_seconds: u32::try_from(config.sessions.lateness.millis() / 1000).unwrap_or(u32::MAX),
        now: clock::now(),
        dry_run: options.dry_run,
    };
    let migrated = store.migrate(&request).await.map_err(runtime::Error::from).map_err(marked)?;
    if options.dry_run {
        for statement in &migrated.statements {
            output::line(&format!("{statement};"))?;
        }
    }
    let key_file = &config.users.hash_key_file;
    let made_key =
        !options.dry_run && key::ensure(key_file, &store, clock::now()).await.map_err(runtime::Error::from).map_err(marked)?;
    if made_key {
        eprintln!(
            "farebox: made the users key {}; keep a backup of it: without it unique users cannot be counted on",
            key_file.display()
        );
    }
    let topics = topics(&config, options.dry_run).await?;
    let listed = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let (migrations, topics) = (listed(&migrated.applied), listed(&topics));
    if options.dry_run {
        eprintln!("farebox: nothing was done; migrations to apply: {migrations}; topics to make: {topics}");
        return Ok(());
    }
    let fields = [
        ("migrations", Value::from(migrations)),
        ("topics", Value::from(topics)),
        ("users_key", Value::from(if made_key { "made" } else { "kept" })),
    ];
    Ok(output::record(format, &fields)?)
}

async fn status(store: &Store, format: Format) -> anyhow::Result<()> {
    let status = store.schema_status().await.map_err(runtime::Error::from).map_err(marked)?;
    let (state, detail) = match status {
        SchemaStatus::Current => ("current", String::new()),
        SchemaStatus::Behind { missing } => ("behind", format!("missing: {}; run `farebox migrate`", missing.join(", "))),
        SchemaStatus::AheadCompatible { newest } => {
            ("ahead", format!("migration {newest} is newer than this farebox, and made to work with it"))
        }
        SchemaStatus::AheadIncompatible { newest } => ("ahead", format!("migration {newest} needs a newer farebox")),
    };
    Ok(output::record(format, &[("schema", Value::from(state)), ("detail", Value::from(detail))])?)
}

async fn topics(config: &Config, dry_run: bool) -> anyhow::Result<Vec<String>> {
    let kafka = &config.kafka;
    if !kafka.create_topics {
        return Ok(Vec::new());
    }
    reach(&config.kafka).await?;
    let plan = |name: &str, settings: &[(&'static str, &'static str)]| TopicPlan {
        name: name.to_owned(),
        partitions: kafka.partitions,
        replication_factor: kafka.replication_factor,
        settings: settings.to_vec(),
    };
    // With the broker's own timestamps an event's age cannot be forged, and the window for duplicates can leave by time.
    let mut plans = vec![
        plan(&kafka.topic, &[("cleanup.policy", "delete"), ("message.timestamp.type", "LogAppendTime")]),
        plan(&kafka.dead_letter_topic, &[("cleanup.policy", "delete")]),
    ];
    plans.extend(kafka.balances_topic.iter().map(|topic| plan(topic, &[("cleanup.policy", "compact")])));
    ensure_topics(&kafka.client_config(), &plans, dry_run)
        .await
        .map_err(|error| if error.is_refusal() { Mend(Box::new(error)).into() } else { anyhow::Error::from(error) })
        .with_context(|| format!("cannot make topics at {}", kafka.brokers))
}

/// Whether the brokers answer and know us. Asked first, since the client that makes topics does not say why nobody answers.
async fn reach(kafka: &config::Kafka) -> anyhow::Result<()> {
    let publisher = Publisher::new(&kafka.client_config(), &kafka.topic, &kafka.dead_letter_topic)
        .map_err(|error| Mend(format!("[kafka] cannot be used: {error}").into()))?;
    let publisher = Arc::new(publisher);
    let mut reason = None;
    for _ in 0..ATTEMPTS {
        let (asked, topic) = (Arc::clone(&publisher), kafka.topic.clone());
        match tokio::task::spawn_blocking(move || asked.see_topic(&topic, ATTEMPT_TIMEOUT)).await? {
            TopicSeen::There | TopicSeen::Missing => return Ok(()),
            TopicSeen::Refused(reason) => return Err(Mend(runtime::refused(&reason).into()).into()),
            TopicSeen::Away(why) => reason = why.or(reason),
        }
    }
    let reason = reason.unwrap_or_else(|| "no answer".to_owned());
    anyhow::bail!("Kafka at {} cannot be reached: {reason}; run `farebox migrate` again when it answers", kafka.brokers)
}
