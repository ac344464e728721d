-- Sets of users of closed sessions, counted: a cache that the leader fills, so that sums over years read numbers and no sets. Never a second
-- truth: without these rows every view says the same. No price: sessions are priced when they are read. The newest fold of a session counts.
CREATE TABLE IF NOT EXISTS session_folds (
  account       String CODEC(ZSTD(1)),
  day           Date CODEC(ZSTD(1)),
  session_start DateTime('UTC') CODEC(Delta, ZSTD(1)),
  platform      LowCardinality(String) CODEC(ZSTD(1)),
  unique_users  UInt64 CODEC(T64, ZSTD(1)),
  events        UInt64 CODEC(T64, ZSTD(1)),
  folded_at     DateTime64(3, 'UTC') CODEC(ZSTD(1))
) ENGINE = ReplacingMergeTree(folded_at)
PARTITION BY toYYYYMM(day)
ORDER BY (account, day, session_start, platform)
SETTINGS index_granularity = 1024, fsync_after_insert = 1, fsync_part_directory = 1;

-- How far sessions are folded; the newest row counts, and merges keep it alone. Of a session that began before folded_to, the fold has every row of session_users that
-- carries a written_at before cut, whenever it lands; a session with a later one is read from its sets.
CREATE TABLE IF NOT EXISTS session_fold_marks (
  folded_to DateTime('UTC'),
  cut       DateTime('UTC'),
  folded_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(folded_at) ORDER BY tuple()
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;

-- Finds the few sessions that were written to since.
ALTER TABLE session_users ADD INDEX IF NOT EXISTS by_written written_at TYPE minmax GRANULARITY 1;
