//! The harness itself: what it says of itself holds.

use std::env;
use std::fs;
use std::path::Path;
use std::thread;

use super::servers::process::{self, Process, resident, state, was_killed};
use super::servers::{
    ClickHouse, Committed, Farebox, Folder, Kafka, Message, SOON, eventually, fetched, free_port, installation, run_folder, unique,
};

/// No such process, or an ended one whose parent has not looked yet.
fn gone(pid: u32) -> bool {
    matches!(state(pid), None | Some('Z'))
}

#[test]
fn a_broker_keeps_what_was_produced() {
    let client = &Kafka::shared().client;
    let topic = unique("records");
    client.create_topic(&topic, 2, &[("message.timestamp.type", "CreateTime")]);
    let bare = Message { partition: Some(1), ..Message::default() };
    let full = Message {
        headers: vec![("a".to_owned(), Some(vec![0, 255])), ("b".to_owned(), None), ("a".to_owned(), Some(vec![]))],
        timestamp: Some(1_750_000_000_123),
        ..Message::to(1, [0xff_u8], [0_u8, 1])
    };
    client.produce(&topic, &[bare, full.clone()]);

    let records = client.read(&topic, 1);
    assert_eq!(records.len(), 2);
    assert_eq!((records[0].offset, &records[0].key, &records[0].value), (0, &None, &None));
    assert_eq!(records[1].offset, 1);
    assert_eq!(records[1].timestamp, 1_750_000_000_123);
    assert_eq!((&records[1].key, &records[1].value, &records[1].headers), (&full.key, &full.value, &full.headers));
    assert_eq!(client.offsets(&topic, 0), (0, 0));
    assert_eq!(client.offsets(&topic, 1), (0, 2));
    assert_eq!(client.read(&topic, 0), vec![]);
}

#[test]
fn equal_keys_go_to_one_partition() {
    let client = &Kafka::shared().client;
    let topic = unique("keys");
    client.create_topic(&topic, 3, &[]);
    client.produce(&topic, &(0..30).map(|n| Message::new(format!("account-{}", n % 5), format!("{n}"))).collect::<Vec<_>>());
    let counts: Vec<usize> = (0..3).map(|partition| client.read(&topic, partition).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 30);
    assert!(counts.iter().all(|count| count % 6 == 0), "{counts:?}");
}

#[test]
fn a_trimmed_log_starts_later_and_a_deleted_topic_starts_anew() {
    let client = &Kafka::shared().client;
    let topic = unique("trimmed");
    client.create_topic(&topic, 1, &[]);
    client.produce(&topic, &[Message::new("k", "0"), Message::new("k", "1"), Message::new("k", "2")]);
    client.trim(&topic, 0, 2);
    assert_eq!(client.offsets(&topic, 0), (2, 3));
    assert_eq!(client.read(&topic, 0).len(), 1);

    client.delete_topic(&topic);
    client.create_topic(&topic, 1, &[]);
    assert_eq!(client.offsets(&topic, 0), (0, 0));
}

#[test]
fn a_commit_keeps_its_metadata() {
    let client = &Kafka::shared().client;
    let (topic, group) = (unique("committed"), unique("group"));
    client.create_topic(&topic, 1, &[]);
    assert_eq!(client.committed(&group, &topic, 0), None);
    client.commit(&group, &topic, 0, 7, "v1 9");
    assert_eq!(client.committed(&group, &topic, 0), Some(Committed { offset: 7, metadata: "v1 9".to_owned() }));
}

#[test]
fn records_and_commits_survive_the_brokers_kill() {
    let mut kafka = Kafka::start();
    kafka.client.create_topic("t", 1, &[]);
    kafka.client.produce("t", &[Message::new("k", "before")]);
    kafka.client.commit("g", "t", 0, 1, "m");
    kafka.kill9();
    kafka.restart();
    assert_eq!(kafka.client.committed("g", "t", 0).unwrap().offset, 1);
    kafka.client.produce("t", &[Message::new("k", "after")]);
    let values: Vec<_> = kafka.client.read("t", 0).into_iter().map(|record| record.value.unwrap()).collect();
    assert_eq!(values, [b"before".to_vec(), b"after".to_vec()]);

    kafka.stop();
    kafka.restart();
    assert_eq!(kafka.client.offsets("t", 0), (0, 2));
}

#[test]
fn three_brokers_outlive_one() {
    let mut cluster = Kafka::start_cluster(3);
    cluster.client.create_topic("t", 3, &[("replication", "3"), ("min.insync.replicas", "2")]);
    cluster.nodes[2].kill9();
    let messages: Vec<_> = (0..3).map(|partition| Message::to(partition, "k", "v")).collect();
    cluster.client.produce("t", &messages);
    for partition in 0..3 {
        assert_eq!(cluster.client.read("t", partition).len(), 1);
    }
}

#[test]
fn rows_survive_the_engines_kill() {
    let mut clickhouse = ClickHouse::start();
    let database = clickhouse.database();
    clickhouse
        .query(&format!("CREATE TABLE {database}.t (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS fsync_after_insert = 1"));
    clickhouse.query(&format!("INSERT INTO {database}.t SELECT number FROM numbers(1000)"));
    let pid = clickhouse.pid().unwrap();
    clickhouse.kill9();
    assert!(gone(pid));
    assert!(clickhouse.try_query("SELECT 1").is_err());
    clickhouse.restart();
    assert_eq!(clickhouse.query(&format!("SELECT count(), sum(n) FROM {database}.t")), "1000\t499500\n");
}

#[test]
fn a_repeated_token_inserts_nothing() {
    let clickhouse = ClickHouse::shared();
    let database = clickhouse.database();
    clickhouse.query(&format!(
        "CREATE TABLE {database}.t (n UInt64) ENGINE = MergeTree ORDER BY n \
         SETTINGS non_replicated_deduplication_window = 100, fsync_after_insert = 1, fsync_part_directory = 1"
    ));
    for value in [1, 2] {
        clickhouse.query(&format!(
            "INSERT INTO {database}.t SETTINGS async_insert = 0, insert_deduplicate = 1, insert_deduplication_token = 'x' VALUES ({value})"
        ));
    }
    assert_eq!(clickhouse.query(&format!("SELECT n FROM {database}.t")), "1\n");
}

#[test]
fn rows_come_typed_and_errors_in_the_servers_words() {
    #[derive(Debug, PartialEq, Eq, serde::Deserialize)]
    struct Row {
        n: u64,
        cost: String,
    }
    let clickhouse = ClickHouse::shared();
    let rows: Vec<Row> =
        clickhouse.rows("SELECT number + 18446744073709551614 AS n, toDecimal128('0.1', 9) AS cost FROM numbers(2)");
    assert_eq!(rows, [Row { n: u64::MAX - 1, cost: "0.1".to_owned() }, Row { n: u64::MAX, cost: "0.1".to_owned() }]);
    let error = clickhouse.try_query("SELECT * FROM nowhere").unwrap_err();
    assert!(error.contains("UNKNOWN_TABLE"), "{error}");
    // Fails after the first rows were sent with a 200.
    let late = clickhouse.try_query("SELECT throwIf(number = 300000) FROM numbers(1000000) SETTINGS max_block_size = 1000");
    assert!(late.is_err());
}

#[test]
fn a_taken_port_is_named() {
    use farebox::demo::embedded::Embedded;
    let folder = Folder::new("taken");
    let library = fetched("clickhouse/libchdb.so");
    let port = ClickHouse::shared().port();
    let error = Embedded::start_from(env!("CARGO_BIN_EXE_farebox").as_ref(), &library, folder.path(), port).unwrap_err();
    assert!(format!("{error:#}").contains(&format!("127.0.0.1:{port}")), "{error:#}");
}

#[test]
fn a_file_that_is_no_engine_says_so() {
    use farebox::demo::embedded::Embedded;
    let folder = Folder::new("no-engine");
    let library = folder.path().join("libchdb.so");
    let binary = Path::new(env!("CARGO_BIN_EXE_farebox"));
    let missing = Embedded::start_from(binary, &library, &folder.path().join("data"), free_port()).unwrap_err();
    assert!(format!("{missing:#}").contains("make fetch"), "{missing:#}");
    fs::write(&library, "not a library").unwrap();
    let broken = Embedded::start_from(binary, &library, &folder.path().join("data"), free_port()).unwrap_err();
    assert!(format!("{broken:#}").contains("ended while starting"), "{broken:#}");
}

#[test]
fn nothing_is_left_after_a_drop() {
    let mut kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let pids = [kafka.process().pid(), clickhouse.pid().unwrap()];
    for (name, pid) in ["Kafka", "ClickHouse"].iter().zip(pids) {
        let megabytes = resident(pid).unwrap() / 1_000_000;
        assert!(megabytes < 600, "{name} holds {megabytes} MB");
    }
    let folders = [kafka.folder().to_owned(), clickhouse.folder().to_owned()];
    assert!(folders.iter().all(|folder| folder.exists()));
    drop((kafka, clickhouse));
    assert!(pids.into_iter().all(gone));
    assert!(!folders.iter().any(|folder| folder.exists()));
}

/// Not a test: the process that the next test kills.
#[test]
#[ignore = "started by `servers_die_with_a_killed_test_process`"]
fn holder() {
    let Some(report) = env::var_os("FAREBOX_IT_HOLDER") else { return };
    let mut kafka = Kafka::start();
    let clickhouse = ClickHouse::start();
    let pids = format!("{} {} {}", kafka.process().pid(), clickhouse.pid().unwrap(), run_folder().display());
    let unfinished = Path::new(&report).with_extension("unfinished");
    fs::write(&unfinished, pids).unwrap();
    fs::rename(&unfinished, &report).unwrap();
    loop {
        thread::park();
    }
}

#[test]
fn servers_die_with_a_killed_test_process() {
    let folder = Folder::new("holder");
    let report = folder.path().join("report");
    let mut command = process::command(env::current_exe().unwrap());
    command.args(["--exact", "harness::holder", "--ignored", "--nocapture"]).env("FAREBOX_IT_HOLDER", &report);
    let mut holder = Process::start(command, &folder.path().join("log"));
    let pids = eventually(SOON, || {
        assert!(holder.ended().is_none(), "{}", holder.log());
        fs::read_to_string(&report)
    });
    let mut words = pids.split(' ');
    let servers = [(); 2].map(|()| words.next().unwrap().parse::<u32>().unwrap());
    let left = Path::new(words.next().unwrap());
    assert!(servers.iter().all(|pid| !gone(*pid)) && left.exists());

    holder.kill9();
    eventually(SOON, || if servers.into_iter().all(gone) && !left.exists() { Ok(()) } else { Err("something is left") });
}

#[test]
fn a_process_can_be_stopped_continued_and_ended() {
    let folder = Folder::new("signals");
    let mut command = process::command("sh");
    command.args(["-c", "trap 'echo ended; exit 3' TERM; echo ready; while :; do sleep 0.01; done"]);
    let mut process = Process::start(command, &folder.path().join("log"));
    eventually(SOON, || if process.log().contains("ready") { Ok(()) } else { Err(process.log()) });
    process.sigstop();
    process.sigterm();
    assert_eq!(process.ended(), None);
    process.sigcont();
    assert_eq!(process.wait(SOON).code(), Some(3));
    assert!(process.log().contains("ended"));

    let mut command = process::command("sh");
    command.args(["-c", "while :; do sleep 0.01; done"]);
    let mut process = Process::start(command, &folder.path().join("log"));
    process.kill9();
    assert!(was_killed(process.wait(SOON)));
}

#[test]
fn the_configuration_is_what_was_set() {
    let mut farebox = Farebox::new("127.0.0.1:1", "http://127.0.0.1:2");
    farebox.set("batch.max_age", "100ms").set("kafka.partitions", 3).set("kafka.properties.linger", "a\"b");
    let text = fs::read_to_string(farebox.config()).unwrap();
    let table: toml::Table = toml::from_str(&text).unwrap();
    assert_eq!(table["batch"]["max_age"].as_str(), Some("100ms"));
    assert_eq!(table["kafka"]["partitions"].as_integer(), Some(3));
    assert_eq!(table["kafka"]["properties"]["linger"].as_str(), Some("a\"b"));
    assert_eq!(table["kafka"]["topic"].as_str(), Some(farebox.topic.as_str()));
}

#[test]
#[allow(clippy::float_cmp)] // whole numbers
fn a_metric_is_the_sum_of_its_series() {
    let page = "# HELP f_x x\nf_x{a=\"1\",b=\"2\"} 3\nf_x{a=\"1\",b=\"3\"} 4\nf_xy 9\nf_y 5.5\n";
    assert_eq!(installation::sum(page, "f_x", &[]), Some(7.0));
    assert_eq!(installation::sum(page, "f_x", &["b=\"3\""]), Some(4.0));
    assert_eq!(installation::sum(page, "f_y", &[]), Some(5.5));
    assert_eq!(installation::sum(page, "f_z", &[]), None);
}

#[test]
#[allow(clippy::float_cmp)] // a whole number
fn an_installation_of_its_own_gets_ready_and_ends_in_order() {
    let farebox = Farebox::shared();
    farebox.run(&["migrate"]).expect_success();
    assert_eq!(Kafka::shared().client.offsets(&farebox.topic, 0), (0, 0));
    let mut instance = farebox.start();
    instance.wait_until_ready();
    assert_eq!(instance.metric("farebox_events_total", &["result=\"accepted\""]), Some(0.0));
    assert!(instance.stop().success(), "{}", instance.process.log());
}
