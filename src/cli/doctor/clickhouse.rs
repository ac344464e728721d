//! What ClickHouse says: schema, users key, stops, and the settings on which the promises rest.

use serde::Deserialize;

use super::{Finding, SILENCE_MAX};
use crate::config::Config;
use crate::model::Timestamp;
use crate::runtime::{self, clock, key};
use crate::store::{self, Error, SchemaStatus, Settings, Store};

/// Tables into which blocks go under tokens.
const TABLES: &str = "'usage_log', 'usage_hourly', 'session_users', 'rejected_events', 'batches', 'sources', 'settings', 'stops', 'price_book', 'credit_ledger'";
/// What each of them must have at least: so many tokens remembered, so that a retry after a long outage is still one.
const TABLE_SETTINGS: [(&str, u64); 3] =
    [("non_replicated_deduplication_window", 1_000), ("fsync_after_insert", 1), ("fsync_part_directory", 1)];
/// What tables are made with.
const TOKENS: u64 = 100_000;
/// Clocks that differ by more are told.
const SKEW_WARN_MS: i64 = 1_000;
const GIGABYTE: u64 = 1_000_000_000;
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
    of_clock(&store, findings).await?;
    of_disks(&store, findings).await?;
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
    of_tables(config, &store, findings).await?;
    of_inserts(config, &store, findings).await?;
    of_gaps(config, &store, findings).await?;
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

/// The server's clock says when a batch is written and which month is old; ours says when a budget's day ends.
async fn of_clock(store: &Store, findings: &mut Vec<Finding>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Row {
        now: i64,
    }
    let before = clock::now().millis();
    let Row { now } = store.row("SELECT toUnixTimestamp64Milli(now64(3)) AS now", &[]).await?;
    let after = clock::now().millis();
    // What the answer took is no skew.
    let skew = if now < before { now - before } else { (now - after).max(0) };
    let found = format!("ClickHouse's is {} ms {} ours", skew.abs(), if skew < 0 { "behind" } else { "ahead of" });
    findings.push(match skew.abs() {
        0..=SKEW_WARN_MS => Finding::ok("clock", "ClickHouse's and ours agree"),
        _ => {
            Finding::warn("clock", found, "let both machines set their clocks by NTP: days, sessions and prices begin by the clock")
        }
    });
    Ok(())
}

async fn of_disks(store: &Store, findings: &mut Vec<Finding>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Disk {
        name: String,
        free: u64,
        total: u64,
    }
    // Disks that are remote say 2^64 - 1, or nothing.
    let sql = "SELECT name, free_space AS free, total_space AS total FROM system.disks WHERE total_space > 0 AND total_space < 1e18 ORDER BY name";
    for Disk { name, free, total } in store.rows::<Disk>(sql, &[]).await? {
        let percent = u128::from(free) * 100 / u128::from(total.max(1));
        let found = format!("{} GB of {} free ({percent} %)", free / GIGABYTE, total / GIGABYTE);
        let (check, remedy) = (
            format!("disk {name}"),
            "make room, or keep less: usage_log.keep, rejected.keep; when it is full, events wait in Kafka",
        );
        findings.push(match percent {
            0..3 => Finding::fail(check, found, remedy),
            3..10 => Finding::warn(check, found, remedy),
            _ => Finding::ok(check, found),
        });
    }
    Ok(())
}

async fn of_tables(config: &Config, store: &Store, findings: &mut Vec<Finding>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Table {
        name: String,
        engine_full: String,
    }
    let sql = format!(
        "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase() AND name IN ({TABLES}) ORDER BY name"
    );
    let tables: Vec<Table> = store.rows(&sql, &[]).await?;
    let value = |table: &Table, setting: &str| -> u64 {
        let text = table.engine_full.split_once(&format!("{setting} = ")).map_or("", |(_, rest)| rest);
        text.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    };
    for (setting, least) in TABLE_SETTINGS {
        let without: Vec<&str> =
            tables.iter().filter(|table| value(table, setting) < least).map(|table| table.name.as_str()).collect();
        let wanted = if least > 1 { TOKENS } else { least };
        findings.push(if without.is_empty() {
            Finding::ok(format!("tables' {setting}"), "set")
        } else {
            Finding::fail(
                format!("tables' {setting}"),
                format!("not set, or too low, on {}", without.join(", ")),
                format!("ALTER TABLE {} MODIFY SETTING {setting} = {wanted}", without[0]),
            )
        });
    }
    let keep = runtime::keep(config);
    for (name, days) in [("usage_log", keep.usage_log_days), ("rejected_events", keep.rejected_days)] {
        let engine = tables.iter().find(|table| table.name == name).map_or("", |table| &table.engine_full);
        let there = engine.split_once("toIntervalDay(").and_then(|(_, rest)| rest.split(')').next()).unwrap_or("none");
        if days > 0 && there != days.to_string() {
            findings.push(Finding::warn(
                format!("age of {name}"),
                format!("its rows leave after {there} days, the configuration says {days}"),
                "run `farebox migrate`",
            ));
        }
    }
    Ok(())
}

/// A setting as the user's profile has it.
#[derive(Debug, Clone, Deserialize)]
struct Setting {
    name: String,
    value: String,
    /// The most that a query may set; empty: any.
    most: String,
    is_fixed: u8,
}

async fn of_inserts(config: &Config, store: &Store, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let names: Vec<String> =
        store::insert_settings().iter().map(|(name, _)| *name).chain(PROFILE).map(|name| format!("'{name}'")).collect();
    let sql = format!(
        "SELECT name, value, toString(ifNull(max, '')) AS most, readonly AS is_fixed FROM system.settings WHERE name IN ({})",
        names.join(", ")
    );
    let settings: Vec<Setting> = store.rows(&sql, &[]).await?;
    findings.extend(of_profile(config, &settings));
    Ok(())
}

/// Settings beside those of an insert that decide whether a token counts.
const PROFILE: [&str; 2] = ["deduplicate_insert", "readonly"];

/// Every insert brings its settings along: what a profile does not let it change must be as it wants it. What it does not bring must be so
/// by itself.
fn of_profile(config: &Config, settings: &[Setting]) -> Vec<Finding> {
    let of = |name: &str| settings.iter().find(|setting| setting.name == name);
    let mut findings = Vec::new();
    findings.push(match of("deduplicate_insert") {
        Some(setting) if setting.value == "disable" => Finding::fail(
            "deduplicate_insert",
            "the user's profile has `disable`, which makes every token worthless: a block that is sent again would be doubled",
            "set it to `enable` in the profile of the user",
        ),
        Some(setting) => Finding::ok("deduplicate_insert", &setting.value),
        None => Finding::ok("deduplicate_insert", "this server does not have it"),
    });
    if let Some(setting) = of("readonly").filter(|setting| setting.value != "0") {
        let found = format!("the user's profile has {}: nothing can be written, or no setting be sent along", setting.value);
        findings.push(Finding::fail("readonly", found, "let the user write: readonly = 0"));
    }
    // A size may be sent up to its limit; this one has a limit of its own below.
    const BLOCK: &str = "max_insert_block_size";
    for (name, wanted) in store::insert_settings().iter().filter(|(name, _)| *name != BLOCK) {
        if let Some(setting) = of(name).filter(|setting| setting.is_fixed != 0 && setting.value != *wanted) {
            let found = format!("the user's profile holds it at {}, an insert needs {wanted}", setting.value);
            findings.push(Finding::fail(*name, found, "take the constraint out of the profile"));
        }
    }
    let limit = of(BLOCK).and_then(|setting| {
        let limit = if setting.is_fixed != 0 { &setting.value } else { &setting.most };
        limit.parse::<u64>().ok().filter(|limit| *limit < BLOCK_ROWS_MAX)
    });
    findings.push(match limit {
        Some(limit) => Finding::fail(
            BLOCK,
            format!("the user's profile holds it at {limit}, so that a batch may become several parts"),
            format!("let the profile allow {BLOCK_ROWS_MAX}"),
        ),
        None if config.batch.max_events > BLOCK_ROWS_MAX => {
            let found = format!("batch.max_events ({}) is more than the {BLOCK_ROWS_MAX} rows of a block", config.batch.max_events);
            Finding::fail(BLOCK, found, "lower batch.max_events")
        }
        None => Finding::ok(BLOCK, format!("inserts may set it to {BLOCK_ROWS_MAX}")),
    });
    findings
}

/// What was admitted as lost, and when the last time.
async fn of_gaps(config: &Config, store: &Store, findings: &mut Vec<Finding>) -> Result<(), Error> {
    #[derive(Deserialize)]
    struct Gaps {
        gaps: u64,
        offsets: i64,
        #[serde(with = "crate::store::time")]
        last: Timestamp,
    }
    let sql = "SELECT count() AS gaps, sum(offset_to - offset_from) AS offsets, max(written_at) AS last FROM batches \
               WHERE topic = {topic:String} AND kind = 'gap'";
    let gaps: Option<Gaps> = store.rows(sql, &[("topic", &config.kafka.topic)]).await?.pop();
    findings.push(match gaps.filter(|gaps| gaps.gaps > 0) {
        Some(Gaps { gaps, offsets, last }) => Finding::warn(
            "gaps",
            format!("{offsets} offsets left Kafka before they were read, in {gaps} gaps, the last at {last}"),
            "give the topic a retention that is longer than an outage; `kind = 'gap'` in the table batches names them",
        ),
        None => Finding::ok("gaps", "every offset was read"),
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn setting(name: &str, value: &str, most: &str, is_fixed: u8) -> Setting {
        Setting { name: name.to_owned(), value: value.to_owned(), most: most.to_owned(), is_fixed }
    }

    fn failed(settings: &[Setting]) -> Vec<String> {
        let config = Config::from_toml("f", "").expect("the defaults");
        let findings = of_profile(&config, settings);
        assert!(findings.iter().all(|finding| (finding.state == State::Ok) == finding.remedy.is_empty()), "{findings:?}");
        findings.into_iter().filter(|finding| finding.state == State::Fail).map(|finding| finding.check).collect()
    }

    #[test]
    fn a_profile_that_takes_away_what_inserts_rest_on_is_found() {
        let usual = [
            setting("deduplicate_insert", "enable", "", 0),
            setting("async_insert", "1", "", 0),
            setting("readonly", "0", "", 0),
            setting("max_insert_block_size", "1048449", "", 0),
        ];
        assert!(failed(&usual).is_empty() && failed(&[]).is_empty());
        for (wrong, check) in [
            (setting("deduplicate_insert", "disable", "", 0), "deduplicate_insert"),
            (setting("readonly", "2", "", 0), "readonly"),
            (setting("async_insert", "1", "", 1), "async_insert"),
            (setting("insert_deduplicate", "0", "", 1), "insert_deduplicate"),
            (setting("max_insert_block_size", "1000", "", 1), "max_insert_block_size"),
            (setting("max_insert_block_size", "1000", "5000", 0), "max_insert_block_size"),
        ] {
            assert_eq!(failed(std::slice::from_ref(&wrong)), [check], "{wrong:?}");
        }
        assert!(failed(&[setting("async_insert", "0", "", 1), setting("max_insert_block_size", "1048449", "", 1)]).is_empty());
    }
}
