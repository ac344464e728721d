-- What `farebox rerate --post` adds to the cost of operations; never changed. usage_hourly and usage_log stay as they were written.
-- Signed: cost and unpriced_events are what is different now. id: how many were posted for the account's day before; all rows of one are one
-- block, so that it is there whole or not at all. No PARTITION BY: a token is remembered per partition, and a key must hold for ever.
CREATE TABLE IF NOT EXISTS cost_adjustments (
  account         String CODEC(ZSTD(1)),
  day             Date CODEC(ZSTD(1)),
  id              UInt32 CODEC(ZSTD(1)),
  hour            DateTime('UTC') CODEC(Delta, ZSTD(1)),
  platform        LowCardinality(String) CODEC(ZSTD(1)),
  agent           LowCardinality(String) CODEC(ZSTD(1)),
  category        LowCardinality(String) CODEC(ZSTD(1)),
  model           LowCardinality(String) CODEC(ZSTD(1)),
  cost            Decimal(38, 9) CODEC(ZSTD(1)),
  unpriced_events Int64 CODEC(ZSTD(1)),
  price_version   UInt64 CODEC(ZSTD(1)),
  posted_at       DateTime64(3, 'UTC') CODEC(ZSTD(1)),
  posted_by       LowCardinality(String) CODEC(ZSTD(1))
) ENGINE = MergeTree ORDER BY (account, day, id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 500000, fsync_after_insert = 1, fsync_part_directory = 1;
