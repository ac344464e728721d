//! What Kafka says: brokers, topics, and the settings of topics on which the promises rest.

use std::collections::HashMap;
use std::sync::Arc;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;

use super::{Finding, SILENCE_MAX};
use crate::config::Config;
use crate::publish::{Publisher, TopicSeen};
use crate::runtime;

/// An outage that a topic should outlive: a long weekend.
const OUTAGE_MS: i64 = 3 * 86_400_000;

/// What the brokers know of a topic.
struct Topic {
    name: String,
    partitions: usize,
    replicas_least: usize,
    without_leader: usize,
}

type Settings = HashMap<String, String>;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let kafka = &config.kafka;
    let away = |reason: &str| {
        let found = format!("{} cannot be reached: {reason}", kafka.brokers);
        vec![Finding::fail("Kafka", found, "start it, or set kafka.brokers to where it is")]
    };
    let publisher = match Publisher::new(&kafka.client_config(), &kafka.topic, &kafka.dead_letter_topic) {
        Ok(publisher) => Arc::new(publisher),
        Err(error) => return vec![Finding::fail("Kafka", error.to_string(), "mend [kafka] in the configuration")],
    };
    let topic = kafka.topic.clone();
    let asked = tokio::task::spawn_blocking(move || match publisher.see_topic(&topic, SILENCE_MAX) {
        TopicSeen::There | TopicSeen::Missing => Ok(seen(&publisher)),
        other => Err(other),
    });
    let (brokers, topics) = match asked.await {
        Ok(Ok(Ok(seen))) => seen,
        Ok(Err(TopicSeen::Refused(reason))) => {
            return vec![Finding::fail("Kafka", format!("{} answers", kafka.brokers), runtime::refused(&reason))];
        }
        Ok(Err(TopicSeen::Away(reason))) => return away(reason.as_deref().unwrap_or("no answer")),
        Ok(Err(_)) => return away("no answer"),
        Ok(Ok(Err(reason))) => return away(&reason),
        Err(error) => return away(&error.to_string()),
    };
    let find = |name: &str| topics.iter().find(|topic| topic.name == name);
    let mut findings = vec![];
    let settings = settings(config, brokers.first().copied()).await;
    let version = settings.as_ref().ok().and_then(|(_, _, broker)| broker.get("inter.broker.protocol.version"));
    let version = version.map_or("which tells no version".to_owned(), |version| format!("protocol {version}"));
    findings.push(Finding::ok("Kafka", format!("{} brokers at {}, {version}", brokers.len(), kafka.brokers)));
    let make = if kafka.create_topics { "run `farebox migrate`" } else { "make it (`kafka.create_topics` is off)" };
    for name in [&kafka.topic, &kafka.dead_letter_topic] {
        match find(name) {
            Some(topic) => findings.extend(of_topic(topic)),
            None => findings.push(Finding::fail(format!("topic {name}"), "does not exist", make)),
        }
    }
    if let Some(name) = kafka.balances_topic.as_deref().filter(|name| find(name).is_none()) {
        findings.push(Finding::warn(format!("topic {name}"), "does not exist, so balances are not published", make));
    }
    match settings {
        Ok((events, dead_letters, broker)) => {
            findings.extend(of_session(config, &broker));
            if let Some(topic) = find(&kafka.topic) {
                findings.extend(of_settings(config, &events));
                findings.extend(of_replicas(config, topic, &events));
            }
            if find(&kafka.dead_letter_topic).is_some() {
                findings.extend(of_dead_letters(config, &dead_letters));
            }
            let size_max = config.events.max_size.get();
            if let Some(max) =
                number(&dead_letters, "max.message.bytes").filter(|max| u64::try_from(*max).is_ok_and(|max| max < size_max))
            {
                findings.push(Finding::warn(
                    format!("topic {}", kafka.dead_letter_topic),
                    format!(
                        "max.message.bytes={max} is less than events.max_size: of large rejected events only the key is kept there"
                    ),
                    "raise it",
                ));
            }
        }
        Err(reason) => findings.push(Finding::warn(
            "settings of topics",
            format!("cannot be read: {reason}"),
            "allow DescribeConfigs on the topics",
        )),
    }
    findings
}

fn seen(publisher: &Publisher) -> Result<(Vec<i32>, Vec<Topic>), String> {
    let metadata = publisher.client().fetch_metadata(None, SILENCE_MAX).map_err(|error| error.to_string())?;
    let topic = |topic: &rdkafka::metadata::MetadataTopic| Topic {
        name: topic.name().to_owned(),
        partitions: topic.partitions().len(),
        replicas_least: topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
        without_leader: topic.partitions().iter().filter(|partition| partition.leader() < 0).count(),
    };
    Ok((metadata.brokers().iter().map(|broker| broker.id()).collect(), metadata.topics().iter().map(topic).collect()))
}

/// Of the events topic, the dead-letter topic, and a broker; of what does not exist, nothing.
async fn settings(config: &Config, broker: Option<i32>) -> Result<(Settings, Settings, Settings), String> {
    let admin: AdminClient<DefaultClientContext> = config.kafka.client_config().create().map_err(|error| error.to_string())?;
    let mut asked = vec![ResourceSpecifier::Topic(&config.kafka.topic), ResourceSpecifier::Topic(&config.kafka.dead_letter_topic)];
    asked.extend(broker.map(ResourceSpecifier::Broker));
    let options = AdminOptions::new().request_timeout(Some(SILENCE_MAX));
    let answers = admin.describe_configs(&asked, &options).await.map_err(|error| error.to_string())?;
    let mut answers = answers.into_iter().map(|answer| {
        let entries = answer.map(|resource| resource.entries).unwrap_or_default();
        entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect::<Settings>()
    });
    let mut next = || answers.next().unwrap_or_default();
    Ok((next(), next(), next()))
}

fn of_topic(topic: &Topic) -> Vec<Finding> {
    let check = || format!("topic {}", topic.name);
    let mut findings = vec![if topic.without_leader > 0 {
        let found = format!("{} of {} partitions have no leader", topic.without_leader, topic.partitions);
        Finding::fail(check(), found, "start the brokers that hold them")
    } else {
        Finding::ok(check(), format!("{} partitions", topic.partitions))
    }];
    if topic.replicas_least < 2 {
        findings.push(Finding::warn(
            check(),
            "one copy: events are gone with their broker's disk",
            "give it a replication factor of 3",
        ));
    }
    findings
}

fn number(settings: &Settings, name: &str) -> Option<i64> {
    settings.get(name)?.parse().ok()
}

/// A member whose session is shorter or longer than the brokers allow never gets into the group.
fn of_session(config: &Config, broker: &Settings) -> Option<Finding> {
    let session = config.kafka.session_timeout.millis();
    let (least, most) = (number(broker, "group.min.session.timeout.ms")?, number(broker, "group.max.session.timeout.ms")?);
    Some(if (least..=most).contains(&session) {
        Finding::ok("kafka.session_timeout", format!("{session} ms"))
    } else {
        Finding::fail(
            "kafka.session_timeout",
            format!("{session} ms, and the brokers allow {least} to {most}: no instance can join the group"),
            "set it within these, or group.min.session.timeout.ms of the brokers",
        )
    })
}

fn of_replicas(config: &Config, topic: &Topic, settings: &Settings) -> Option<Finding> {
    let least = number(settings, "min.insync.replicas")?;
    let check = format!("topic {} min.insync.replicas", config.kafka.topic);
    match topic.replicas_least {
        0 | 1 => None, // said already: one copy
        _ if least >= 2 => Some(Finding::ok(check, least.to_string())),
        replicas => Some(Finding::warn(
            check,
            format!("{least} of {replicas}: an event may be acknowledged by one broker alone, and go with it"),
            "set it to 2",
        )),
    }
}

fn of_dead_letters(config: &Config, settings: &Settings) -> Vec<Finding> {
    let check = |name: &str| format!("topic {} {name}", config.kafka.dead_letter_topic);
    let mut findings = Vec::new();
    if let Some(value) = settings.get("cleanup.policy").filter(|value| *value != "delete") {
        let found = format!("{value}: rejected events with the same key replace one another");
        findings.push(Finding::warn(check("cleanup.policy"), found, "set it to delete"));
    }
    let days = |millis: i64| millis / 86_400_000;
    findings.extend(number(settings, "retention.ms").map(|millis| match millis {
        0.. if days(millis) < 1 => Finding::warn(
            check("retention.ms"),
            format!("{millis}: after that, of a rejected event only the first 16 KiB and the key are left"),
            "raise it to days",
        ),
        0.. => Finding::ok(check("retention.ms"), format!("{millis}, whole rejected events are kept for {} days", days(millis))),
        _ => Finding::ok(check("retention.ms"), "for ever"),
    }));
    findings
}

fn of_settings(config: &Config, settings: &Settings) -> Vec<Finding> {
    let check = |name: &str| format!("topic {} {name}", config.kafka.topic);
    let mut findings = Vec::new();
    let mut hold = |name: &'static str, finding: &dyn Fn(&str) -> Finding| {
        if let Some(value) = settings.get(name) {
            findings.push(finding(value));
        }
    };
    let append_time = settings.get("message.timestamp.type").is_some_and(|value| value == "LogAppendTime");
    hold("message.timestamp.type", &|value| match value {
        "LogAppendTime" => Finding::ok(check("message.timestamp.type"), value),
        _ => Finding::warn(
            check("message.timestamp.type"),
            format!("{value}: limits on an event's age are only as good as the producers' clocks"),
            "set it to LogAppendTime",
        ),
    });
    hold("cleanup.policy", &|value| match value {
        "delete" => Finding::ok(check("cleanup.policy"), value),
        _ => Finding::fail(
            check("cleanup.policy"),
            format!("{value}: events with the same key replace one another"),
            "set it to delete",
        ),
    });
    let (window, age_max) = (config.dedupe.window.millis(), config.events.max_age.millis());
    hold("retention.ms", &|value| match value.parse::<i64>() {
        Ok(millis) if (0..window).contains(&millis) => Finding::fail(
            check("retention.ms"),
            format!("{value} is less than dedupe.window ({window} ms), which is rebuilt from the log: duplicates would be charged"),
            "raise it to days",
        ),
        Ok(millis) if (0..age_max).contains(&millis) && !append_time => Finding::warn(
            check("retention.ms"),
            format!(
                "{value} is less than events.max_age ({age_max} ms): late events with old timestamps may leave before they are read"
            ),
            "raise it, or set message.timestamp.type to LogAppendTime",
        ),
        Ok(millis) if (0..window.saturating_add(OUTAGE_MS)).contains(&millis) => Finding::warn(
            check("retention.ms"),
            format!("{value}: after an outage of that length less dedupe.window ({window} ms) events and the window are lost"),
            "raise it above the longest outage that you expect, plus dedupe.window",
        ),
        _ => Finding::ok(check("retention.ms"), value),
    });
    hold("retention.bytes", &|value| match value {
        "-1" => Finding::ok(check("retention.bytes"), value),
        _ => Finding::warn(
            check("retention.bytes"),
            format!("{value}: a burst may push out events before they are read"),
            "set it to -1 and limit by time alone",
        ),
    });
    hold("unclean.leader.election.enable", &|value| match value {
        "false" => Finding::ok(check("unclean.leader.election.enable"), value),
        _ => Finding::fail(
            check("unclean.leader.election.enable"),
            format!("{value}: acknowledged events may vanish, and then the partition stops"),
            "set it to false",
        ),
    });
    findings
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    fn settings(values: &[(&str, &str)]) -> Settings {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_session_that_the_brokers_do_not_allow_is_found() {
        let config = Config::from_toml("f", "[kafka]\nsession_timeout = \"3s\"").expect("a configuration");
        let brokers = |least| settings(&[("group.min.session.timeout.ms", least), ("group.max.session.timeout.ms", "1800000")]);
        let found = |least| of_session(&config, &brokers(least)).map(|finding| finding.state);
        assert_eq!((found("1000"), found("6000")), (Some(State::Ok), Some(State::Fail)));
        assert!(of_session(&config, &settings(&[])).is_none(), "brokers that do not tell");
    }

    #[test]
    fn a_retention_that_an_outage_outlives_is_warned_of() {
        let config = Config::from_toml("f", "").expect("the defaults");
        let found = |millis: &str| {
            of_settings(&config, &settings(&[("retention.ms", millis), ("message.timestamp.type", "LogAppendTime")]))
                .pop()
                .map(|of| of.state)
        };
        let day = 86_400_000;
        assert_eq!(found("60000"), Some(State::Fail), "shorter than the window");
        assert_eq!(found(&(2 * day).to_string()), Some(State::Warn));
        assert_eq!((found(&(7 * day).to_string()), found("-1")), (Some(State::Ok), Some(State::Ok)));
    }

    #[test]
    fn one_acknowledgement_is_too_few_where_there_are_copies() {
        let config = Config::from_toml("f", "").expect("the defaults");
        let topic = |replicas_least| Topic { name: "t".into(), partitions: 1, replicas_least, without_leader: 0 };
        let found = |replicas, least| {
            of_replicas(&config, &topic(replicas), &settings(&[("min.insync.replicas", least)])).map(|finding| finding.state)
        };
        assert_eq!((found(1, "1"), found(3, "1"), found(3, "2")), (None, Some(State::Warn), Some(State::Ok)));
    }
}
