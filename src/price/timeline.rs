//! Values that hold from a moment on.

use crate::model::Timestamp;

/// What holds when: of the values whose moment has come, the newest.
#[derive(Debug)]
pub(super) struct Timeline<T>(Vec<(Timestamp, T)>);

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Timeline<T> {
    /// Adds a value that holds from a moment on. A value for the same moment is replaced: the caller adds by version.
    pub(super) fn insert(&mut self, valid_from: Timestamp, value: T) {
        if self.0.is_empty() {
            self.0.reserve_exact(1); // most hold one, and there is one for each account
        }
        match self.0.binary_search_by_key(&valid_from, |(from, _)| *from) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (valid_from, value)),
        }
    }

    /// What holds at a moment; `None` before the first.
    pub(super) fn at(&self, at: Timestamp) -> Option<&T> {
        let after = self.0.partition_point(|(from, _)| *from <= at);
        after.checked_sub(1).and_then(|place| self.0.get(place)).map(|(_, value)| value)
    }
}
