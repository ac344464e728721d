//! Apache Kafka: brokers in KRaft combined mode, and a client for what tests do to topics.
//!
//! Measured on 2 cores: ready in 1.0 s from an empty folder with the class archive (3–5 s without), back after `kill -9` in 3 s,
//! 300 MB each. The archive is made once, in 10 s, beside the jars; it depends on the jars' paths and on the Java.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::process::{self, Process};
use super::{Folder, SOON, eventually, fetched, free_port, lock};

/// One broker with a folder of its own, controller and broker in one process.
#[derive(Debug)]
pub struct Kafka {
    // Before the folder: killed first, removed then.
    process: Option<Process>,
    folder: Folder,
    pub client: Client,
    /// As in production: the second compiler and a gigabyte of heap.
    is_fast: bool,
}

/// Several brokers, each controller too. Topics are replicated as far as they ask for.
#[derive(Debug)]
pub struct Cluster {
    pub nodes: Vec<Kafka>,
    pub client: Client,
}

struct Node {
    id: usize,
    port: u16,
    controller_port: u16,
}

impl Kafka {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With properties of the broker over those of the harness.
    pub fn start_with(properties: &[(&str, &str)]) -> Self {
        let node = Node { id: 1, port: free_port(), controller_port: free_port() };
        let mut kafka = Self::make(&node, std::slice::from_ref(&node), properties, &formatted());
        kafka.restart();
        kafka
    }

    /// One that is to be measured: it starts slower and runs as in production.
    pub fn start_fast() -> Self {
        let node = Node { id: 1, port: free_port(), controller_port: free_port() };
        let mut kafka = Self { is_fast: true, ..Self::make(&node, std::slice::from_ref(&node), &[], &formatted()) };
        kafka.restart();
        kafka
    }

    /// A broker with a second way in, on the port `own`: who comes there is told to come back to the port `advertised`, a proxy's.
    pub fn start_with_second_way(own: u16, advertised: u16) -> Self {
        let node = Node { id: 1, port: free_port(), controller_port: free_port() };
        let listeners =
            format!("PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{},SECOND://127.0.0.1:{own}", node.port, node.controller_port);
        let all = format!("PLAINTEXT://127.0.0.1:{},SECOND://127.0.0.1:{advertised}", node.port);
        let properties = [
            ("listeners", listeners.as_str()),
            ("advertised.listeners", &all),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECOND:PLAINTEXT"),
        ];
        let mut kafka = Self::make(&node, std::slice::from_ref(&node), &properties, &formatted());
        kafka.restart();
        kafka
    }

    /// A broker with the properties that an image makes of its environment (`KAFKA_NODE_ID` is `node.id`), but for ports and folders. Clients come by OUTSIDE.
    pub fn start_from_environment(variables: &[(&str, &str)]) -> Self {
        let node = Node { id: 1, port: free_port(), controller_port: free_port() };
        let (inside, outside, controller) =
            (free_port().to_string(), node.port.to_string(), format!("127.0.0.1:{}", node.controller_port));
        let properties: Vec<(String, String)> = variables
            .iter()
            .filter(|(name, _)| !matches!(*name, "KAFKA_LOG_DIRS" | "KAFKA_HEAP_OPTS"))
            .map(|(name, value)| {
                let name = name.trim_start_matches("KAFKA_").to_lowercase().replace('_', ".");
                let value = value.replace("kafka:19092", &format!("127.0.0.1:{inside}")).replace("localhost:9093", &controller);
                let value =
                    value.replace("://:19092", &format!("://127.0.0.1:{inside}")).replace("://:9093", &format!("://{controller}"));
                (
                    name,
                    value
                        .replace("://:9092", &format!("://127.0.0.1:{outside}"))
                        .replace("127.0.0.1:9092", &format!("127.0.0.1:{outside}")),
                )
            })
            .collect();
        let properties: Vec<(&str, &str)> = properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut kafka = Self::make(&node, std::slice::from_ref(&node), &properties, &formatted());
        kafka.restart();
        kafka
    }

    /// A broker that lets in only who knows a name and a password, by SASL PLAIN without encryption.
    pub fn start_with_password(user: &str, password: &str) -> Self {
        let login = "org.apache.kafka.common.security.plain.PlainLoginModule";
        let users = format!("{login} required username=\"{user}\" password=\"{password}\" user_{user}=\"{password}\";");
        let properties = [
            ("listener.security.protocol.map", "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
            ("sasl.enabled.mechanisms", "PLAIN"),
            ("sasl.mechanism.inter.broker.protocol", "PLAIN"),
            ("listener.name.plaintext.plain.sasl.jaas.config", &users),
        ];
        let node = Node { id: 1, port: free_port(), controller_port: free_port() };
        let mut kafka = Self::make(&node, std::slice::from_ref(&node), &properties, &formatted());
        kafka.client.password = Some((user.to_owned(), password.to_owned()));
        kafka.restart();
        kafka
    }

    /// A broker with a second way in, over TLS with a certificate and its key, for whoever knows a name and a password by SASL SCRAM. Says where.
    pub fn start_secure(certificate: &Path, key: &Path, user: &str, password: &str) -> (Self, String) {
        let node = Node { id: 1, port: free_port(), controller_port: free_port() };
        let secure = format!("127.0.0.1:{}", free_port());
        let listeners =
            format!("PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{},SECURE://{secure}", node.port, node.controller_port);
        let all = format!("PLAINTEXT://127.0.0.1:{},SECURE://{secure}", node.port);
        let folder = Folder::new("keystore");
        let keystore = folder.path().join("keystore.pem");
        fs::write(&keystore, fs::read_to_string(key).unwrap() + &fs::read_to_string(certificate).unwrap()).unwrap();
        let properties = [
            ("listeners", listeners.as_str()),
            ("advertised.listeners", &all),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL"),
            ("listener.name.secure.sasl.enabled.mechanisms", "SCRAM-SHA-512"),
            (
                "listener.name.secure.scram-sha-512.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            ),
            ("listener.name.secure.ssl.keystore.type", "PEM"),
            ("listener.name.secure.ssl.keystore.location", keystore.to_str().unwrap()),
        ];
        let mut kafka = Self::make(&node, std::slice::from_ref(&node), &properties, &formatted());
        kafka.restart();
        let mut tool = java();
        tool.args(["kafka.admin.ConfigCommand", "--bootstrap-server", kafka.brokers(), "--alter", "--entity-type", "users"]);
        tool.args(["--entity-name", user, "--add-config", &format!("SCRAM-SHA-512=[password={password}]")]);
        let output = tool.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (kafka, secure)
    }

    /// The one that tests share which kill nothing; each takes topics and groups of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    pub fn start_cluster(brokers: usize) -> Cluster {
        let bootstrap = formatted();
        let nodes: Vec<Node> = (1..=brokers).map(|id| Node { id, port: free_port(), controller_port: free_port() }).collect();
        let factor = brokers.to_string();
        let replicated = [
            ("offsets.topic.replication.factor", factor.as_str()),
            ("transaction.state.log.replication.factor", factor.as_str()),
            ("default.replication.factor", factor.as_str()),
        ];
        let mut cluster: Vec<Self> = nodes.iter().map(|node| Self::make(node, &nodes, &replicated, &bootstrap)).collect();
        cluster.iter_mut().for_each(Self::launch);
        let brokers: Vec<&str> = cluster.iter().map(|node| node.client.brokers.as_str()).collect();
        let client = Client::new(&brokers.join(","));
        client.wait_for_brokers(cluster.len());
        Cluster { nodes: cluster, client }
    }

    fn make(node: &Node, nodes: &[Node], properties: &[(&str, &str)], bootstrap: &Path) -> Self {
        let folder = Folder::new("kafka");
        let log = folder.path().join("log");
        fs::create_dir(&log).unwrap();
        // A formatted folder is these two files; to copy them saves the start of another Java.
        fs::copy(bootstrap, log.join("bootstrap.checkpoint")).unwrap();
        let id = node.id;
        let meta = format!("version=1\ncluster.id={CLUSTER_ID}\nnode.id={id}\ndirectory.id=farebox-test-node-{id:03}A\n");
        fs::write(log.join("meta.properties"), meta).unwrap();
        fs::write(folder.path().join("server.properties"), server_properties(node, nodes, properties, &log)).unwrap();
        Self { process: None, folder, client: Client::new(&format!("127.0.0.1:{}", node.port)), is_fast: false }
    }

    pub fn brokers(&self) -> &str {
        &self.client.brokers
    }

    /// Starts it on its data and its port, after [`Self::kill9`] or instead, and waits until it answers.
    pub fn restart(&mut self) {
        self.kill9();
        self.launch();
        let client = self.client.clone();
        let process = self.process.as_mut().expect("launched");
        eventually(SOON, || match process.ended() {
            Some(status) => panic!("Kafka ended while starting ({status}):\n{}", process.log()),
            None => TcpStream::connect(&client.brokers),
        });
        client.wait_for_brokers(1);
    }

    /// Starts it and waits for nothing: a member of a cluster answers only when its quorum stands.
    pub fn launch(&mut self) {
        let mut java = if self.is_fast { fast_java() } else { java() };
        java.args(["-Xshare:auto", "-Xlog:disable", "-Xlog:all=error:stderr"])
            .arg(format!("-XX:SharedArchiveFile={}", archive().display()))
            .arg("kafka.Kafka")
            .arg(self.folder.path().join("server.properties"));
        self.process = Some(Process::start(java, &self.folder.path().join("kafka.log")));
    }

    pub fn kill9(&mut self) {
        self.process = None;
    }

    /// Asks it to end in order, and waits.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.sigterm();
            process.wait(SOON);
        }
    }

    /// Its data, logs and `server.properties`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// The running process, for signals.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the broker was started")
    }
}

const CLUSTER_ID: &str = "farebox-test-cluster-A";

fn server_properties(node: &Node, nodes: &[Node], properties: &[(&str, &str)], log: &Path) -> String {
    let voters: Vec<String> = nodes.iter().map(|node| format!("{}@127.0.0.1:{}", node.id, node.controller_port)).collect();
    let (id, port, controller) = (node.id.to_string(), node.port, node.controller_port);
    let listeners = format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}");
    let (voters, advertised, log) = (voters.join(","), format!("PLAINTEXT://127.0.0.1:{port}"), log.display().to_string());
    let mut all = BTreeMap::from([
        ("process.roles", "broker,controller"),
        ("node.id", &*id),
        ("controller.quorum.voters", &*voters),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", &*listeners),
        ("advertised.listeners", &*advertised),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
        ("inter.broker.listener.name", "PLAINTEXT"),
        ("log.dirs", &*log),
        // A topic that nobody made is a test's mistake.
        ("auto.create.topics.enable", "false"),
        ("offsets.topic.num.partitions", "1"),
        ("offsets.topic.replication.factor", "1"),
        ("transaction.state.log.num.partitions", "1"),
        ("transaction.state.log.replication.factor", "1"),
        ("transaction.state.log.min.isr", "1"),
        // Groups form at once, and members may be declared dead sooner than in 6 s.
        ("group.initial.rebalance.delay.ms", "0"),
        ("group.min.session.timeout.ms", "1000"),
        // After kill -9 the old registration stands in the way for this long (default 9 s).
        ("broker.session.timeout.ms", "2000"),
        ("broker.heartbeat.interval.ms", "500"),
        // Retention works within a second instead of five minutes.
        ("log.initial.task.delay.ms", "500"),
        ("log.retention.check.interval.ms", "500"),
        // 128 MB by default, half of the heap.
        ("log.cleaner.dedupe.buffer.size", "4194304"),
        ("num.network.threads", "2"),
        ("num.io.threads", "2"),
        ("background.threads", "2"),
    ]);
    all.extend(properties.iter().copied());
    all.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn java() -> Command {
    let mut java = process::command("java");
    // Loopback and IPv4 alone; the tests share two cores, so neither parallel collectors nor the second compiler pay.
    java.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-Djava.net.preferIPv4Stack=true"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
        .arg("-cp")
        .arg(fetched("kafka/lib").join("*"));
    java
}

/// Kafka's own tools and a broker that is measured: as Java comes, but for the heap.
pub fn fast_java() -> Command {
    let mut java = process::command("java");
    java.args(["-Xmx1g", "-Djava.net.preferIPv4Stack=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .arg(fetched("kafka/lib").join("*"));
    java
}

/// The classes of a started broker as a memory image. Made by whoever comes first; the others wait for it.
fn archive() -> PathBuf {
    static ARCHIVE: OnceLock<PathBuf> = OnceLock::new();
    let made = ARCHIVE.get_or_init(|| {
        let folder = fetched("kafka");
        let archive = folder.join(format!("classes-{}.jsa", java_version()));
        let guard = File::create(folder.join("archive.lock")).unwrap();
        guard.lock().unwrap();
        if !archive.exists() || !folder.join("bootstrap.checkpoint").exists() {
            make_archive(&archive, &folder.join("bootstrap.checkpoint"));
        }
        archive
    });
    made.clone()
}

/// What `StorageTool format` writes, beside the archive, which is made with it.
fn formatted() -> PathBuf {
    archive().with_file_name("bootstrap.checkpoint")
}

/// Which Java it is without starting it: the file behind the name on the PATH, and when it was put there.
fn java_version() -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    let java = env::split_paths(&path).map(|folder| folder.join("java")).find(|java| java.is_file());
    let java = java.expect("java is on the PATH").canonicalize().unwrap();
    let since = java.metadata().unwrap().modified().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let folder = java.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    format!("{folder}-{since}")
}

fn make_archive(archive: &Path, bootstrap: &Path) {
    let node = Node { id: 1, port: free_port(), controller_port: free_port() };
    let folder = Folder::new("kafka-archive");
    let (log, file) = (folder.path().join("log"), folder.path().join("server.properties"));
    fs::write(&file, server_properties(&node, std::slice::from_ref(&node), &[], &log)).unwrap();
    let mut format = java();
    format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"]).arg(&file);
    let mut format = Process::start(format, &folder.path().join("format.log"));
    assert!(format.wait(SOON).success(), "format the broker's folder:\n{}", format.log());
    fs::copy(log.join("bootstrap.checkpoint"), bootstrap).unwrap();

    let unfinished = archive.with_extension("unfinished");
    let mut broker = java();
    broker.arg(format!("-XX:ArchiveClassesAtExit={}", unfinished.display())).arg("kafka.Kafka").arg(&file);
    let mut broker = Process::start(broker, &folder.path().join("kafka.log"));
    let client = Client::new(&format!("127.0.0.1:{}", node.port));
    client.wait_for_brokers(1);
    // What tests do, so that its classes are in the archive too.
    client.create_topic("t", 1, &[]);
    client.produce("t", &[Message::to(0, b"k", b"v")]);
    client.read("t", 0);
    client.commit("g", "t", 0, 1, "");
    client.delete_topic("t");
    broker.sigterm();
    broker.wait(SOON);
    fs::rename(&unfinished, archive).unwrap_or_else(|error| panic!("no class archive ({error}):\n{}", broker.log()));
}

/// A record to be produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// None: by the key, as Java clients do.
    pub partition: Option<i32>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds; none: now. A topic with `LogAppendTime` overwrites it.
    pub timestamp: Option<i64>,
}

impl Message {
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    pub fn to(partition: i32, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { partition: Some(partition), ..Self::new(key, value) }
    }
}

/// A record as it lies in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// What a group committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub metadata: String,
}

/// Speaks to brokers. Cheap to make; each call opens connections of its own, so nothing lingers over a broker's death.
#[derive(Clone, Debug)]
pub struct Client {
    pub brokers: String,
    /// User and password, where a broker asks for them.
    password: Option<(String, String)>,
}

impl Client {
    pub fn new(brokers: &str) -> Self {
        Self { brokers: brokers.to_owned(), password: None }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("broker.address.family", "v4")
            .set("reconnect.backoff.ms", "10")
            .set("reconnect.backoff.max.ms", "100");
        if let Some((user, password)) = &self.password {
            config.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "PLAIN");
            config.set("sasl.username", user).set("sasl.password", password);
        }
        config
    }

    fn consumer(&self, group: &str) -> BaseConsumer {
        self.config()
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("auto.offset.reset", "error")
            .set("fetch.queue.backoff.ms", "10")
            .set("fetch.wait.max.ms", "10")
            .create()
            .expect("make a consumer")
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().expect("make an admin client")
    }

    /// Returns when so many brokers are there.
    pub fn wait_for_brokers(&self, count: usize) {
        let consumer = self.consumer("it");
        eventually(SOON, || match consumer.fetch_metadata(None, Duration::from_secs(1)) {
            Ok(metadata) if metadata.brokers().len() >= count => Ok(()),
            Ok(metadata) => Err(format!("{} brokers of {count}", metadata.brokers().len())),
            Err(error) => Err(error.to_string()),
        });
    }

    /// Makes a topic, and waits until it has leaders. `settings`: its configuration, and `replication` for the factor.
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin = self.admin();
        let factor = settings.iter().find(|(key, _)| *key == "replication").map_or(-1, |(_, factor)| factor.parse().unwrap());
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(factor));
        for (key, value) in settings.iter().filter(|(key, _)| *key != "replication") {
            topic = topic.set(key, value);
        }
        eventually(SOON, || {
            let result = block_on(admin.create_topics([&topic], &options())).map_err(|error| error.to_string())?;
            match &result[0] {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok(()),
                Err((_, code)) => Err(format!("create topic {name}: {code}")),
            }
        });
        let consumer = self.consumer("it");
        eventually(SOON, || {
            let metadata = consumer.fetch_metadata(Some(name), Duration::from_secs(1)).map_err(|error| error.to_string())?;
            let led = metadata.topics()[0].partitions().iter().filter(|partition| partition.leader() >= 0).count();
            if led == usize::try_from(partitions).unwrap() { Ok(()) } else { Err(format!("{led} leaders of {partitions}")) }
        });
    }

    /// Deletes a topic, and waits until nobody knows it any more.
    pub fn delete_topic(&self, name: &str) {
        let result = block_on(self.admin().delete_topics(&[name], &options())).expect("delete a topic");
        assert!(result[0].is_ok(), "delete topic {name}: {result:?}");
        let consumer = self.consumer("it");
        eventually(SOON, || {
            let metadata = consumer.fetch_metadata(None, Duration::from_secs(1)).map_err(|error| error.to_string())?;
            if metadata.topics().iter().any(|topic| topic.name() == name) { Err("still there".to_owned()) } else { Ok(()) }
        });
    }

    /// Removes everything before an offset, as retention does, and waits until the log starts there.
    pub fn trim(&self, topic: &str, partition: i32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        let result = block_on(self.admin().delete_records(&offsets, &options())).expect("delete records");
        for element in result.elements() {
            element.error().unwrap_or_else(|error| panic!("trim {topic}/{partition}: {error}"));
        }
        eventually(SOON, || match self.offsets(topic, partition) {
            (start, _) if start == before => Ok(()),
            (start, _) => Err(format!("starts at {start}")),
        });
    }

    /// Where the log of a partition starts and ends.
    pub fn offsets(&self, topic: &str, partition: i32) -> (i64, i64) {
        watermarks(&self.consumer("it"), topic, partition)
    }

    /// Produces in order, idempotently, and returns when everything is acknowledged.
    pub fn produce(&self, topic: &str, messages: &[Message]) {
        let failures = Failures::default();
        let producer: BaseProducer<Failures> = self
            .config()
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("compression.type", "lz4")
            .set("partitioner", "murmur2_random")
            .set("message.max.bytes", "8388608")
            .create_with_context(failures.clone())
            .expect("make a producer");
        // A producer that knows no leader yet finds it by a timer of a second.
        eventually(SOON, || producer.client().fetch_metadata(Some(topic), Duration::from_secs(5)));
        for message in messages {
            let mut headers = OwnedHeaders::new_with_capacity(message.headers.len());
            for (key, value) in &message.headers {
                headers = headers.insert(Header { key, value: value.as_ref() });
            }
            let mut record = BaseRecord::<[u8], [u8]>::to(topic).headers(headers);
            record.partition = message.partition;
            record.key = message.key.as_deref();
            record.payload = message.value.as_deref();
            record.timestamp = message.timestamp;
            while let Err((error, back)) = producer.send(record) {
                let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
                assert!(error == full, "produce to {topic}: {error}");
                record = back;
                producer.poll(Duration::from_millis(10));
            }
            producer.poll(Duration::ZERO);
        }
        producer.flush(SOON).expect("flush the producer");
        let failures = lock(&failures.0);
        assert!(failures.is_empty(), "produce to {topic}: {failures:?}");
    }

    /// The whole of a partition, aborted records left out.
    pub fn read(&self, topic: &str, partition: i32) -> Vec<Read> {
        let consumer = self.consumer("it");
        let mut from = TopicPartitionList::new();
        // Asked with this consumer: one that knows no leader yet finds it by a timer of a second.
        let (start, _) = watermarks(&consumer, topic, partition);
        from.add_partition_offset(topic, partition, Offset::Offset(start)).unwrap();
        consumer.assign(&from).expect("assign");
        let mut records = Vec::new();
        loop {
            match consumer.poll(SOON) {
                Some(Ok(message)) => records.push(Read {
                    offset: message.offset(),
                    timestamp: message.timestamp().to_millis().expect("a timestamp"),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    headers: message.headers().map_or_else(Vec::new, |headers| {
                        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
                    }),
                }),
                Some(Err(KafkaError::PartitionEOF(_))) => return records,
                // One of several brokers is away: the client goes to another.
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BrokerTransportFailure))) => {}
                Some(Err(error)) => panic!("read {topic}/{partition}: {error}"),
                None => panic!("read {topic}/{partition}: nothing within {SOON:?} after {} records", records.len()),
            }
        }
    }

    /// What a group committed for a partition, if anything.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<Committed> {
        let consumer = self.consumer(group);
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, partition);
        let answer = eventually(SOON, || consumer.committed_offsets(asked.clone(), Duration::from_secs(5)));
        let element = answer.find_partition(topic, partition)?;
        let Offset::Offset(offset) = element.offset() else { return None };
        Some(Committed { offset, metadata: element.metadata().to_owned() })
    }

    /// Commits into a group without being its member, as a stranger may when it is empty.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, offset: i64, metadata: &str) {
        let consumer = self.consumer(group);
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(topic, partition);
        element.set_offset(Offset::Offset(offset)).unwrap();
        element.set_metadata(metadata);
        eventually(SOON, || consumer.commit(&list, rdkafka::consumer::CommitMode::Sync));
    }
}

fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    eventually(SOON, || consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)))
}

/// What could not be delivered, and why.
#[derive(Clone, Default)]
struct Failures(Arc<Mutex<Vec<String>>>);

impl ClientContext for Failures {}

impl ProducerContext for Failures {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            lock(&self.0).push(error.to_string());
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(Duration::from_secs(10))).operation_timeout(Some(Duration::from_secs(10)))
}

/// The admin client has threads of its own; waiting for its answer needs no runtime, so it also works inside one.
fn block_on<T: Send>(future: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future));
        waiting.join().expect("wait for an answer")
    })
}
