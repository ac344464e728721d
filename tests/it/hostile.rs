//! Hostile records on a live partition: whatever their bytes, the good events beside them are metered, each bad one is kept
//! with its reason, and the partition goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::quick::{event, quick, wait_for_received};
use super::servers::{ClickHouse, Client, Farebox, Instance, Kafka, Message, SOON, eventually};
use raw::Raw;

/// Records with headers of any bytes: rust-rdkafka takes and gives only names that are text.
mod raw {
    #![allow(unsafe_code)] // two calls into librdkafka on header lists that rust-rdkafka lends us

    use std::ffi::CStr;
    use std::ptr;

    use rdkafka::bindings as rd;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::error::KafkaError;
    use rdkafka::message::{BorrowedHeaders, Message as _, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    use rdkafka::{ClientConfig, Offset, TopicPartitionList};

    use super::super::servers::SOON;

    pub type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Raw {
        pub key: Option<Vec<u8>>,
        pub value: Option<Vec<u8>>,
        pub headers: Headers,
    }

    fn list(headers: &BorrowedHeaders) -> *mut rd::rd_kafka_headers_t {
        ptr::from_ref(headers).cast_mut().cast()
    }

    /// Produces into partition 0, in order.
    pub fn produce(brokers: &str, topic: &str, records: &[Raw]) {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "8388608")
            .create()
            .unwrap();
        for record in records {
            let headers = OwnedHeaders::new();
            for (name, value) in &record.headers {
                let (pointer, size) = value.as_ref().map_or((ptr::null(), 0), |value| (value.as_ptr(), value.len()));
                // SAFETY: the list is ours; name and value are counted and copied.
                let answer = unsafe {
                    rd::rd_kafka_header_add(
                        list(headers.as_borrowed()),
                        name.as_ptr().cast(),
                        name.len().try_into().unwrap(),
                        pointer.cast(),
                        size.try_into().unwrap(),
                    )
                };
                assert_eq!(answer, rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR);
            }
            let mut sent = BaseRecord::<[u8], [u8]>::to(topic).partition(0).headers(headers);
            (sent.key, sent.payload) = (record.key.as_deref(), record.value.as_deref());
            producer.send(sent).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(SOON).unwrap();
    }

    /// The whole of partition 0.
    pub fn read(brokers: &str, topic: &str) -> Vec<Raw> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "raw")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&from).unwrap();
        let mut records = Vec::new();
        loop {
            match consumer.poll(SOON).expect("an answer") {
                Ok(message) => records.push(Raw {
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map_or_else(Vec::new, all),
                }),
                Err(KafkaError::PartitionEOF(_)) => return records,
                Err(error) => panic!("read {topic}: {error}"),
            }
        }
    }

    fn all(headers: &BorrowedHeaders) -> Headers {
        let mut found = Vec::new();
        loop {
            let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the list lives as long as its message; names are C strings, values are counted.
            unsafe {
                let answer = rd::rd_kafka_header_get_all(list(headers), found.len(), &raw mut name, &raw mut value, &raw mut size);
                if answer != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return found;
                }
                let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec());
                found.push((CStr::from_ptr(name).to_bytes().to_vec(), value));
            }
        }
    }
}

/// Bytes that nobody chose.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.roll().to_le_bytes()[0]).collect()
    }

    fn up_to(&mut self, most: usize) -> usize {
        usize::try_from(self.roll() % (most as u64 + 1)).unwrap()
    }

    /// A header's name: any bytes but zero, at which librdkafka ends names.
    fn name(&mut self) -> Vec<u8> {
        let len = self.up_to(40);
        self.bytes(len).into_iter().map(|byte| byte.max(1)).collect()
    }

    fn maybe(&mut self, most: usize) -> Option<Vec<u8>> {
        let len = self.up_to(most);
        (len > 0).then(|| self.bytes(len - 1))
    }

    fn headers(&mut self, most: usize) -> raw::Headers {
        (0..self.up_to(most)).map(|_| (self.name(), self.maybe(60))).collect()
    }
}

fn value_of(message: Message) -> Vec<u8> {
    message.value.unwrap()
}

/// Records that somebody might send to break us, and what becomes of them: `Some(reason)`, or accepted; `""`: whatever the rules say.
fn hostile(dice: &mut Dice) -> Vec<(Raw, Option<&'static str>)> {
    let good = |id: &str| Some(value_of(event("hostile", id)));
    let bare = |value: &[u8]| Raw { value: Some(value.to_vec()), ..Raw::default() };
    let with = |id: &str, name: &[u8], value: Option<&[u8]>| Raw {
        value: good(id),
        headers: vec![(name.to_vec(), value.map(<[u8]>::to_vec))],
        ..Raw::default()
    };
    let many = (0..1_000).map(|index| (format!("h{index}").into_bytes(), Some(vec![0; index % 5]))).collect();
    let mut records = vec![
        (Raw::default(), Some("malformed")),
        (Raw { key: Some(vec![]), ..Raw::default() }, Some("malformed")),
        (Raw { key: Some(b"tombstone".to_vec()), ..Raw::default() }, Some("malformed")),
        (bare(b""), Some("malformed")),
        (bare(b"\0"), Some("malformed")),
        (bare(&[b'['; 200_000]), Some("malformed")),
        (bare("{\"a\":".repeat(40_000).as_bytes()), Some("malformed")),
        (bare(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()), Some("malformed")),
        (bare(&dice.bytes(1_000_000)), Some("too_large")),
        (bare(&[b' '; 300_000]), Some("too_large")),
        (bare(b"{}"), Some("missing_field")),
        (bare(b"{\"id\":\"\\u0000\",\"time\":\"x\",\"account\":\"a\",\"agent\":\"a\",\"category\":\"c\"}"), Some("bad_value")),
        (bare(b"\xef\xbb\xbf{}"), Some("malformed")),
        (bare(b"{\"id\":\"\xff\"}"), Some("malformed")),
        (with("headers-0", b"", None), None),
        (with("headers-1", b"", Some(b"")), None),
        (with("headers-2", b"\xff\xfe\x80", Some(b"\0\0")), None),
        (with("headers-3", b"ce_specversion", Some(b"\xff")), Some("malformed")),
        (with("headers-4", b"ce_specversion", None), Some("malformed")),
        (with("headers-5", b"content-type", Some(b"\0\xff")), None),
        (with("headers-6", b"content-type", Some(b"application/cloudevents-batch+json")), Some("malformed")),
        (with("headers-7", b"farebox.reason", Some(b"mine")), None),
        (Raw { value: good("headers-8"), headers: many, ..Raw::default() }, None),
        (Raw { value: good("key-0"), key: Some(dice.bytes(1_000)), ..Raw::default() }, None),
    ];
    let broken = records.iter().filter(|(_, reason)| reason.is_some()).take(5).map(|(raw, reason)| (raw.clone(), *reason));
    let broken: Vec<_> = broken.collect();
    for (mut record, reason) in broken {
        record.headers = dice.headers(30);
        record.key = dice.maybe(500);
        records.push((record, reason));
    }
    for _ in 0..300 {
        let len = dice.up_to(1_500);
        let value = Some(dice.bytes(len)).filter(|value| !value.is_empty());
        records.push((Raw { key: dice.maybe(200), value, headers: dice.headers(8) }, Some("malformed")));
    }
    for flip in 0..300 {
        let mut value = value_of(event("hostile", &format!("flip-{flip}")));
        let at = dice.up_to(value.len() - 1);
        value[at] = dice.bytes(1)[0];
        records.push((Raw { value: Some(value), ..Raw::default() }, Some("")));
    }
    records
}

/// Offset and reason of what was rejected.
fn rejected(clickhouse: &ClickHouse, farebox: &Farebox) -> BTreeMap<i64, String> {
    let rows = clickhouse.query(&format!("SELECT offset, reason FROM {}.rejected_events", farebox.database));
    let rows: Vec<_> = rows.lines().map(|line| line.split_once('\t').unwrap()).collect();
    let found: BTreeMap<_, _> = rows.iter().map(|(offset, reason)| (offset.parse().unwrap(), (*reason).to_owned())).collect();
    assert_eq!(found.len(), rows.len(), "an offset is there twice");
    found
}

fn header<'a>(record: &'a Raw, name: &str) -> Option<&'a [u8]> {
    let mut found = record.headers.iter().rev().filter(|(own, _)| own == name.as_bytes());
    found.next().and_then(|(_, value)| value.as_deref())
}

/// The dead letters by the offset that they name; one may be there twice.
fn dead_letters(kafka: &Kafka, farebox: &Farebox) -> BTreeMap<i64, Raw> {
    let offset = |letter: &Raw| std::str::from_utf8(header(letter, "farebox.offset").unwrap()).unwrap().parse().unwrap();
    raw::read(kafka.brokers(), &farebox.dead_letter_topic).into_iter().map(|letter| (offset(&letter), letter)).collect()
}

const ADDED: [&[u8]; 5] = [b"farebox.reason", b"farebox.detail", b"farebox.topic", b"farebox.partition", b"farebox.offset"];

/// A dead letter is the record as it came, and behind its headers the reason and the place.
#[track_caller]
fn assert_kept_whole(letter: &Raw, original: &Raw, topic: &str, reason: &str) {
    assert!(letter.key == original.key && letter.value == original.value, "{letter:?}\n{original:?}");
    let (headers, added) = letter.headers.split_at(original.headers.len());
    assert_eq!(headers, original.headers);
    assert_eq!(added.iter().map(|(name, _)| name.as_slice()).collect::<Vec<_>>(), ADDED);
    assert_eq!(header(letter, "farebox.reason"), Some(reason.as_bytes()));
    assert_eq!(header(letter, "farebox.topic"), Some(topic.as_bytes()));
    assert!(!header(letter, "farebox.detail").unwrap().is_empty());
}

#[test]
fn any_bytes_are_accepted_by_rule_or_kept_with_a_reason_and_cost_the_neighbours_nothing() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let mut dice = Dice(20_260_131);
    let (mut records, mut expected, mut neighbours) = (Vec::new(), BTreeMap::new(), 0_u64);
    for (record, reason) in hostile(&mut dice) {
        expected.insert(i64::try_from(records.len()).unwrap(), reason);
        records.push(record);
        records.push(Raw { value: Some(value_of(event("neighbour", &format!("{neighbours}")))), ..Raw::default() });
        neighbours += 1;
    }
    let mut instance = farebox.start();
    instance.wait_until_ready();
    raw::produce(kafka.brokers(), &farebox.topic, &records);
    let seen = wait_for_received(clickhouse, &mut instance, &farebox.database, records.len() as u64);
    assert!(!instance.process.log().contains("panicked"), "{}", instance.process.log());
    assert_eq!(instance.stop().code(), Some(0));

    let of_neighbour = format!("SELECT count() FROM {}.usage_log WHERE account = 'neighbour'", farebox.database);
    assert_eq!(clickhouse.query(&of_neighbour), format!("{neighbours}\n"));
    let rejected = rejected(clickhouse, &farebox);
    assert_eq!(seen.rejected, rejected.len() as u64);
    for (offset, reason) in expected {
        let found = rejected.get(&offset).map(String::as_str);
        match reason {
            Some("") => {} // a flipped byte may still be an event
            reason => assert_eq!(found, reason, "offset {offset}: {:?}", &records[usize::try_from(offset).unwrap()].headers),
        }
    }
    let letters = dead_letters(kafka, &farebox);
    assert_eq!(letters.keys().collect::<BTreeSet<_>>(), rejected.keys().collect::<BTreeSet<_>>());
    for (offset, letter) in &letters {
        assert_kept_whole(letter, &records[usize::try_from(*offset).unwrap()], &farebox.topic, &rejected[offset]);
    }
}

#[test]
fn a_dead_letter_too_large_for_its_topic_says_where_the_original_lies() {
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    kafka.client.create_topic(&farebox.dead_letter_topic, 1, &[("max.message.bytes", "20000")]);
    farebox.run(&["migrate"]).expect_success();
    let mut dice = Dice(7);
    // Each fits, all together do not: none may lose its value to its neighbours.
    let mut records: Vec<Raw> = (0..40)
        .map(|n| Raw { key: Some(vec![n]), value: Some(dice.bytes(4_000)), headers: vec![(b"h".to_vec(), Some(vec![n]))] })
        .collect();
    let large = i64::try_from(records.len()).unwrap();
    records.push(Raw { key: Some(b"k".to_vec()), value: Some(dice.bytes(100_000)), headers: vec![(b"h".to_vec(), None)] });
    records.push(Raw { key: Some(dice.bytes(100_000)), value: Some(b"x".to_vec()), headers: vec![] });
    let huge_header = vec![(b"h".to_vec(), Some(dice.bytes(100_000)))];
    records.push(Raw { key: Some(b"k".to_vec()), value: Some(b"x".to_vec()), headers: huge_header });
    let mut instance = farebox.start();
    instance.wait_until_ready();
    raw::produce(kafka.brokers(), &farebox.topic, &records);
    wait_for_received(clickhouse, &mut instance, &farebox.database, records.len() as u64);
    assert_eq!(instance.stop().code(), Some(0));

    let letters = dead_letters(kafka, &farebox);
    assert_eq!(letters.len(), records.len());
    for (offset, letter) in letters.range(..large) {
        assert_kept_whole(letter, &records[usize::try_from(*offset).unwrap()], &farebox.topic, "malformed");
    }
    for (offset, letter) in letters.range(large..) {
        assert_eq!(letter.value, None);
        assert!(header(letter, "farebox.value").unwrap().starts_with(b"left out for its size"), "{letter:?}");
        assert_eq!(header(letter, "farebox.offset"), Some(offset.to_string().as_bytes()));
        assert_eq!(header(letter, "farebox.partition"), Some(&b"0"[..]));
        assert_eq!(header(letter, "farebox.topic"), Some(farebox.topic.as_bytes()));
        assert_eq!(header(letter, "farebox.reason"), Some(&b"malformed"[..]));
    }
    assert_eq!(letters[&large].key, Some(b"k".to_vec()));
    assert_eq!(letters[&(large + 1)].key, None);
    assert!(header(&letters[&(large + 1)], "farebox.key").is_some());
}

#[allow(clippy::float_cmp)] // whole numbers
fn wait_for_stopped(instance: &Instance, partitions: f64) {
    eventually(SOON, || match instance.metric("farebox_partitions_stopped", &[]) {
        Some(seen) if seen == partitions => Ok(()),
        seen => Err(format!("{seen:?}\n{}", instance.process.log())),
    });
}

fn topics(client: &Client) -> Vec<String> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", &client.brokers).create().unwrap();
    let metadata = eventually(SOON, || consumer.fetch_metadata(None, Duration::from_secs(5)));
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

fn set_topic(client: &Client, topic: &str, name: &str, value: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", &client.brokers).create().unwrap();
    let change = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answers = runtime.block_on(admin.alter_configs([&change], &AdminOptions::new())).unwrap();
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

#[test]
#[allow(clippy::float_cmp)] // whole numbers
fn a_dead_letter_topic_that_cannot_be_written_stops_the_partition_until_it_can() {
    // A broker that makes topics by itself: a deleted one must not come back unnoticed.
    let kafka = Kafka::start_with(&[("auto.create.topics.enable", "true")]);
    let clickhouse = ClickHouse::shared();
    let farebox = quick(&kafka, clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let output = farebox.run(&["run", "--set", "kafka.dead_letter_topic=absent"]);
    assert!(output.status.code() == Some(78) && output.stderr.contains("`absent` does not exist"), "{output:?}");
    assert!(!topics(&kafka.client).contains(&"absent".to_owned()));
    let mut instance = farebox.start();
    instance.wait_until_ready();
    let bad = |n: u8| Message { value: Some(vec![b'{', n]), partition: Some(0), ..Message::default() };
    kafka.client.produce(&farebox.topic, &[event("acme", "0"), bad(0)]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 2);

    kafka.client.delete_topic(&farebox.dead_letter_topic);
    kafka.client.produce(&farebox.topic, &[event("acme", "1"), bad(1), event("acme", "2")]);
    wait_for_stopped(&instance, 1.0);
    assert_eq!(instance.metric("farebox_guards_tripped_total", &["kind=\"dead_letter\""]), Some(1.0));
    let log = instance.process.log();
    assert!(log.contains(" ERROR ") && log.contains("partition stopped until its rejected events can be kept"), "{log}");
    assert!(!topics(&kafka.client).contains(&farebox.dead_letter_topic));
    // Made again, and not fit: a compacted topic takes no records without a key.
    kafka.client.create_topic(&farebox.dead_letter_topic, 1, &[("cleanup.policy", "compact")]);
    wait_for_stopped(&instance, 1.0);
    set_topic(&kafka.client, &farebox.dead_letter_topic, "cleanup.policy", "delete");
    wait_for_stopped(&instance, 0.0);
    wait_for_received(clickhouse, &mut instance, &farebox.database, 5);

    set_topic(&kafka.client, &farebox.dead_letter_topic, "cleanup.policy", "compact");
    kafka.client.produce(&farebox.topic, &[event("acme", "3"), bad(2), event("acme", "4")]);
    wait_for_stopped(&instance, 1.0);
    // A stop while it stands still loses nothing.
    assert_eq!(instance.stop().code(), Some(0));
    set_topic(&kafka.client, &farebox.dead_letter_topic, "cleanup.policy", "delete");
    let mut instance = farebox.start();
    let seen = wait_for_received(clickhouse, &mut instance, &farebox.database, 8);
    assert_eq!((seen.accepted, seen.rejected, seen.duplicates), (5, 3, 0));
    wait_for_stopped(&instance, 0.0);
    let values: BTreeSet<_> = dead_letters(&kafka, &farebox).into_values().map(|letter| letter.value.unwrap()).collect();
    assert_eq!(values, BTreeSet::from([vec![b'{', 1], vec![b'{', 2]]));
    assert_eq!(rejected(clickhouse, &farebox).len(), 3);
    assert!(!instance.process.log().contains("CreateTime"), "the events topic was not made by `migrate`");
    assert_eq!(instance.stop().code(), Some(0));
}

#[test]
fn timestamps_that_no_clock_shows_are_only_times_out_of_range() {
    const YEAR_9999: i64 = 253_402_300_799_000;
    let (kafka, clickhouse) = (Kafka::shared(), ClickHouse::shared());
    let farebox = quick(kafka, clickhouse);
    let settings = [
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.after.max.ms", "9223372036854775807"),
        ("retention.ms", "-1"),
    ];
    kafka.client.create_topic(&farebox.topic, 1, &settings);
    farebox.run(&["migrate"]).expect_success();
    let mut instance = farebox.start();
    instance.wait_until_ready();
    let (mut messages, mut expected) = (Vec::new(), Vec::new());
    for (n, timestamp) in [-1, 1, YEAR_9999, i64::MAX, 4_294_967_296_000].into_iter().enumerate() {
        for (value, reason) in [(value_of(event("acme", &format!("t{n}"))), "time_out_of_range"), (b"{".to_vec(), "malformed")] {
            expected.push(reason);
            messages.push(Message { timestamp: Some(timestamp), ..Message::to(0, "k", value) });
        }
        let own = farebox::model::Timestamp::from_millis(timestamp);
        let at_own_time = super::quick::event_at("acme", &format!("o{n}"), own);
        // That far away no text says when.
        expected.push(if timestamp == i64::MAX { "bad_value" } else { "time_out_of_range" });
        messages.push(Message { timestamp: Some(timestamp), partition: Some(0), ..at_own_time });
        messages.push(Message { partition: Some(0), ..event("acme", &format!("good{n}")) });
        expected.push("");
    }
    kafka.client.produce(&farebox.topic, &messages);
    let seen = wait_for_received(clickhouse, &mut instance, &farebox.database, messages.len() as u64);
    assert_eq!((seen.accepted, seen.rejected), (5, 15));
    assert!(!instance.process.log().contains("panicked"), "{}", instance.process.log());
    assert_eq!(instance.stop().code(), Some(0));
    // In the table they are as old as they say, so those of 1970 leave it by age at once; the dead letters stay.
    let letters = dead_letters(kafka, &farebox);
    for (offset, reason) in expected.into_iter().enumerate() {
        let letter = letters.get(&i64::try_from(offset).unwrap());
        let found = letter.map_or(&b""[..], |letter| header(letter, "farebox.reason").unwrap());
        assert_eq!(found, reason.as_bytes(), "offset {offset}");
    }
    let future = format!(
        "SELECT count(), toString(min(received_at)) FROM {}.rejected_events WHERE received_at > now() + 86400",
        farebox.database
    );
    assert_eq!(clickhouse.query(&future), "9\t2105-12-31 00:00:00.000\n");
    // A second life judges the same log again, and finds nothing to contradict.
    let mut instance = farebox.start();
    instance.wait_until_ready();
    kafka.client.produce(&farebox.topic, &[event("acme", "last")]);
    wait_for_received(clickhouse, &mut instance, &farebox.database, messages.len() as u64 + 1);
    assert_eq!(instance.stop().code(), Some(0));
}
