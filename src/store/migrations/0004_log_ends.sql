-- Up to which moment each partition is read, as the leader saw it: a partition at its end is read up to (almost) then, although no record
-- says so. 1970-01-02: it has records that are not read.
CREATE TABLE IF NOT EXISTS log_ends (
  source_epoch LowCardinality(String),
  topic        LowCardinality(String),
  partition    Int32,
  read_to      DateTime64(3, 'UTC'),
  seen_at      DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(seen_at) ORDER BY (source_epoch, topic, partition)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
