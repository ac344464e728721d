//! The golden stories through the sink into a real ClickHouse: its views show what the stories say.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use farebox::aggregate::Sums;
use farebox::book::COLUMNS;
use farebox::engine::Batch;
use farebox::model::{Credits, Day, Quantity, SESSION_SECONDS, SessionAnchor, Timestamp};
use farebox::sink::{BatchKind, BatchRow, Block, Origin, Stamp, batches_row, blocks};
use farebox::store::{Insert, Migrate, Settings, Store, Unique};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::servers::{ClickHouse, unique};
use crate::story::{Formed, LogLine, RejectedLine, Report, Session, Story, rules};

#[test]
fn every_golden_story_reads_the_same_from_clickhouse() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stories = Story::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    assert!(stories.len() > 10);
    for story in stories {
        let formed = story.form();
        let report = runtime.block_on(async {
            let database = Database::new().await;
            database.write(&formed).await;
            // Again: the tokens are known, nothing changes.
            database.write(&formed).await;
            database.report(&formed).await
        });
        let expected = std::fs::read_to_string(story.expected()).unwrap();
        assert_eq!(report.page(), expected, "{}", story.name);
    }
}

struct Database {
    store: Store,
    origin: Origin,
    now: Timestamp,
}

impl Database {
    async fn new() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = Timestamp::from_seconds(i64::try_from(since_epoch.as_secs()).unwrap());
        let store = Store::new(&Settings {
            url: ClickHouse::shared().url(),
            database: unique("golden"),
            user: "default".to_owned(),
            password: "".into(),
            ca_file: "".into(),
            connect_timeout: Duration::from_secs(5),
            insert_timeout: Duration::from_secs(60),
            query_timeout: Duration::from_secs(60),
        })
        .unwrap();
        let migrate = Migrate {
            cluster: String::new(),
            usage_log_keep_days: 36_500,
            rejected_keep_days: 36_500,
            lateness_seconds: 172_800,
            now,
            dry_run: false,
        };
        store.migrate(&migrate).await.unwrap();
        let source = store.begin_source("usage.events", "golden-topic", now).await.unwrap();
        let origin = Origin { source_epoch: source.source_epoch, topic: source.topic, partition: 0, topic_id: source.topic_id };
        Self { store, origin, now }
    }

    /// Price books as they were applied, then each batch in the order of a running instance.
    async fn write(&self, formed: &Formed) {
        for version in 1..=formed.book.version() {
            let rows: Vec<_> = formed.book.rows().iter().filter(|row| row.version == version).cloned().collect();
            let applied = self.store.apply_price_book(version, COLUMNS, &rows).await.unwrap();
            assert_eq!(applied, Unique::Ours);
        }
        assert_eq!(self.store.book().await.unwrap().version(), formed.book.version());
        let mut prev = None;
        for batch in &formed.batches {
            let stamp = Stamp { from: batch.from, to: batch.to, price_version: batch.price_version, written_at: self.now };
            for block in blocks(&batch.rows, &self.origin, &stamp) {
                self.insert(&block).await;
            }
            self.insert(&batches_row(&row_of(batch, prev), &self.origin, &stamp)).await;
            prev = Some(batch.to);
        }
    }

    async fn insert(&self, block: &Block) {
        let inserted = self.store.insert(block.table.name(), block.table.columns(), &block.token, block.body.clone()).await;
        assert!(matches!(inserted, Insert::Done), "{}: {inserted:?}", block.token);
    }

    async fn rows<T: DeserializeOwned>(&self, sql: &str) -> Vec<T> {
        self.store.rows(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    async fn report(&self, formed: &Formed) -> Report {
        let (log, hourly, sessions, rejected) =
            (self.log(formed).await, self.hourly().await, self.sessions().await, self.rejected().await);
        let report = Report::new(self.counts().await, log, hourly, sessions, rejected);
        // The money views are groupings of the same.
        assert_eq!(self.days_of_costs().await, report.daily);
        assert_eq!(self.daily_costs().await, report.daily);
        report
    }

    async fn counts(&self) -> [u64; 4] {
        #[derive(Deserialize)]
        struct Row {
            counts: [u64; 4],
            logged: u64,
            balanced: u8,
        }
        let sql = "SELECT [received, accepted, duplicates, rejected] AS counts, logged, balanced FROM conservation";
        let row = self.rows::<Row>(sql).await.pop().unwrap();
        assert_eq!((row.balanced, row.logged), (1, row.counts[1]));
        row.counts
    }

    async fn log(&self, formed: &Formed) -> Vec<LogLine> {
        #[derive(Deserialize)]
        struct Row {
            log_offset: i64,
            texts: [String; 7],
            at: i64,
            on: i64,
            user_hash: u64,
            used: [u64; 4],
            amount: String,
            price: String,
            priced: u8,
        }
        let sql = "SELECT offset AS log_offset, [account, toString(source), id, toString(platform), toString(agent), toString(category), \
                   toString(model)] AS texts, toUnixTimestamp64Milli(event_time) AS at, toUInt16(day) AS on, user_hash, \
                   [duration_ms, input_tokens, cached_input_tokens, output_tokens] AS used, quantity AS amount, cost AS price, priced \
                   FROM usage_log";
        let line = |row: Row| LogLine {
            offset: row.log_offset,
            texts: row.texts,
            event_time: Timestamp::from_millis(row.at),
            day: Day::from_epoch_days(row.on),
            user: formed.user(row.user_hash),
            used: row.used,
            quantity: Quantity::from_nanos(nanos(&row.amount)),
            cost: credits(&row.price),
            priced: row.priced == 1,
            unattributed: formed.unattributed.contains(&row.log_offset),
        };
        self.rows(sql).await.into_iter().map(line).collect()
    }

    async fn hourly(&self) -> Vec<(crate::story::HourKey, Sums)> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            on: i64,
            at: i64,
            names: [String; 4],
            sums: [u64; 7],
            amount: String,
            price: String,
        }
        let sql = "SELECT account, toUInt16(day) AS on, toUnixTimestamp(hour) AS at, \
                   [toString(platform), toString(agent), toString(category), toString(model)] AS names, \
                   [sum(h.events), sum(h.duration_ms), sum(h.input_tokens), sum(h.cached_input_tokens), sum(h.output_tokens), \
                   sum(h.unpriced_events), sum(h.unattributed_events)] AS sums, sum(h.quantity) AS amount, sum(h.cost) AS price \
                   FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, hour, platform, agent, category, model";
        let line = |row: Row| {
            let [events, duration_ms, input_tokens, cached_input_tokens, output_tokens, unpriced_events, unattributed_events] =
                row.sums;
            let sums = Sums {
                events,
                cost: credits(&row.price),
                duration_ms,
                input_tokens,
                cached_input_tokens,
                output_tokens,
                quantity: Quantity::from_nanos(nanos(&row.amount)),
                unpriced_events,
                unattributed_events,
            };
            ((row.account, Day::from_epoch_days(row.on), Timestamp::from_seconds(row.at), row.names), sums)
        };
        self.rows(sql).await.into_iter().map(line).collect()
    }

    async fn sessions(&self) -> Vec<Session> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            platform: String,
            on: i64,
            at: i64,
            unique_users: u64,
            events: u64,
            unit: String,
            price: String,
            priced: u8,
        }
        let sql = "SELECT account, platform, toUInt16(day) AS on, toUnixTimestamp(session_start) AS at, unique_users, events, \
                   unit_session_cost AS unit, cost AS price, priced FROM session_costs";
        let session = |row: Row| {
            let anchor = SessionAnchor::from_seconds(u32::try_from(row.at % SESSION_SECONDS).unwrap()).unwrap();
            let session = Session {
                account: row.account,
                day: Day::from_epoch_days(row.on),
                session: anchor.session_of(Timestamp::from_seconds(row.at)),
                platform: row.platform,
                unique_users: row.unique_users,
                events: row.events,
                unit: credits(&row.unit),
                priced: row.priced == 1,
            };
            assert_eq!(session.cost(), credits(&row.price));
            session
        };
        self.rows(sql).await.into_iter().map(session).collect()
    }

    async fn rejected(&self) -> Vec<RejectedLine> {
        #[derive(Deserialize)]
        struct Row {
            log_offset: i64,
            at: i64,
            texts: [String; 3],
            bytes: u64,
        }
        let sql = "SELECT offset AS log_offset, toUnixTimestamp64Milli(received_at) AS at, [account, toString(reason), detail] AS texts, \
                   length(payload) AS bytes FROM rejected_events";
        let line = |row: Row| RejectedLine {
            offset: row.log_offset,
            received_at: Timestamp::from_millis(row.at),
            texts: row.texts,
            payload_bytes: row.bytes,
        };
        self.rows(sql).await.into_iter().map(line).collect()
    }

    async fn days_of_costs(&self) -> BTreeMap<(String, Day), [Credits; 3]> {
        let sql = "SELECT account, toUInt16(day) AS on, [sumIf(c.cost, kind = 'session'), sumIf(c.cost, kind = 'training'), \
                   sumIf(c.cost, kind = 'operation')] AS parts, sum(c.cost) AS total FROM costs AS c GROUP BY account, day";
        self.days(sql).await
    }

    async fn daily_costs(&self) -> BTreeMap<(String, Day), [Credits; 3]> {
        let sql = "SELECT account, toUInt16(day) AS on, [sessions_cost, training_cost, operations_cost] AS parts, cost AS total \
                   FROM daily_costs";
        self.days(sql).await
    }

    async fn days(&self, sql: &str) -> BTreeMap<(String, Day), [Credits; 3]> {
        #[derive(Deserialize)]
        struct Row {
            account: String,
            on: i64,
            parts: [String; 3],
            total: String,
        }
        let day = |row: Row| {
            assert_eq!(row.parts.iter().map(|part| nanos(part)).sum::<i128>(), nanos(&row.total));
            ((row.account, Day::from_epoch_days(row.on)), row.parts.map(|part| credits(&part)))
        };
        self.rows(sql).await.into_iter().map(day).collect()
    }
}

fn row_of(batch: &Batch, prev: Option<i64>) -> BatchRow {
    BatchRow {
        kind: BatchKind::Batch,
        counts: batch.rows.counts,
        digest: batch.rows.digest,
        prev,
        leader_epoch: batch.leader_epoch,
        hash_key_id: rules().key.id(),
        record_time_max: batch.record_time_max,
    }
}

fn credits(decimal: &str) -> Credits {
    Credits::from_nanos(nanos(decimal))
}

/// Sums may have more digits than an amount of one event.
fn nanos(decimal: &str) -> i128 {
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, ""));
    format!("{whole}{fraction:0<9}").parse().unwrap()
}
