//! Kafka in this process: librdkafka's mock cluster, which speaks the real protocol on a loopback port.
//!
//! Absent on purpose: disks, admin requests, ids of topics, offsets by time. What is in it goes with the process.
#![allow(unsafe_code)] // one setting of the mock cluster has no safe name

use std::time::Duration;

use anyhow::{Context, bail};
use rdkafka::ClientConfig;
use rdkafka::bindings::{rd_kafka_handle_mock_cluster, rd_kafka_mock_group_initial_rebalance_delay_ms};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use super::day::Record;

const PARTITIONS: i32 = 3;
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(20);

/// The id that the runtime takes for the topic's: the mock cluster gives topics none.
pub const TOPIC_ID: &str = "mock";

/// One broker and the producer that it belongs to.
pub struct Broker {
    producer: BaseProducer,
}

impl Broker {
    /// A broker with these topics, on a free port.
    pub fn start(topics: &[&str]) -> anyhow::Result<Self> {
        let mut client = ClientConfig::new();
        client.set("test.mock.num.brokers", "1").set("linger.ms", "5");
        let producer: BaseProducer = client.create().context("start Kafka in this process")?;
        let broker = Self { producer };
        for topic in topics {
            broker.cluster()?.create_topic(topic, PARTITIONS, 1).with_context(|| format!("make the topic `{topic}`"))?;
        }
        // A group usually waits three seconds for further members; nobody else comes.
        // SAFETY: the handle is the producer's, which lives; the cluster is its own, as `cluster` has shown, and the setting is a number.
        unsafe {
            let cluster = rd_kafka_handle_mock_cluster(broker.producer.client().native_ptr());
            rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0);
        }
        Ok(broker)
    }

    fn cluster(&self) -> anyhow::Result<rdkafka::mocking::MockCluster<'_, rdkafka::producer::DefaultProducerContext>> {
        self.producer.client().mock_cluster().context("the producer has no broker of its own")
    }

    /// Where it listens, as `kafka.brokers` wants it.
    pub fn address(&self) -> anyhow::Result<String> {
        Ok(self.cluster()?.bootstrap_servers())
    }

    /// Publishes and waits until all is acknowledged.
    pub fn publish(&self, topic: &str, records: &[Record]) -> anyhow::Result<()> {
        for record in records {
            self.send(topic, record)?;
        }
        self.producer.flush(ACKNOWLEDGED_WITHIN).context("publish the events")?;
        if self.producer.in_flight_count() > 0 {
            bail!("Kafka in this process took too long to take the events");
        }
        Ok(())
    }

    /// Publishes and waits for nothing.
    pub fn send(&self, topic: &str, Record { at, key, value }: &Record) -> anyhow::Result<()> {
        let mut record = BaseRecord::to(topic).key(key).payload(value).timestamp(at.millis());
        while let Err((error, refused)) = self.producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error).context("publish an event");
            }
            self.producer.poll(Duration::from_millis(10));
            record = refused;
        }
        self.producer.poll(Duration::ZERO); // hears the acknowledgements
        Ok(())
    }
}
