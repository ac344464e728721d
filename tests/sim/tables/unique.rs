//! Entries that are unique by key: stops and sources, stored by the rule of `store::unique`.

use std::cmp::Reverse;
use std::sync::Arc;

use farebox::store::{Error, Insert, Source, Stop};

use super::Client;
use super::rows::Rows;
use super::state::{Part, Parts};

const BURNT_MAX: usize = 9;
const SENDS_MAX: usize = 3;

/// All sources.
pub fn sources(parts: &[Arc<Part>]) -> Vec<Source> {
    let of = |part: &Arc<Part>| match &part.rows {
        Rows::Sources(rows) => rows.clone(),
        _ => Vec::new(),
    };
    parts.iter().flat_map(of).collect()
}

/// All rows of stops.
pub fn stops(parts: &[Arc<Part>]) -> Vec<Stop> {
    let of = |part: &Arc<Part>| match &part.rows {
        Rows::Stops(rows) => rows.clone(),
        _ => Vec::new(),
    };
    parts.iter().flat_map(of).collect()
}

pub fn key_of_source(source: &Source) -> String {
    format!("{}/{}", source.topic, source.source_epoch)
}

pub fn key_of_stop(stop: &Stop) -> String {
    format!("{}/{}/{}/{}/{}", stop.source_epoch, stop.topic, stop.partition, stop.at.millis(), stop.cleared)
}

/// The newest of each partition and source epoch, when it is not cleared.
pub fn standing(mut stops: Vec<Stop>) -> Vec<Stop> {
    stops.sort_by_key(|stop| Reverse((stop.at, stop.cleared)));
    let mut newest: Vec<Stop> = Vec::new();
    for stop in stops {
        if newest.iter().all(|seen| (seen.partition, &seen.source_epoch) != (stop.partition, &stop.source_epoch)) {
            newest.push(stop);
        }
    }
    newest.retain(|stop| stop.cleared == 0);
    newest.sort_by(|a, b| (a.partition, &a.source_epoch).cmp(&(b.partition, &b.source_epoch)));
    newest
}

fn has_key(rows: &Rows, key: &str) -> bool {
    match rows {
        Rows::Sources(rows) => rows.iter().any(|row| key_of_source(row) == key),
        Rows::Stops(rows) => rows.iter().any(|row| key_of_stop(row) == key),
        _ => false,
    }
}

impl Client {
    /// Reads a table of entries.
    pub(super) async fn entries<T>(
        &self,
        name: &'static str,
        table: &'static str,
        of: impl FnOnce(&[Arc<Part>]) -> Vec<T> + Send,
    ) -> Result<Vec<T>, Error> {
        let mut parts = Parts::new();
        self.question(name, &[], |_| parts = self.read(table)).await?;
        Ok(of(&parts))
    }

    /// Stores an entry unless its key is there; gives what is there.
    pub(super) async fn insert_unique(&self, table: &'static str, key: &str, rows: Rows) -> Result<Vec<Rows>, Error> {
        let under_key = || {
            self.entries("insert_unique", table, |parts| {
                parts.iter().filter(|part| has_key(&part.rows, key)).map(|part| part.rows.clone()).collect()
            })
        };
        let there = under_key().await?;
        if !there.is_empty() {
            return Ok(there);
        }
        for burnt in 0..=BURNT_MAX {
            let token = if burnt == 0 { format!("{table}/{key}") } else { format!("{table}/{key}/r{burnt}") };
            let mut sends = 1;
            while let Insert::Doubt(error) = self.send(table, &token, rows.clone()).await {
                if sends == SENDS_MAX {
                    return Err(error);
                }
                sends += 1;
            }
            let there = under_key().await?;
            if !there.is_empty() {
                return Ok(there);
            }
        }
        Err(Error::Burnt { table: table.to_owned(), key: key.to_owned() })
    }
}
