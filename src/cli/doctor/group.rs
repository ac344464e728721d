//! What the group committed, held against the database: whether the two belong together.

use super::{Finding, SILENCE_MAX};
use crate::cli::kafka::Kafka;
use crate::config::Config;
use crate::runtime;
use crate::store::{Settings, Store};

/// Nothing where one of them cannot be asked: that is said elsewhere.
pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    let settings = runtime::settings_of_store(config);
    let settings = Settings {
        connect_timeout: settings.connect_timeout.min(SILENCE_MAX),
        query_timeout: settings.query_timeout.min(SILENCE_MAX),
        ..settings
    };
    let Ok(store) = Store::new(&settings) else { return Vec::new() };
    let Ok(Some(source)) = store.source(&config.kafka.topic).await else { return Vec::new() };
    let Ok(ends) = store.ends(&source.source_epoch, &source.topic).await else { return Vec::new() };
    let of_kafka = config.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let kafka = Kafka::reach(&of_kafka)?;
        let promised = ends.into_iter().map(|(partition, end)| Ok((partition, end, kafka.promised(partition)?)));
        let promised: Result<Vec<_>, crate::source::kafka::Error> = promised.collect();
        Ok::<_, String>((kafka.topic_id.clone(), promised.map_err(|error| error.to_string())?))
    });
    let (topic_id, promised) = match asked.await {
        Ok(Ok(asked)) => asked,
        Ok(Err(reason)) => {
            let found = format!("what {} committed cannot be read: {reason}", config.kafka.group);
            return vec![Finding::warn("group", found, "allow Describe on the group")];
        }
        Err(_) => return Vec::new(),
    };
    let group = &config.kafka.group;
    let mut findings = Vec::new();
    if topic_id != source.topic_id {
        findings.push(Finding::fail(
            format!("topic {}", source.topic),
            format!("it was deleted and made again: its id is {topic_id}, the database knows {}", source.topic_id),
            "docs/exactly-once.md says what to do about `recreated`",
        ));
    }
    let beyond: Vec<String> = promised
        .iter()
        .filter_map(|(partition, end, promised)| {
            promised.offset.filter(|offset| offset > end).map(|offset| format!("partition {partition}: {offset} behind {end}"))
        })
        .collect();
    findings.push(if beyond.is_empty() {
        Finding::ok("group", format!("{group} has committed nothing that this database does not have"))
    } else {
        Finding::fail(
            "group",
            format!("{group} has committed more than this database has: {}", beyond.join(", ")),
            "point clickhouse.url and clickhouse.database to the database that the group wrote to, or restore it",
        )
    });
    findings
}
