//! Kinds of runs: what may happen in them beside ordinary faults, and what may come of it.

/// A class of runs. In the first, everything must end well; in the others a partition may stop, and nothing may be wrong silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Crashes, zombies, rebalances, servers away, answers lost or wrong, inserts and commits that come late, burnt tokens, prices.
    Ordinary,
    /// Retention eats what was not read.
    Retention,
    /// Retention eats the window for duplicates.
    RetentionWindow,
    /// The group's offsets expire while it is empty.
    Expiry,
    /// The same, with stopped processes that come back.
    ExpiryZombie,
    /// A stranger commits into the empty group.
    Foreign,
    /// The same, with stopped processes that come back.
    ForeignZombie,
    /// The topic is deleted and created again.
    Recreate,
    /// An unclean leader election cuts the log.
    Truncate,
    /// All tables are restored from an older copy.
    RestoreAll,
    /// The database is created anew.
    RestoreEmpty,
    /// One table is restored from an older copy.
    RestoreOne,
    /// ClickHouse forgets tokens.
    Tokens,
    /// Limits change with the next start.
    Rules,
    /// Producers' timestamps.
    CreateTime,
    /// Up to three of all of these.
    Mixed,
}

impl Class {
    pub const ALL: [Self; 16] = [
        Self::Ordinary,
        Self::Retention,
        Self::RetentionWindow,
        Self::Expiry,
        Self::ExpiryZombie,
        Self::Foreign,
        Self::ForeignZombie,
        Self::Recreate,
        Self::Truncate,
        Self::RestoreAll,
        Self::RestoreEmpty,
        Self::RestoreOne,
        Self::Tokens,
        Self::Rules,
        Self::CreateTime,
        Self::Mixed,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::Retention => "retention",
            Self::RetentionWindow => "retention-window",
            Self::Expiry => "expiry",
            Self::ExpiryZombie => "expiry-zombie",
            Self::Foreign => "foreign",
            Self::ForeignZombie => "foreign-zombie",
            Self::Recreate => "recreate",
            Self::Truncate => "truncate",
            Self::RestoreAll => "restore-all",
            Self::RestoreEmpty => "restore-empty",
            Self::RestoreOne => "restore-one",
            Self::Tokens => "tokens",
            Self::Rules => "rules",
            Self::CreateTime => "create-time",
            Self::Mixed => "mixed",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// The extraordinary faults that it draws from.
    pub fn kinds(self) -> &'static [&'static str] {
        match self {
            Self::Ordinary | Self::CreateTime => &[],
            Self::Retention => &["eat"],
            Self::RetentionWindow => &["eat window"],
            Self::Expiry => &["expiry"],
            Self::ExpiryZombie => &["expiry, zombies"],
            Self::Foreign => &["foreign"],
            Self::ForeignZombie => &["foreign, zombies"],
            Self::Recreate => &["recreate"],
            Self::Truncate => &["truncate"],
            Self::RestoreAll => &["restore all"],
            Self::RestoreEmpty => &["restore empty"],
            Self::RestoreOne => &["restore one"],
            Self::Tokens => &["tokens"],
            Self::Rules => &["rules"],
            Self::Mixed => &[
                "eat",
                "expiry, zombies",
                "foreign, zombies",
                "recreate",
                "truncate",
                "restore all",
                "restore one",
                "tokens",
                "rules",
            ],
        }
    }

    /// How many extraordinary faults a run has at most.
    pub fn most(self) -> usize {
        match self {
            Self::Ordinary | Self::CreateTime => 0,
            Self::Mixed => 3,
            _ => 1,
        }
    }

    /// Whether a partition may stop although nothing extraordinary happened.
    pub fn may_stop_alone(self) -> bool {
        self == Self::CreateTime
    }

    /// Whether a repeated event may be accepted again: what told of the first is gone, or other rules hold.
    pub fn may_decide_otherwise(self) -> bool {
        matches!(self, Self::Retention | Self::RetentionWindow | Self::Rules | Self::CreateTime | Self::Mixed)
    }

    /// Whether records are read a second time: what retention has taken meanwhile no longer tells that a later one repeats it.
    pub fn is_read_again(self) -> bool {
        matches!(self, Self::RestoreAll | Self::RestoreEmpty | Self::RestoreOne)
    }

    pub fn wants_copies(self) -> bool {
        matches!(self, Self::RestoreAll | Self::RestoreOne | Self::Mixed)
    }
}
