//! Events to views without Kafka: the engine, the sink's blocks and the store, as the runtime puts them together.

use std::sync::Arc;
use std::time::Duration;

use farebox::book::{self, Book};
use farebox::dedupe::{self, HashKey};
use farebox::engine::{Engine, Rules};
use farebox::model::{Record, Timestamp};
use farebox::price::Prices;
use farebox::sink::{self, Block, Origin, Stamp};
use farebox::store::{Insert, Migrate, Settings, Store, Unique};
use farebox::{aggregate::Counts, decode};

use super::servers::{ClickHouse, unique};

/// A migrated database with a price book, and one partition's engine.
pub struct Direct {
    pub clickhouse: &'static ClickHouse,
    pub database: String,
    pub store: Store,
    /// The moment that the rows of the next batch carry.
    pub written_at: Timestamp,
    now: Timestamp,
    engine: Engine,
    offset: i64,
}

/// When every record came.
pub const NOW: &str = "2026-03-20T10:00:00Z";

impl Direct {
    pub fn new(price_book: &str) -> Self {
        Self::at(price_book, NOW)
    }

    /// The same, of another time.
    pub fn at(price_book: &str, now: &str) -> Self {
        let now = Timestamp::parse(now).unwrap();
        let (clickhouse, database) = (ClickHouse::shared(), unique("direct"));
        let store = Store::new(&Settings {
            url: clickhouse.url(),
            database: database.clone(),
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
        let file = book::parse(price_book, "book.toml").unwrap();
        let plan = book::plan(&Book::empty(), &file, now, "test", Timestamp::from_millis(0), true).unwrap();
        wait(async {
            store.migrate(&migrate).await.unwrap();
            if !plan.rows.is_empty() {
                store.apply_price_book(plan.version, book::COLUMNS, &plan.rows).await.unwrap();
            }
        });
        let rules = Rules {
            limits: decode::Limits { size_max: 1 << 18, age_max_ms: 35 * 86_400_000, ahead_max_ms: 600_000 },
            window: dedupe::Limits { window_ms: 900_000, ids_max: 1_000_000, expire_by_time: true },
            key: HashKey::new([7; 16]),
        };
        let engine = Engine::new(rules, Arc::new(Prices::new(&Book::from_rows(plan.rows))), 0);
        Self { clickhouse, database, store, written_at: now, now, engine, offset: 0 }
    }

    /// Makes one batch of these values and writes it. Gives its blocks, to be written again, and what became of the values.
    pub fn write(&mut self, values: impl IntoIterator<Item = String>) -> (Vec<Block>, Counts) {
        let timestamp = self.now;
        for value in values {
            let value = Some(value.as_bytes());
            self.engine.apply(&Record { offset: self.offset, timestamp, leader_epoch: 0, key: None, value, headers: Vec::new() });
            self.offset += 1;
        }
        let batch = self.engine.close(self.offset);
        let stamp = Stamp { from: batch.from, to: batch.to, price_version: batch.price_version, written_at: self.written_at };
        let origin = Origin { source_epoch: "1".to_owned(), topic: self.database.clone(), partition: 0, topic_id: "id".to_owned() };
        let blocks = sink::blocks(&batch.rows, &origin, &stamp);
        self.insert(&blocks);
        (blocks, batch.rows.counts)
    }

    /// Applies a price book, its dates in the past too. What is written from now on is priced by it when `is_known`; else as if the instance
    /// had not heard of it yet.
    pub fn apply(&mut self, price_book: &str, is_known: bool) -> Book {
        let now = Timestamp::parse(NOW).unwrap();
        let file = book::parse(price_book, "book.toml").unwrap();
        let book = wait(async {
            let current = self.store.book().await.unwrap();
            let plan = book::plan(&current, &file, now, "test", Timestamp::from_millis(0), true).unwrap();
            let applied = self.store.apply_price_book(plan.version, book::COLUMNS, &plan.rows).await.unwrap();
            assert!(matches!(applied, Unique::Ours));
            self.store.book().await.unwrap()
        });
        if is_known {
            self.engine.set_prices(&Arc::new(Prices::new(&book)));
        }
        book
    }

    /// Prices what is written from now on by the newest book.
    pub fn take_book(&mut self) {
        let book = wait(self.store.book()).unwrap();
        self.engine.set_prices(&Arc::new(Prices::new(&book)));
    }

    /// Sends blocks under their tokens.
    pub fn insert(&self, blocks: &[Block]) {
        wait(async {
            for block in blocks {
                let (table, body) = (block.table, block.body.clone());
                let insert = self.store.insert(table.name(), table.columns(), &block.token, body).await;
                assert!(matches!(insert, Insert::Done), "{insert:?}");
            }
        });
    }

    /// Asks with the tables of this database; lines of tabs.
    pub fn query(&self, sql: &str) -> String {
        self.clickhouse.query(&sql.replace("{db}", &self.database))
    }
}

/// Does asynchronous work to its end.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}
