//! What `sink` encodes is what the real engine stores, counts and merges.

use std::fmt::Write as _;

use farebox::aggregate::{Accepted, Counts, Fold, HourlyBlock, LogBlock, REJECTED_BYTES_MAX, Rejected, RejectedBlock, Rows};
use farebox::dedupe::HashKey;
use farebox::model::{Credits, Event, Quantity, Reason, Reject, SessionAnchor, Timestamp, Zone};
use farebox::sink::{BatchKind, BatchRow, Block, Origin, Stamp, Table, batches_row, blocks, witness};

use crate::servers::{ClickHouse, http};

/// A fresh database with the tables as they are migrated.
struct Database {
    server: &'static ClickHouse,
    name: String,
}

impl Database {
    fn new() -> Self {
        let server = ClickHouse::shared();
        let database = Self { server, name: server.database() };
        let migrations = concat!(
            include_str!("../../src/store/migrations/0001_tables.sql"),
            include_str!("../../src/store/migrations/0005_given.sql")
        );
        let tables: String =
            migrations.lines().filter(|line| !line.trim_start().starts_with("--")).flat_map(|line| [line, "\n"]).collect();
        for statement in tables.split(';').filter(|statement| !statement.trim().is_empty()) {
            database.ask("", statement.as_bytes());
        }
        database
    }

    fn ask(&self, parameters: &str, body: &[u8]) -> String {
        let path = format!("/?database={}&{parameters}", self.name);
        let (status, _, answer) = http(self.server.port(), "POST", &path, body).unwrap();
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn query(&self, sql: &str) -> String {
        self.ask("", sql.as_bytes())
    }

    fn insert(&self, block: &Block) {
        self.insert_under(block, &block.token);
    }

    fn insert_under(&self, block: &Block, token: &str) {
        let sql = format!("INSERT INTO {} ({}) FORMAT Native", block.table.name(), block.table.columns());
        let parameters = format!(
            "query={}&insert_deduplication_token={}&async_insert=0&wait_end_of_query=1&insert_deduplicate=1&optimize_on_insert=0\
             &use_strict_insert_block_limits=0&max_insert_block_size=1048449&min_insert_block_size_rows=1048449\
             &min_insert_block_size_bytes=268402944&max_insert_threads=1&input_format_parallel_parsing=0",
            escape(&sql),
            escape(token)
        );
        self.ask(&parameters, &block.body);
    }

    fn write(&self, rows: &Rows, stamp: &Stamp) {
        for block in blocks(rows, &origin(), stamp) {
            self.insert(&block);
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server, shared by all tests, ends with them; what cannot be dropped goes then.
        let _ = self.server.try_query(&format!("DROP DATABASE {}", self.name));
    }
}

fn escape(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() {
            out.push(byte.into());
        } else {
            write!(out, "%{byte:02X}").unwrap();
        }
        out
    })
}

fn origin() -> Origin {
    Origin { source_epoch: "e1".into(), topic: "usage.events".into(), partition: 3, topic_id: "topicid".into() }
}

fn stamp(from: i64, to: i64) -> Stamp {
    Stamp { from, to, price_version: 42, written_at: now() }
}

/// Witness rows leave 30 days after they were written, by the server's clock.
fn now() -> Timestamp {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(elapsed.as_millis()).unwrap())
}

fn event(time: &str) -> Event<'static> {
    Event {
        id: "id".into(),
        source: "".into(),
        time: Timestamp::parse(time).unwrap(),
        account: "acme".into(),
        platform: "web".into(),
        user: "u".into(),
        agent: "bot".into(),
        category: "llm".into(),
        model: "".into(),
        duration_ms: None,
        input_tokens: None,
        cached_input_tokens: None,
        output_tokens: None,
        quantity: None,
        credits: None,
    }
}

fn accept(fold: &mut Fold, event: &Event<'_>, offset: i64, user_hash: u64, cost: i128) {
    let local = Zone::UTC.local(event.time);
    let session = SessionAnchor::default().session_of(event.time);
    fold.accept(&Accepted {
        event,
        content: HashKey::new([0; 16]).fingerprint(event).payload,
        offset,
        received_at: event.time.plus_millis(1).clamped(),
        day: local.day,
        hour: local.hour,
        session,
        session_day: Zone::UTC.local(session.start()).day,
        user_hash,
        cost: Credits::from_nanos(cost),
        priced: cost != 0,
        unattributed: cost == 0,
    });
}

/// Three months, the least and the largest of everything, and texts of every kind.
fn varied() -> Rows {
    let largest = Some((1 << 53) - 1);
    let amount = 999_999_999_999_999_999_999;
    let full = Event {
        id: "ключ-🔑".repeat(18).into(),
        source: "späti".into(),
        account: "ünï'cø\"de\\".into(),
        platform: "wh,ats;app".into(),
        agent: "名".repeat(128).into(),
        category: "sound".into(),
        model: "x/y:z".into(),
        duration_ms: largest,
        input_tokens: largest,
        cached_input_tokens: largest,
        output_tokens: largest,
        quantity: Some(Quantity::from_nanos(amount)),
        credits: Some(Credits::from_nanos(amount - 1)),
        ..event("2026-03-01T00:00:00.001Z")
    };
    let mut fold = Fold::new();
    accept(&mut fold, &full, i64::MAX - 1, u64::MAX, amount);
    accept(&mut fold, &Event { id: "a".into(), ..full.clone() }, 7, 1, amount);
    accept(&mut fold, &event("2026-02-28T23:59:59.999Z"), 0, 9, 0);
    accept(&mut fold, &Event { user: "".into(), platform: "".into(), ..event("2105-12-31T00:00:00Z") }, 1, 0, 1);
    accept(&mut fold, &event("1970-01-02T00:00:00Z"), 2, 0x8000_0000_0000_0000, 2);
    fold.duplicate(3);
    let bytes: Vec<u8> = (0..=255).cycle().take(REJECTED_BYTES_MAX + 5).collect();
    let reject = Reject { reason: Reason::IdConflict, detail: "id `ä`".into(), account: "acme".into() };
    let received_at = Timestamp::parse("2026-03-01T00:00:00.000Z").unwrap();
    fold.reject(&Rejected { offset: 4, received_at, reject: &reject, key: &bytes, payload: &bytes });
    let reject = Reject { reason: Reason::Malformed, detail: String::new(), account: String::new() };
    fold.reject(&Rejected { offset: 5, received_at: received_at.plus_millis(-1), reject: &reject, key: b"", payload: b"" });
    fold.finish()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn lines(rows: impl Iterator<Item = Vec<String>>) -> String {
    rows.map(|row| row.join("\t") + "\n").collect()
}

#[test]
fn every_value_is_read_back_as_it_was_sent() {
    let (database, rows, stamp) = (Database::new(), varied(), stamp(0, i64::MAX));
    database.write(&rows, &stamp);
    let (digest, written_at) = (rows.digest.to_string(), stamp.written_at.seconds().to_string());
    let origin = ["e1", "usage.events", "3"].map(str::to_owned);

    let expected = lines(rows.usage_log.values().flat_map(LogBlock::rows).map(|row| {
        let texts = [row.account, row.source, row.id, row.platform, row.agent, row.category, row.model].map(str::to_owned);
        let times = [row.event_time.millis().to_string(), row.received_at.millis().to_string(), row.day.to_string()];
        let numbers = [row.user_hash, row.duration_ms, row.input_tokens, row.cached_input_tokens, row.output_tokens];
        let given = row.given.bits().to_string();
        let reported = [row.quantity.to_string(), row.credits.to_string(), given];
        let amounts = [row.cost.to_string(), u8::from(row.priced).to_string(), "42".into()];
        let ends = [row.offset.to_string(), digest.clone()];
        [&texts[..], &times, &numbers.map(|number| number.to_string()), &reported, &amounts, &origin, &ends].concat()
    }));
    let stored = database.query(
        "SELECT account, source, id, platform, agent, category, model, toUnixTimestamp64Milli(event_time), \
         toUnixTimestamp64Milli(received_at), day, user_hash, duration_ms, input_tokens, cached_input_tokens, output_tokens, quantity, \
         credits, given, cost, priced, price_version, source_epoch, topic, partition, offset, digest FROM usage_log \
         ORDER BY toYYYYMM(day), account, event_time, id FORMAT TSVRaw",
    );
    assert_eq!(stored, expected);

    let expected = lines(rows.usage_hourly.values().flat_map(HourlyBlock::rows).map(|row| {
        let sums = row.sums;
        let texts = [row.account, row.platform, row.agent, row.category, row.model, ""].map(str::to_owned);
        let times = [row.day.to_string(), row.hour.seconds().to_string(), sums.cost.to_string(), sums.quantity.to_string()];
        let numbers = [sums.events, sums.duration_ms, sums.input_tokens, sums.cached_input_tokens, sums.output_tokens];
        let counts = [sums.unpriced_events, sums.unattributed_events, 0].map(|number| number.to_string());
        let ends = [digest.clone(), "42".into(), written_at.clone()];
        [&texts[..], &times, &numbers.map(|number| number.to_string()), &counts, &ends].concat()
    }));
    let stored = database.query(
        "SELECT account, platform, agent, category, model, batch, day, toUnixTimestamp(hour), cost, quantity, events, duration_ms, \
         input_tokens, cached_input_tokens, output_tokens, unpriced_events, unattributed_events, blocks, digest, price_version, \
         toUnixTimestamp(written_at) FROM usage_hourly WHERE account != '' \
         ORDER BY day, account, category, agent, model, platform, hour FORMAT TSVRaw",
    );
    assert_eq!(stored, expected);

    let expected = lines(rows.rejected.values().flat_map(RejectedBlock::rows).map(|row| {
        let times = [row.received_at.millis().to_string(), row.account.to_owned()];
        let why = [row.offset.to_string(), row.reason.as_str().to_owned(), row.detail.to_owned(), hex(row.key), hex(row.payload)];
        [&times[..], &origin, &why, std::slice::from_ref(&digest)].concat()
    }));
    let stored = database.query(
        "SELECT toUnixTimestamp64Milli(received_at), account, source_epoch, topic, partition, offset, reason, detail, hex(key), \
         hex(payload), digest FROM rejected_events ORDER BY received_at FORMAT TSVRaw",
    );
    assert_eq!(stored, expected);

    let stored = database.query(
        "SELECT account, day, toUnixTimestamp(session_start), platform, uniqCombined64Merge(17)(users), sum(events), max(batch) \
         FROM session_users WHERE account != '' GROUP BY ALL ORDER BY day FORMAT TSVRaw",
    );
    let sessions = [
        "acme\t1970-01-02\t86400\tweb\t1\t1\t\n",
        "acme\t2026-02-28\t1772236800\tweb\t1\t1\t\n",
        "ünï'cø\"de\\\t2026-03-01\t1772323200\twh,ats;app\t2\t2\t\n",
    ];
    assert_eq!(stored, sessions.concat());
}

#[test]
fn a_repeated_insert_changes_nothing_and_a_twin_is_seen_in_the_witness() {
    let (database, rows, stamp) = (Database::new(), varied(), stamp(0, i64::MAX));
    let all = blocks(&rows, &origin(), &stamp);
    let state = || {
        let count = |table: &Table| database.query(&format!("SELECT '{0}', count(), sum(digest) FROM {0}", table.name()));
        Table::ALL.iter().map(count).collect::<String>()
    };
    all.iter().for_each(|block| database.insert(block));
    let first = state();
    let again = blocks(&varied(), &origin(), &stamp);
    assert!(again == all, "the same records give the same bytes");
    again.iter().for_each(|block| database.insert(block));
    assert_eq!(state(), first);

    for table in [Table::UsageHourly, Table::SessionUsers] {
        let name = table.name();
        database.query(&format!("OPTIMIZE TABLE {name} FINAL"));
        let witnesses = || {
            database.query(&format!(
                "SELECT toYYYYMM(day), toDayOfMonth(day), batch, sum(blocks), max(digest) FROM {name} WHERE account = '' \
                 GROUP BY day, batch ORDER BY day FORMAT TSVRaw"
            ))
        };
        let expected = |blocks: &str| {
            let months = [197_001, 202_602, 202_603, 210_512]; // those of the log
            lines(months.into_iter().map(|month| {
                [month.to_string(), "1".into(), witness(&origin(), &stamp), blocks.into(), rows.digest.to_string()].to_vec()
            }))
        };
        assert_eq!(witnesses(), expected("1"), "{name}");
        for block in all.iter().filter(|block| block.table == table) {
            database.insert_under(block, &format!("{}/r1", block.token));
        }
        assert_eq!(witnesses(), expected("2"), "{name}");
    }
}

#[test]
fn columns_of_any_number_of_kinds_arrive() {
    let database = Database::new();
    let mut fold = Fold::new();
    // One byte, two bytes and four for a place among the kinds.
    for n in 0..70_000 {
        let (source, model) = (n % 256, n % 257);
        let event = Event {
            id: n.to_string().into(),
            source: format!("source-{source}").into(),
            model: format!("model-{model}").into(),
            agent: format!("agent-{n}").into(),
            ..event("2026-03-01T12:00:00Z")
        };
        accept(&mut fold, &event, n, 1, 1);
    }
    database.write(&fold.finish(), &stamp(0, 70_000));
    let wrong = database.query(
        "SELECT count(), countIf(source != concat('source-', toString(offset % 256)) OR model != concat('model-', toString(offset % 257)) \
                OR agent != concat('agent-', id) OR id != toString(offset)) FROM usage_log",
    );
    assert_eq!(wrong, "70000\t0\n");
}

#[test]
fn a_block_becomes_one_part() {
    let (database, rows, stamp) = (Database::new(), varied(), stamp(0, 10));
    for block in blocks(&rows, &origin(), &stamp) {
        let (table, month) = (block.table.name(), block.month);
        database.insert(&block);
        let parts = format!("SELECT count(), sum(rows) FROM system.parts WHERE database = currentDatabase() AND table = '{table}'");
        let in_month = format!("{parts} AND active AND partition = '{}'", month.0);
        assert_eq!(database.query(&in_month), format!("1\t{}\n", block.rows), "{table} {month}");
    }
}

#[test]
fn merged_sets_count_what_the_engine_counts_over_the_log() {
    let database = Database::new();
    let sizes = [1_u64, 16, 17, 4095, 4096, 4097, 200_000];
    // Two batches that share half of their users, so that sets of every form meet. At exactly 4 096 the engine is exact as long as no
    // user comes again: those are sent once.
    for (batch, skip) in [(0, false), (1, true)] {
        let mut fold = Fold::new();
        let mut offset = batch * 1_000_000;
        for size in sizes {
            let mut event = event("2026-05-05T05:05:05Z");
            event.platform = size.to_string().into();
            // 0 and the largest are hashes too.
            let first = if !skip {
                0
            } else if size == 4096 {
                size
            } else {
                size / 2
            };
            for user in first..size {
                let hash = if user == 1 { u64::MAX } else { user.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
                accept(&mut fold, &event, offset, hash, 1);
                offset += 1;
            }
        }
        database.write(&fold.finish(), &stamp(batch * 1_000_000, offset));
    }
    let over_the_log = database.query(
        "SELECT toUInt64(toString(platform)) AS p, uniqCombined64(17)(user_hash), count() FROM usage_log GROUP BY p ORDER BY p",
    );
    let merged = "SELECT toUInt64(toString(platform)) AS p, uniqCombined64Merge(17)(users), sum(events) FROM session_users \
                  WHERE account != '' GROUP BY p ORDER BY p";
    assert_eq!(database.query(merged), over_the_log);
    assert!(
        over_the_log.starts_with("1\t1\t2\n16\t16\t24\n17\t17\t26\n4095\t4095\t6143\n4096\t4096\t4096\n"),
        "exact up to 4 096: {over_the_log}"
    );
    database.query("OPTIMIZE TABLE session_users FINAL");
    assert_eq!(database.query(merged), over_the_log, "after merging on disk");
    assert_eq!(database.query("SELECT uniqCombined64Merge(17)(users) FROM session_users WHERE account = ''"), "0\n");
    assert_eq!(database.query("SELECT count() FROM session_users WHERE account != ''"), format!("{}\n", sizes.len()));
    // The engine leaves the exact form when it is full and a user comes, known or not.
    assert_eq!(
        database.query("SELECT uniqCombined64(17)(number % 4095), uniqCombined64(17)(number % 4096) > 4096 FROM numbers(9000)"),
        "4095\t1\n"
    );
}

#[test]
fn a_row_of_batches_is_read_back_and_unique_by_its_token() {
    let (database, stamp) = (Database::new(), stamp(10, 25));
    let row = BatchRow {
        kind: BatchKind::Batch,
        counts: Counts { received: 15, accepted: 12, duplicates: 2, rejected: 1 },
        digest: u64::MAX,
        prev: None,
        leader_epoch: -1,
        hash_key_id: "0123456789abcdef".into(),
        record_time_max: Timestamp::from_millis(1_772_323_200_001),
    };
    let gap =
        BatchRow { kind: BatchKind::Gap, counts: Counts::default(), digest: 0, prev: Some(25), leader_epoch: 4, ..row.clone() };
    let gap_stamp = Stamp { from: 25, to: 30, ..stamp };
    for (row, stamp) in [(&row, &stamp), (&row, &stamp), (&gap, &gap_stamp)] {
        database.insert(&batches_row(row, &origin(), stamp));
    }
    let written_at = stamp.written_at.millis();
    let stored = database.query(
        "SELECT source_epoch, topic, topic_id, partition, offset_from, offset_to, received, accepted, duplicates, rejected, kind, prev, \
         leader_epoch, price_version, hash_key_id, digest, toUnixTimestamp64Milli(record_time_max), toUnixTimestamp64Milli(written_at) \
         FROM batches ORDER BY offset_from",
    );
    let expected = format!(
        "e1\tusage.events\ttopicid\t3\t10\t25\t15\t12\t2\t1\tbatch\t-1\t-1\t42\t0123456789abcdef\t18446744073709551615\t1772323200001\t\
         {written_at}\ne1\tusage.events\ttopicid\t3\t25\t30\t0\t0\t0\t0\tgap\t25\t4\t42\t0123456789abcdef\t0\t1772323200001\t{written_at}\n"
    );
    assert_eq!(stored, expected);
}
