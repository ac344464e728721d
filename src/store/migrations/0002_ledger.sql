-- Entries that add or take credits; never changed. day: the account's, from which it counts. expires: the last day on which the credits
-- can be used; 1970-01-01: they stay. No PARTITION BY: a token is remembered per partition, and a key must hold for ever.
CREATE TABLE IF NOT EXISTS credit_ledger (
  account    String,
  id         String,
  kind       LowCardinality(String),
  amount     Decimal(38, 9),
  day        Date,
  expires    Date,
  reference  String,
  note       String,
  created_at DateTime64(3, 'UTC'),
  created_by String
) ENGINE = MergeTree ORDER BY (account, id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 500000, fsync_after_insert = 1, fsync_part_directory = 1;
