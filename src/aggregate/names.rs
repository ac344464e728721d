//! Names of a batch as small numbers: accounts, agents, models and the like repeat in almost every event.

use hashbrown::HashTable;

use super::hash::HashSeed;
use super::text::TextColumn;
use crate::model::ends;

/// The distinct names of one batch. A known name costs one lookup and no allocation; one that came a moment ago, one comparison.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    table: HashTable<u32>,
    texts: TextColumn,
    recent: Recent,
    seed: HashSeed,
}

/// Names that came of late, by a glance at their ends. Who chooses names that look alike there is served by the table.
#[derive(Debug, Clone)]
struct Recent(Box<[NameId; RECENT]>);

const RECENT: usize = 1024;

impl Recent {
    fn place(name: &[u8]) -> usize {
        let (first, last) = ends(name);
        let glance = first ^ last.rotate_left(23) ^ name.len() as u64;
        (glance.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % RECENT
    }
}

impl Default for Recent {
    /// The first name in every place: comparing tells.
    fn default() -> Self {
        Self(Box::new([0; RECENT]))
    }
}

/// A name of one batch; means something only beside its [`Names`].
pub(crate) type NameId = u32;

impl Names {
    pub fn new(seed: HashSeed) -> Self {
        Self { seed, ..Self::default() }
    }

    pub fn intern(&mut self, name: &str) -> NameId {
        let place = Recent::place(name.as_bytes());
        let recent = self.recent.0[place];
        if (recent as usize) < self.texts.len() && self.bytes_of(recent) == name.as_bytes() {
            return recent;
        }
        let id = self.find(name);
        self.recent.0[place] = id;
        id
    }

    fn find(&mut self, name: &str) -> NameId {
        let hash = self.seed.text(name.as_bytes());
        if let Some(&id) = self.table.find(hash, |&id| self.texts.get(id as usize) == name.as_bytes()) {
            return id;
        }
        let id = self.texts.len() as NameId; // a batch holds far fewer than 2^32 names: each takes bytes of a bounded batch
        self.texts.push(name.as_bytes());
        self.table.insert_unique(hash, id, |&id| self.seed.text(self.texts.get(id as usize)));
        id
    }

    /// How many names.
    #[cfg(feature = "service")] // only `sink` asks
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn get(&self, id: NameId) -> &str {
        std::str::from_utf8(self.bytes_of(id)).unwrap_or_default() // only `str`s go in
    }

    pub fn bytes_of(&self, id: NameId) -> &[u8] {
        self.texts.get(id as usize)
    }

    /// Every name, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.texts.len()).map(|id| self.texts.get(id))
    }

    /// Each name's place in the order of bytes, which is the order of the tables.
    pub fn ranks(&self) -> Vec<u32> {
        let mut sorted: Vec<(&[u8], NameId)> = self.iter().zip(0..).collect();
        sorted.sort_unstable();
        let mut ranks = vec![0; sorted.len()];
        for (rank, (_, id)) in (0..).zip(sorted) {
            ranks[id as usize] = rank;
        }
        ranks
    }

    /// Memory held, about.
    pub fn bytes(&self) -> usize {
        self.texts.bytes() + self.table.capacity() * (size_of::<NameId>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_and_ranks_follow_bytes() {
        let mut names = Names::default();
        let ids: Vec<NameId> = ["b", "", "ä", "a", "b", "B", "a\u{0}"].iter().map(|name| names.intern(name)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 0, 4, 5]);
        assert_eq!(names.get(2), "ä");
        let ranks = names.ranks();
        let mut by_rank: Vec<NameId> = (0..6).collect();
        by_rank.sort_by_key(|&id| ranks[id as usize]);
        assert_eq!(by_rank.iter().map(|&id| names.get(id)).collect::<Vec<_>>(), ["", "B", "a", "a\u{0}", "b", "ä"]);
    }

    #[test]
    fn many_names_survive_the_growth_of_the_table() {
        let mut names = Names::default();
        for n in 0..10_000 {
            assert_eq!(names.intern(&format!("agent-{n}")), n);
        }
        for n in 0..10_000 {
            assert_eq!(names.intern(&format!("agent-{n}")), n);
        }
    }
}
