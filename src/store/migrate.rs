//! The schema: numbered migrations that never change once released, views that are made anew, the age at which rows leave.
//!
//! Holds: every statement may run again; what was applied is recorded with a checksum, and a recorded text that differs from ours is refused.
//! A change of views comes with a new migration, be it an empty one, so that an older binary knows that the schema is ahead of it.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Error, Store, Unique};
use crate::model::Timestamp;

struct Migration {
    number: u32,
    name: &'static str,
    /// An older binary works on a schema that has this migration.
    compatible: bool,
    sql: &'static str,
}

const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "tables", compatible: false, sql: include_str!("migrations/0001_tables.sql") },
    Migration { number: 2, name: "ledger", compatible: true, sql: include_str!("migrations/0002_ledger.sql") },
    Migration { number: 3, name: "cost_adjustments", compatible: true, sql: include_str!("migrations/0003_cost_adjustments.sql") },
    Migration { number: 4, name: "log_ends", compatible: true, sql: include_str!("migrations/0004_log_ends.sql") },
    Migration { number: 5, name: "given", compatible: true, sql: include_str!("migrations/0005_given.sql") },
    Migration { number: 6, name: "session_folds", compatible: true, sql: include_str!("migrations/0006_session_folds.sql") },
    Migration { number: 7, name: "alerts", compatible: true, sql: include_str!("migrations/0007_alerts.sql") },
];

const VIEWS: &[&str] = &[
    include_str!("views/01_price_book.sql"),
    include_str!("views/02_sessions.sql"),
    include_str!("views/03_costs.sql"),
    include_str!("views/04_conservation.sql"),
    include_str!("views/05_balances.sql"),
    include_str!("views/06_budgets.sql"),
];

/// The number under which views are recorded.
const VIEWS_NUMBER: u32 = 0;

const RECORD: &str = "CREATE TABLE IF NOT EXISTS migrations (
  number UInt32, name String, checksum String, compatible UInt8, applied_at DateTime64(3, 'UTC')
) ENGINE = MergeTree ORDER BY (number, applied_at)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1";

const COLUMNS: &str = "number, name, checksum, compatible, applied_at";

/// What `migrate` is told.
#[derive(Debug, Clone)]
pub struct Migrate {
    /// The cluster of the configuration; must be empty for now.
    pub cluster: String,
    /// Days that rows of `usage_log` stay; 0: the log is off, what is there stays.
    pub usage_log_keep_days: u32,
    /// Days that rows of `rejected_events` stay.
    pub rejected_keep_days: u32,
    /// `sessions.lateness`, which the views need.
    pub lateness_seconds: u32,
    /// The moment to record.
    pub now: Timestamp,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What `migrate` did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations applied, as `1 tables`; `views` when these were made anew.
    pub applied: Vec<String>,
    /// Every statement, in order.
    pub statements: Vec<String>,
}

/// How the database's schema compares with this binary's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaStatus {
    /// Something is missing: `run` refuses, `migrate` mends it.
    Behind {
        /// What `migrate` would apply, as `1 tables`.
        missing: Vec<String>,
    },
    /// As this binary wants it.
    Current,
    /// A newer binary was here, and its newest migration leaves us working.
    AheadCompatible {
        /// The newest migration's number.
        newest: u32,
    },
    /// A newer binary was here, and this one must not write any more.
    AheadIncompatible {
        /// The newest migration's number.
        newest: u32,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Applied {
    number: u32,
    name: String,
    checksum: String,
    compatible: u8,
    #[serde(with = "super::time")]
    applied_at: Timestamp,
}

impl Store {
    /// Brings the schema up to this binary's; does nothing when it is there. Never takes anything back: on a newer schema only the settings
    /// are written.
    ///
    /// # Errors
    /// A cluster, a migration recorded with another text, and those of [`Error`].
    pub async fn migrate(&self, options: &Migrate) -> Result<Migrated, Error> {
        if !options.cluster.is_empty() {
            let reason =
                "clusters are not supported yet: Replicated and Distributed tables are untested; leave it empty".to_owned();
            return Err(Error::Setting { setting: "cluster", reason });
        }
        let recorded = self.recorded().await?;
        let mut done = Migrated::default();
        if recorded.is_none() {
            let create = format!("CREATE DATABASE IF NOT EXISTS `{}`", self.client.database);
            if !options.dry_run {
                self.client.query(&create, &[], false).await?;
            }
            done.statements.push(create);
            self.perform(RECORD, options, &mut done).await?;
        }
        let recorded = recorded.unwrap_or_default();
        let ahead = check(&recorded)?.is_some();
        for migration in pending(&recorded) {
            for statement in statements(migration.sql) {
                self.perform(&statement, options, &mut done).await?;
            }
            let row = Applied {
                number: migration.number,
                name: migration.name.to_owned(),
                checksum: checksum(&[migration.sql]),
                compatible: u8::from(migration.compatible),
                applied_at: options.now,
            };
            self.record(&migration.number.to_string(), "number", row, options).await?;
            done.applied.push(format!("{} {}", migration.number, migration.name));
        }
        if !ahead && views_differ(&recorded) {
            for statement in VIEWS.iter().flat_map(|sql| statements(sql)) {
                self.perform(&statement, options, &mut done).await?;
            }
            let row = Applied {
                number: VIEWS_NUMBER,
                name: "views".to_owned(),
                checksum: checksum(VIEWS),
                compatible: 1,
                applied_at: options.now,
            };
            let key = format!("{VIEWS_NUMBER}/{}", options.now.millis());
            self.record(&key, "concat(toString(number), '/', toString(toUnixTimestamp64Milli(applied_at)))", row, options).await?;
            done.applied.push("views".to_owned());
        }
        self.keep(options, &mut done).await?;
        if !options.dry_run {
            self.set_setting("lateness_seconds", &options.lateness_seconds.to_string(), options.now).await?;
            let uuid = self.database_uuid().await?;
            self.set_setting_once("database_uuid", &uuid, options.now).await?;
        }
        Ok(done)
    }

    /// Compares the schema with this binary's.
    ///
    /// # Errors
    /// A migration recorded with another text, and those of [`Error`].
    pub async fn schema_status(&self) -> Result<SchemaStatus, Error> {
        let recorded = self.recorded().await?.unwrap_or_default();
        if let Some(newest) = check(&recorded)? {
            return Ok(match newest.compatible {
                0 => SchemaStatus::AheadIncompatible { newest: newest.number },
                _ => SchemaStatus::AheadCompatible { newest: newest.number },
            });
        }
        let mut missing: Vec<String> =
            pending(&recorded).map(|migration| format!("{} {}", migration.number, migration.name)).collect();
        if views_differ(&recorded) {
            missing.push("views".to_owned());
        }
        Ok(if missing.is_empty() { SchemaStatus::Current } else { SchemaStatus::Behind { missing } })
    }

    /// The database's own id: another one behind the same name means that it was made anew.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn database_uuid(&self) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Row {
            uuid: String,
        }
        let sql = "SELECT toString(uuid) AS uuid FROM system.databases WHERE name = currentDatabase()";
        self.row(sql, &[]).await.map(|row: Row| row.uuid)
    }

    /// The recorded migrations; `None` without database or table.
    async fn recorded(&self) -> Result<Option<Vec<Applied>>, Error> {
        match self.rows(&format!("SELECT {COLUMNS} FROM migrations ORDER BY number, applied_at"), &[]).await {
            Ok(rows) => Ok(Some(rows)),
            Err(Error::Schema { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn perform(&self, statement: &str, options: &Migrate, done: &mut Migrated) -> Result<(), Error> {
        if !options.dry_run {
            self.execute(statement).await?;
        }
        done.statements.push(statement.to_owned());
        Ok(())
    }

    async fn record(&self, key: &str, key_sql: &str, row: Applied, options: &Migrate) -> Result<(), Error> {
        if options.dry_run {
            return Ok(());
        }
        let (number, name, checksum) = (row.number, row.name.clone(), row.checksum.clone());
        match self.insert_unique("migrations", COLUMNS, key_sql, key, &[row]).await? {
            Unique::Other(rows) if rows.iter().any(|there| there.checksum != checksum) => {
                Err(Error::MigrationChanged { number, name })
            }
            Unique::Ours | Unique::Other(_) => Ok(()), // another `migrate` ran at the same time
        }
    }

    /// Sets the age at which rows leave, where it differs. By whole days of a `Date`: a `DateTime` ends in 2106 and would wrap.
    async fn keep(&self, options: &Migrate, done: &mut Migrated) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct Table {
            engine_full: String,
        }
        let wanted = [
            ("usage_log", "day", options.usage_log_keep_days),
            ("rejected_events", "toDate(received_at)", options.rejected_keep_days),
        ];
        for (table, day, days) in wanted.into_iter().filter(|(_, _, days)| *days > 0) {
            let ttl = format!("TTL {day} + toIntervalDay({days})");
            let sql = "SELECT engine_full FROM system.tables WHERE database = {database:String} AND name = {table:String}";
            let found: Vec<Table> = self.client_rows(sql, &[("database", &self.client.database), ("table", table)]).await?;
            if found.iter().any(|found| found.engine_full.contains(&format!("{ttl} "))) {
                continue;
            }
            self.perform(&format!("ALTER TABLE {table} MODIFY {ttl}"), options, done).await?;
        }
        Ok(())
    }

    /// As [`Store::rows`], also where the database does not exist yet.
    async fn client_rows<T: serde::de::DeserializeOwned>(&self, sql: &str, params: &[(&str, &str)]) -> Result<Vec<T>, Error> {
        super::parse(&self.client.query(sql, params, false).await?)
    }
}

/// Refuses a recorded text that is not ours; answers the newest recorded migration when we do not know it.
fn check(recorded: &[Applied]) -> Result<Option<&Applied>, Error> {
    for migration in MIGRATIONS {
        if recorded.iter().any(|row| row.number == migration.number && row.checksum != checksum(&[migration.sql])) {
            return Err(Error::MigrationChanged { number: migration.number, name: migration.name.to_owned() });
        }
    }
    let ours = MIGRATIONS.last().map_or(0, |migration| migration.number);
    Ok(recorded.iter().filter(|row| row.number > ours).max_by_key(|row| row.number))
}

fn pending(recorded: &[Applied]) -> impl Iterator<Item = &'static Migration> + '_ {
    MIGRATIONS.iter().filter(|migration| !recorded.iter().any(|row| row.number == migration.number))
}

fn views_differ(recorded: &[Applied]) -> bool {
    let newest = recorded.iter().filter(|row| row.number == VIEWS_NUMBER).max_by_key(|row| row.applied_at);
    newest.is_none_or(|row| row.checksum != checksum(VIEWS))
}

/// Of the statements, not of the comments beside them.
fn checksum(texts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for statement in texts.iter().flat_map(|text| statements(text)) {
        hash.update(statement.as_bytes());
        hash.update(b"\n");
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The statements of a file: each ends with a semicolon at the end of a line; lines of comment are left out.
fn statements(sql: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut statement = String::new();
    for line in sql.lines().filter(|line| !line.trim_start().starts_with("--") && !line.trim().is_empty()) {
        match line.trim_end().strip_suffix(';') {
            Some(last) => {
                statement.push_str(last);
                statements.push(std::mem::take(&mut statement));
            }
            None => {
                statement.push_str(line.trim_end());
                statement.push('\n');
            }
        }
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(number: u32, checksum: &str, compatible: u8) -> Applied {
        Applied { number, name: String::new(), checksum: checksum.to_owned(), compatible, applied_at: Timestamp::MIN }
    }

    #[test]
    fn a_file_is_split_into_statements_without_comments() {
        let sql = "-- one;\nCREATE a (\n  b -- c\n);\n\nDROP d;\n";
        assert_eq!(statements(sql), ["CREATE a (\n  b -- c\n)", "DROP d"]);
        for text in MIGRATIONS.iter().map(|migration| migration.sql).chain(VIEWS.iter().copied()) {
            assert!(text.trim_end().ends_with(';'), "the last statement has no end");
        }
    }

    #[test]
    fn numbers_count_up_from_one() {
        for (index, migration) in MIGRATIONS.iter().enumerate() {
            assert_eq!(migration.number as usize, index + 1, "{}", migration.name);
        }
    }

    #[test]
    fn a_changed_text_is_refused_and_a_newer_one_is_told() {
        let ours = checksum(&[MIGRATIONS[0].sql]);
        assert!(matches!(check(&[recorded(1, &ours, 0)]), Ok(None)));
        assert!(matches!(check(&[recorded(1, "other", 0)]), Err(Error::MigrationChanged { number: 1, .. })));
        let newest = [recorded(1, &ours, 0), recorded(1_007, "x", 0), recorded(1_009, "y", 1)];
        assert!(matches!(check(&newest), Ok(Some(row)) if row.number == 1_009));
        assert_eq!(pending(&[]).count(), MIGRATIONS.len());
        assert!(views_differ(&[]) && !views_differ(&[recorded(VIEWS_NUMBER, &checksum(VIEWS), 1)]));
    }
}
