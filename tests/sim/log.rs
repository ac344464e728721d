//! The events topic: what producers wrote, offset by offset, and what became of the log since.

use farebox::model::Timestamp;

/// What a producer meant: enough to say without the product what must become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Made {
    /// Which id, and with it account, platform, user and month.
    pub key: u8,
    /// What the event says beside; the same id with another is a conflict.
    pub variant: u8,
    /// Is no event at all.
    pub broken: bool,
}

/// One offset.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The broker's time.
    pub at: Timestamp,
    /// Who was leader.
    pub epoch: i32,
    /// `None`: a marker, or a record of an aborted transaction. Takes an offset and is never delivered.
    pub made: Option<Made>,
    /// The record's value.
    pub value: Vec<u8>,
}

/// One partition's log. Offsets are indices; what retention ate stays readable for the comparison at the end.
#[derive(Debug, Default)]
pub struct Log {
    pub entries: Vec<Entry>,
    pub start: i64,
    pub epoch: i32,
}

/// 2026-06-30 23:59 UTC: runs cross a month's end.
pub const BEGINNING_MS: i64 = 1_782_863_940_000;

impl Made {
    pub fn account(self) -> String {
        format!("a{}", self.key % 2)
    }

    pub fn platform(self) -> &'static str {
        if self.key % 4 == 3 { "" } else { "web" }
    }

    pub fn user(self) -> String {
        format!("u{}", self.key % 3)
    }

    /// Half of the ids lie in June, half in July.
    pub fn time_ms(self) -> i64 {
        BEGINNING_MS + if self.key.is_multiple_of(2) { -3_600_000 } else { 86_400_000 } + i64::from(self.key) * 1000
    }

    pub fn input_tokens(self) -> u64 {
        1000 * (u64::from(self.variant) + 1)
    }

    pub fn value(self) -> Vec<u8> {
        if self.broken {
            return format!("not an event {}", self.key).into_bytes();
        }
        let platform = if self.platform().is_empty() { String::new() } else { format!(r#""platform":"{}","#, self.platform()) };
        format!(
            r#"{{"id":"k{}","time":"{}","account":"{}","agent":"x","category":"llm",{platform}"user":"{}","input_tokens":{}}}"#,
            self.key,
            Timestamp::from_millis(self.time_ms()),
            self.account(),
            self.user(),
            self.input_tokens()
        )
        .into_bytes()
    }
}

impl Log {
    pub fn end(&self) -> i64 {
        i64::try_from(self.entries.len()).unwrap_or(i64::MAX)
    }

    pub fn get(&self, offset: i64) -> Option<&Entry> {
        usize::try_from(offset).ok().and_then(|index| self.entries.get(index))
    }

    pub fn append(&mut self, at: Timestamp, made: Option<Made>) {
        let value = made.map(Made::value).unwrap_or_default();
        self.entries.push(Entry { at, epoch: self.epoch, made, value });
    }

    /// Makes the last record's time the producer's, which is off by so much.
    pub fn shift_last(&mut self, millis: i64) {
        if let Some(last) = self.entries.last_mut() {
            last.at = last.at.plus_millis(millis);
        }
    }

    /// The first offset still there whose record is not older.
    pub fn offset_of_time(&self, time: Timestamp) -> Option<i64> {
        (self.start..self.end()).find(|&offset| self.get(offset).is_some_and(|entry| entry.at >= time))
    }

    /// The leader epoch of the record before an offset, if it is still there.
    pub fn epoch_before(&self, offset: i64) -> Option<i32> {
        if offset > self.start { self.get(offset - 1).map(|entry| entry.epoch) } else { None }
    }
}
