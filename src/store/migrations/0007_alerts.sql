-- What people were told, or would have been. One row for each id, inserted once whoever saw it first; the evidence is what was known then, as
-- JSON. No PARTITION BY: a token is remembered per partition, and an id must hold for ever.
CREATE TABLE IF NOT EXISTS alerts (
  id           String,
  kind         LowCardinality(String),
  account      String,
  budget       String,
  period_start Date,
  threshold    UInt16,
  `limit`      Decimal(38, 9),
  created_at   DateTime64(3, 'UTC'),
  evidence     String CODEC(ZSTD(1))
) ENGINE = MergeTree ORDER BY (account, id)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 500000, fsync_after_insert = 1, fsync_part_directory = 1;

-- What became of each mail: a row for each step of a mail to one recipient, numbered; the newest counts. Nobody writes a step twice: (mail, step)
-- is inserted once.
CREATE TABLE IF NOT EXISTS mail_outbox (
  mail       String,
  step       UInt16,
  state      LowCardinality(String),
  alert      String,
  account    String,
  recipient  String,
  at         DateTime64(3, 'UTC'),
  next_at    DateTime64(3, 'UTC'),
  reply_to   String,
  evidence   String CODEC(ZSTD(1)),
  detail     String,
  by         String
) ENGINE = MergeTree ORDER BY (mail, step)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 500000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Alerts that nobody wants to be mailed about, until a moment; the newest row of (account, budget) counts. budget '': the whole account.
CREATE TABLE IF NOT EXISTS alert_mutes (
  account String, budget String, until DateTime64(3, 'UTC'), at DateTime64(3, 'UTC'), by String
) ENGINE = MergeTree ORDER BY (account, budget, at)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;
