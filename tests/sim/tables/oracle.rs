//! What the tables hold, read by who compares them with a naive fold.

use std::collections::{BTreeMap, BTreeSet};

use farebox::store::Stop;

use super::rows::{BatchesRow, LogRow, RejectedRow, Sums};
use super::state::{Parts, STOPS};
use super::{Server, answers, unique};

/// account, day, hour, platform, agent, category, model.
pub type HourlyKey = (String, u16, u32, String, String, String, String);
/// account, day, session start, platform.
pub type SessionKey = (String, u16, u32, String);

impl Server {
    /// All rows of `usage_log`.
    pub fn usage_log(&self) -> Vec<LogRow> {
        answers::log_rows(&self.state().parts("usage_log")).cloned().collect()
    }

    /// All rows of `rejected_events`.
    pub fn rejected_events(&self) -> Vec<RejectedRow> {
        answers::rejected_rows(&self.state().parts("rejected_events")).cloned().collect()
    }

    /// All rows of `batches`, by partition and range.
    pub fn batches(&self) -> Vec<BatchesRow> {
        let mut rows: Vec<BatchesRow> = answers::batches_rows(&self.state().parts("batches")).cloned().collect();
        rows.sort_by(|a, b| {
            let key = |row: &BatchesRow| (row.partition, row.offset_from, row.offset_to);
            (&a.source_epoch, &a.topic, key(a)).cmp(&(&b.source_epoch, &b.topic, key(b)))
        });
        rows
    }

    /// The sums of `usage_hourly`, without witnesses.
    pub fn usage_hourly(&self) -> BTreeMap<HourlyKey, Sums> {
        let mut sums: BTreeMap<HourlyKey, Sums> = BTreeMap::new();
        for row in answers::hourly_rows(&self.state().parts("usage_hourly")).filter(|row| !row.account.is_empty()) {
            let names = [&row.platform, &row.agent, &row.category, &row.model].map(String::clone);
            let [platform, agent, category, model] = names;
            let sum = sums.entry((row.account.clone(), row.day, row.hour, platform, agent, category, model)).or_default();
            *sum += row.sums;
        }
        sums
    }

    /// The users and the events of each session, without witnesses.
    pub fn session_users(&self) -> BTreeMap<SessionKey, (BTreeSet<u64>, u64)> {
        let mut sessions: BTreeMap<SessionKey, (BTreeSet<u64>, u64)> = BTreeMap::new();
        for row in answers::session_rows(&self.state().parts("session_users")).filter(|row| !row.account.is_empty()) {
            let session = sessions.entry((row.account.clone(), row.day, row.session_start, row.platform.clone())).or_default();
            session.0.extend(&row.users);
            session.1 += row.events;
        }
        sessions
    }

    /// The stops of a topic that stand.
    pub fn standing_stops(&self, topic: &str) -> Vec<Stop> {
        let stops = unique::stops(&self.state().parts(STOPS));
        unique::standing(stops.into_iter().filter(|stop| stop.topic == topic).collect())
    }

    /// The parts of a table now.
    pub fn copy_of_parts(&self, table: &str) -> Parts {
        self.state().parts(table)
    }

    /// How many parts a table has.
    pub fn parts(&self, table: &str) -> usize {
        self.state().parts(table).len()
    }

    /// How many tokens a table remembers.
    pub fn tokens(&self, table: &str) -> usize {
        self.state().tokens(table).len()
    }
}

impl std::ops::AddAssign for Sums {
    fn add_assign(&mut self, more: Self) {
        self.events += more.events;
        self.cost += more.cost;
        self.duration_ms += more.duration_ms;
        self.input_tokens += more.input_tokens;
        self.cached_input_tokens += more.cached_input_tokens;
        self.output_tokens += more.output_tokens;
        self.quantity += more.quantity;
        self.unpriced_events += more.unpriced_events;
        self.unattributed_events += more.unattributed_events;
    }
}
