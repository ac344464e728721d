//! ClickHouse's own Kafka engine: a table that reads the topic, and views that keep the log, the hours and the sets of users. It prices
//! nothing, recognises no duplicate and promises nothing after a crash.

use std::time::{Duration, Instant};

use super::servers::{ClickHouse, Kafka, unique};
use super::{Load, Measured, usage};

const LONGEST: Duration = Duration::from_secs(3_600);

const STATEMENTS: [&str; 9] = [
    "CREATE TABLE {db}.usage_log (account String, source LowCardinality(String), id String, event_time DateTime64(3, 'UTC'), day Date,
       platform LowCardinality(String), user_hash UInt64, agent LowCardinality(String), category LowCardinality(String), model LowCardinality(String),
       duration_ms UInt64, input_tokens UInt64, cached_input_tokens UInt64, output_tokens UInt64)
     ENGINE = MergeTree PARTITION BY toYYYYMM(day) ORDER BY (account, event_time, id)",
    "CREATE TABLE {db}.usage_hourly (account String, day Date, hour DateTime('UTC'), platform LowCardinality(String), agent LowCardinality(String),
       category LowCardinality(String), model LowCardinality(String), events UInt64, duration_ms UInt64, input_tokens UInt64, output_tokens UInt64)
     ENGINE = SummingMergeTree PARTITION BY toYYYYMM(day) ORDER BY (account, day, category, agent, model, platform, hour)",
    "CREATE TABLE {db}.session_users (account String, day Date, platform LowCardinality(String), users AggregateFunction(uniqCombined64(17), UInt64))
     ENGINE = AggregatingMergeTree PARTITION BY toYYYYMM(day) ORDER BY (day, account, platform)",
    "CREATE TABLE {db}.events ({columns}) ENGINE = Null",
    "CREATE MATERIALIZED VIEW {db}.to_hourly TO {db}.usage_hourly AS
     SELECT account, toDate(at) AS day, toStartOfHour(at) AS hour, platform, agent, category, model, count() AS events, sum(duration_ms) AS duration_ms,
       sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens
     FROM (SELECT *, parseDateTimeBestEffort(time, 'UTC') AS at FROM {db}.events) GROUP BY account, day, hour, platform, agent, category, model",
    "CREATE MATERIALIZED VIEW {db}.to_sessions TO {db}.session_users AS
     SELECT account, toDate(parseDateTimeBestEffort(time, 'UTC')) AS day, platform, uniqCombined64State(17)(sipHash64(account, user)) AS users
     FROM {db}.events GROUP BY account, day, platform",
    "CREATE MATERIALIZED VIEW {db}.to_log TO {db}.usage_log AS
     SELECT account, source, id, parseDateTime64BestEffort(time, 3, 'UTC') AS event_time, toDate(event_time) AS day, platform,
       sipHash64(account, user) AS user_hash, agent, category, model, duration_ms, input_tokens, cached_input_tokens, output_tokens FROM {db}.events",
    "CREATE TABLE {db}.messages ({columns})
     ENGINE = Kafka SETTINGS kafka_broker_list = '{brokers}', kafka_topic_list = '{topic}', kafka_group_name = '{db}', kafka_format = 'JSONEachRow',
       kafka_num_consumers = 2, kafka_thread_per_consumer = 1, kafka_max_block_size = 200000, kafka_skip_broken_messages = 1000000",
    // With its first view the engine begins to read: that one is the last statement, and behind it everything stands.
    "CREATE MATERIALIZED VIEW {db}.feed TO {db}.events AS SELECT * FROM {db}.messages",
];
const COLUMNS: &str = "id String, source String, time String, account String, platform String, user String, agent String, category String, model String, \
                       duration_ms UInt64, input_tokens UInt64, cached_input_tokens UInt64, output_tokens UInt64";

pub fn drain(kafka: &Kafka, clickhouse: &ClickHouse, topic: &str, load: &Load) -> Measured {
    let database = unique("engine");
    let put = |sql: &str| {
        sql.replace("{columns}", COLUMNS).replace("{db}", &database).replace("{brokers}", kafka.brokers()).replace("{topic}", topic)
    };
    clickhouse.query(&format!("CREATE DATABASE {database}"));
    let (servers, began) = (usage::Servers::watch(kafka, clickhouse), Instant::now());
    for statement in STATEMENTS {
        clickhouse.query(&put(statement));
    }
    loop {
        let rows: u64 = clickhouse.query(&put("SELECT count() FROM {db}.usage_log")).trim().parse().unwrap();
        if rows >= load.events {
            break;
        }
        assert!(began.elapsed() < LONGEST, "{rows} of {} events", load.events);
        std::thread::sleep(Duration::from_millis(100)); // asked ten times a second until it is there
    }
    let seconds = began.elapsed().as_secs_f64();
    let servers = servers.taken();
    clickhouse.query(&format!("DROP DATABASE {database} SYNC"));
    let note = "no prices, no duplicates recognised, no promise after a crash".to_owned();
    Measured { name: "(e) ClickHouse's Kafka engine", events: load.events, seconds, servers, note, ..Measured::default() }
}
