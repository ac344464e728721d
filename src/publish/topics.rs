//! The topics that farebox needs: made when missing, never changed.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::time::sleep;

const TIMEOUT: Duration = Duration::from_secs(15);

/// A topic as it is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    /// Its name.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// How many replicas; −1 takes the broker's default.
    pub replication_factor: i32,
    /// Its settings, `name=value`.
    pub settings: Vec<(&'static str, &'static str)>,
}

/// A topic that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TopicsError {
    /// The brokers could not be asked.
    #[error("list the topics")]
    List(#[source] KafkaError),
    /// The brokers refused.
    #[error("create topic `{name}`: {code}")]
    Create {
        /// The topic.
        name: String,
        /// The broker's reason.
        code: RDKafkaErrorCode,
    },
    /// The request failed as a whole.
    #[error("create topics")]
    Request(#[source] KafkaError),
}

impl TopicsError {
    /// Whether the brokers refuse us: mended by editing the configuration.
    pub fn is_refusal(&self) -> bool {
        let code = match self {
            Self::Create { code, .. } => Some(*code),
            Self::List(error) | Self::Request(error) => error.rdkafka_error_code(),
        };
        matches!(
            code,
            Some(
                RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::SaslAuthenticationFailed
                    | RDKafkaErrorCode::ClusterAuthorizationFailed
                    | RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::InvalidReplicationFactor
                    | RDKafkaErrorCode::InvalidPartitions
            )
        )
    }
}

/// Makes the topics that do not exist yet, and names them. With `dry_run` it only names them.
///
/// # Errors
/// The first topic that the brokers refuse, unless somebody else made it meanwhile.
pub async fn ensure_topics(client: &ClientConfig, plans: &[TopicPlan], dry_run: bool) -> Result<Vec<String>, TopicsError> {
    let admin: AdminClient<DefaultClientContext> = client.create().map_err(TopicsError::List)?;
    let metadata = admin.inner().fetch_metadata(None, TIMEOUT).map_err(TopicsError::List)?;
    let missing: Vec<&TopicPlan> =
        plans.iter().filter(|plan| metadata.topics().iter().all(|topic| topic.name() != plan.name)).collect();
    let names = missing.iter().map(|plan| plan.name.clone()).collect();
    if dry_run || missing.is_empty() {
        return Ok(names);
    }
    let topics: Vec<NewTopic<'_>> = missing
        .iter()
        .map(|plan| {
            let new = NewTopic::new(&plan.name, plan.partitions, TopicReplication::Fixed(plan.replication_factor));
            plan.settings.iter().fold(new, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let options = AdminOptions::new().operation_timeout(Some(TIMEOUT));
    for answer in admin.create_topics(&topics, &options).await.map_err(TopicsError::Request)? {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => return Err(TopicsError::Create { name, code }),
        }
    }
    until_seen(&admin, &missing).await?;
    Ok(names)
}

/// A broker answers that a topic is made a moment before it knows it: whoever asks for it in between is told that there is none.
async fn until_seen(admin: &AdminClient<DefaultClientContext>, made: &[&TopicPlan]) -> Result<(), TopicsError> {
    let until = Instant::now() + TIMEOUT;
    loop {
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT).map_err(TopicsError::List)?;
        let is_there = |plan: &&TopicPlan| {
            let topic = metadata.topics().iter().find(|topic| topic.name() == plan.name);
            topic.is_some_and(|topic| {
                !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
            })
        };
        if made.iter().all(is_there) || Instant::now() >= until {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Whether the broker stamps the topic's records itself (`message.timestamp.type=LogAppendTime`), so that timestamps never fall.
///
/// # Errors
/// No answer, or a refusal.
pub async fn has_append_time(client: &ClientConfig, topic: &str) -> Result<bool, KafkaError> {
    let admin: AdminClient<DefaultClientContext> = client.create()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let answers = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
    let append = answers.into_iter().flatten().any(|resource| {
        resource.get("message.timestamp.type").is_some_and(|entry| entry.value.as_deref() == Some("LogAppendTime"))
    });
    Ok(append)
}
