//! What ClickHouse says: schema, users key, stops, and the settings on which the promises rest.

use serde::Deserialize;

use super::{Finding, SILENCE_MAX};
use crate::config::Config;
use crate::runtime::{self, key};
use crate::store::{Error, SchemaStatus, Settings, Store};

/// Tables into which blocks go under tokens.
const TABLES: &str =
    "'usage_log', 'usage_hourly', 'session_users', 'rejected_events', 'batches', 'sources', 'settings', 'stops', 'price_book'";
/// What each of them must have.
const TABLE_SETTINGS: [&str; 3] = ["non_replicated_deduplication_window", "fsync_after_insert", "fsync_part_directory"];
/// Rows of a block that stays one part.
const BLOCK_ROWS_MAX: u64 = 1_048_449;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let settings = runtime::settings_of_store(config);
    let settings = Settings {
        connect_timeout: settings.connect_timeout.min(SILENCE_MAX),
        query_timeout: settings.query_timeout.min(SILENCE_MAX),
        ..settings
    };
    let mut findings = Vec::new();
    if let Err(error) = ask(config, &settings, &mut findings).await {
        findings.push(Finding::fail("ClickHouse", error.to_string(), remedy(&error)));
    }
    findings
}

fn remedy(error: &Error) -> &'static str {
    match error {
        Error::Unreachable { .. } | Error::Timeout { .. } => "start it, or set clickhouse.url to where it is",
        Error::Denied { .. } => "grant it",
        Error::Refused { .. } | Error::Setting { .. } | Error::Schema { .. } => "then ask again",
        _ => "look into ClickHouse's log",
    }
}

async fn ask(config: &Config, settings: &Settings, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let store = Store::new(settings)?;
    let version = store.ping().await?.version;
    let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let found = format!("version {version} at {}", settings.url);
    findings.push(if major >= 26 {
        Finding::ok("ClickHouse", found)
    } else {
        Finding::warn("ClickHouse", found, "farebox is tested with 26.7: update it")
    });
    let schema = |found: String| Finding::ok("schema", found);
    match store.schema_status().await? {
        SchemaStatus::Current => findings.push(schema(format!("current in database {}", settings.database))),
        SchemaStatus::AheadCompatible { newest } => {
            findings.push(schema(format!("at migration {newest}, newer than this farebox and made to work with it")));
        }
        SchemaStatus::AheadIncompatible { newest } => {
            let found = format!("at migration {newest}, which this farebox must not write to");
            findings.push(Finding::fail("schema", found, "use the newer farebox"));
        }
        SchemaStatus::Behind { missing } => {
            findings.push(Finding::fail("schema", format!("lacks {}", missing.join(", ")), "run `farebox migrate`"));
            return Ok(());
        }
    }
    let path = &config.users.hash_key_file;
    findings.push(match key::examine(path, &store).await {
        Ok(id) => Finding::ok("users key", format!("{} has id {id}, as the database knows", path.display())),
        Err(key::KeyError::Store(error)) => return Err(error),
        Err(error) => Finding::fail("users key", error.to_string(), "nothing is metered until then"),
    });
    let (here, known) = (store.database_uuid().await?, store.setting("database_uuid").await?);
    findings.push(match known {
        Some(known) if known != here => Finding::warn(
            "database",
            format!("its uuid is {here}, it was migrated as {known}: a copy, or a restored backup"),
            "make sure that nothing writes to the other one with this group",
        ),
        _ => Finding::ok("database", format!("uuid {here}")),
    });
    of_tables(&store, findings).await?;
    of_inserts(config, &store, findings).await?;
    let stops = store.stops(&config.kafka.topic).await?;
    if stops.is_empty() {
        findings.push(Finding::ok("stops", "no partition is stopped"));
    }
    findings.extend(stops.into_iter().map(|stop| {
        Finding::fail(
            format!("partition {} of {}", stop.partition, stop.topic),
            format!("stopped at {} as {}: {}", stop.at, stop.kind, stop.reason),
            "`farebox recover` shows what to do (docs/recovery.md)",
        )
    }));
    Ok(())
}

async fn of_tables(store: &Store, findings: &mut Vec<Finding>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Table {
        name: String,
        engine_full: String,
    }
    let sql = format!(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND name IN ({TABLES}) ORDER BY name"
    );
    let tables: Vec<Table> = store.rows(&sql, &[]).await?;
    let is_set = |table: &Table, setting: &str| {
        let value = table.engine_full.split_once(&format!("{setting} = ")).map_or("", |(_, rest)| rest);
        value.chars().next().is_some_and(|digit| ('1'..='9').contains(&digit))
    };
    for setting in TABLE_SETTINGS {
        let without: Vec<&str> = tables.iter().filter(|table| !is_set(table, setting)).map(|table| table.name.as_str()).collect();
        let value = if setting == TABLE_SETTINGS[0] { 100_000 } else { 1 };
        findings.push(if without.is_empty() {
            Finding::ok(format!("tables' {setting}"), "set")
        } else {
            Finding::fail(
                format!("tables' {setting}"),
                format!("not set on {}", without.join(", ")),
                format!("ALTER TABLE {} MODIFY SETTING {setting} = {value}", without[0]),
            )
        });
    }
    Ok(())
}

/// Every insert brings its settings along: what a profile does not let it change must be as it wants it.
async fn of_inserts(config: &Config, store: &Store, findings: &mut Vec<Finding>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Setting {
        value: String,
        most: String,
        is_fixed: u8,
    }
    let sql = "SELECT value, toString(ifNull(max, '')) AS most, readonly AS is_fixed FROM system.settings WHERE name = 'max_insert_block_size'";
    let check = "max_insert_block_size";
    let setting: Option<Setting> = store.rows(sql, &[]).await?.pop();
    let limit = setting.and_then(|setting| {
        let limit = if setting.is_fixed != 0 { setting.value } else { setting.most };
        limit.parse::<u64>().ok().filter(|limit| *limit < BLOCK_ROWS_MAX)
    });
    findings.push(match limit {
        Some(limit) => Finding::fail(
            check,
            format!("the user's profile holds it at {limit}, so that a batch may become several parts"),
            format!("let the profile allow {BLOCK_ROWS_MAX}"),
        ),
        None if config.batch.max_events > BLOCK_ROWS_MAX => {
            let found = format!("batch.max_events ({}) is more than the {BLOCK_ROWS_MAX} rows of a block", config.batch.max_events);
            Finding::fail(check, found, "lower batch.max_events")
        }
        None => Finding::ok(check, format!("inserts may set it to {BLOCK_ROWS_MAX}")),
    });
    Ok(())
}
