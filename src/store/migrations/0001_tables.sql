-- The tables. A batch is sent as one block per table and month and becomes one part, so that it is there whole or not at all; its
-- deduplication token is remembered by the settings of each table, its rows (or its witness row, account '') prove that it was written.
-- What must be unique by key has no PARTITION BY: a token is remembered per partition.
-- No column is Nullable: absent text is '', an absent number 0. `day` is the account's local date, fixed when the event was priced.

-- One row per accepted event.
CREATE TABLE IF NOT EXISTS usage_log (
  account             String CODEC(ZSTD(1)),
  source              LowCardinality(String) CODEC(ZSTD(1)),
  id                  String CODEC(ZSTD(1)),
  event_time          DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
  received_at         DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
  day                 Date CODEC(ZSTD(1)),
  platform            LowCardinality(String) CODEC(ZSTD(1)),
  user_hash           UInt64 CODEC(ZSTD(1)),
  agent               LowCardinality(String) CODEC(ZSTD(1)),
  category            LowCardinality(String) CODEC(ZSTD(1)),
  model               LowCardinality(String) CODEC(ZSTD(1)),
  duration_ms         UInt64 CODEC(T64, ZSTD(1)),
  input_tokens        UInt64 CODEC(T64, ZSTD(1)),
  cached_input_tokens UInt64 CODEC(T64, ZSTD(1)),
  output_tokens       UInt64 CODEC(T64, ZSTD(1)),
  quantity            Decimal(38, 9) CODEC(ZSTD(1)),
  cost                Decimal(38, 9) CODEC(ZSTD(1)),
  priced              UInt8 CODEC(ZSTD(1)),
  price_version       UInt64 CODEC(ZSTD(1)),
  source_epoch        LowCardinality(String) CODEC(ZSTD(1)),
  topic               LowCardinality(String) CODEC(ZSTD(1)),
  partition           Int32 CODEC(ZSTD(1)),
  offset              Int64 CODEC(T64, ZSTD(1)),
  digest              UInt64 CODEC(ZSTD(1)),
  INDEX by_received received_at TYPE minmax GRANULARITY 1,
  INDEX by_offset offset TYPE minmax GRANULARITY 1,
  INDEX by_day day TYPE minmax GRANULARITY 1,
  -- For the check of old batches on every assignment: a row for each batch, where the log has one for each event.
  PROJECTION by_batch (SELECT source_epoch, topic, partition, digest, count(), min(offset), max(offset), groupUniqArray(toYYYYMM(day)),
                         countIf(user_hash != 0 AND platform != '')
                       GROUP BY source_epoch, topic, partition, digest)
) ENGINE = MergeTree
PARTITION BY toYYYYMM(day)
PRIMARY KEY (account, event_time)
ORDER BY (account, event_time, id)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- Operations, rolled up by hour. Witness rows (account '') leave after 30 days.
CREATE TABLE IF NOT EXISTS usage_hourly (
  account             String CODEC(ZSTD(1)),
  day                 Date CODEC(ZSTD(1)),
  hour                DateTime('UTC') CODEC(Delta, ZSTD(1)),
  platform            LowCardinality(String) CODEC(ZSTD(1)),
  agent               LowCardinality(String) CODEC(ZSTD(1)),
  category            LowCardinality(String) CODEC(ZSTD(1)),
  model               LowCardinality(String) CODEC(ZSTD(1)),
  batch               String CODEC(ZSTD(1)),
  events              SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  cost                SimpleAggregateFunction(sum, Decimal(38, 9)) CODEC(ZSTD(1)),
  duration_ms         SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  input_tokens        SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  cached_input_tokens SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  output_tokens       SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  quantity            SimpleAggregateFunction(sum, Decimal(38, 9)) CODEC(ZSTD(1)),
  unpriced_events     SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  unattributed_events SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  blocks              SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  digest              SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)),
  price_version       SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)),
  written_at          SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
  PROJECTION monthly (SELECT account, toStartOfMonth(day), category, sum(events), sum(cost), sum(unpriced_events)
                      GROUP BY account, toStartOfMonth(day), category)
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (account, day, category, agent, model, platform, hour, batch)
TTL written_at + INTERVAL 30 DAY DELETE WHERE account = ''
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1,
         deduplicate_merge_projection_mode = 'rebuild';

-- Distinct users of a session, as mergeable state. Day first: what is open lies together. Small granules: one row means decoding
-- every state of its granule.
CREATE TABLE IF NOT EXISTS session_users (
  account       String CODEC(ZSTD(1)),
  day           Date CODEC(ZSTD(1)),
  session_start DateTime('UTC') CODEC(Delta, ZSTD(1)),
  platform      LowCardinality(String) CODEC(ZSTD(1)),
  batch         String CODEC(ZSTD(1)),
  users         AggregateFunction(uniqCombined64(17), UInt64) CODEC(ZSTD(1)),
  events        SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  blocks        SimpleAggregateFunction(sum, UInt64) CODEC(T64, ZSTD(1)),
  digest        SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)),
  price_version SimpleAggregateFunction(max, UInt64) CODEC(ZSTD(1)),
  written_at    SimpleAggregateFunction(max, DateTime('UTC')) CODEC(Delta, ZSTD(1)),
  INDEX by_start session_start TYPE minmax GRANULARITY 1
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(day)
ORDER BY (day, account, session_start, platform, batch)
TTL written_at + INTERVAL 30 DAY DELETE WHERE account = ''
SETTINGS index_granularity = 256, non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS rejected_events (
  received_at  DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
  account      String CODEC(ZSTD(1)),
  source_epoch LowCardinality(String),
  topic        LowCardinality(String),
  partition    Int32 CODEC(ZSTD(1)),
  offset       Int64 CODEC(Delta, ZSTD(1)),
  reason       LowCardinality(String),
  detail       String CODEC(ZSTD(1)),
  key          String CODEC(ZSTD(1)),
  payload      String CODEC(ZSTD(3)),
  digest       UInt64 CODEC(ZSTD(1)),
  INDEX by_offset offset TYPE minmax GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (received_at, topic, partition, offset)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1, ttl_only_drop_parts = 1;

-- Which offsets are in: written last, so a row here says that all tables have its batch.
CREATE TABLE IF NOT EXISTS batches (
  source_epoch    LowCardinality(String),
  topic           LowCardinality(String),
  topic_id        LowCardinality(String),
  partition       Int32,
  offset_from     Int64 CODEC(Delta, ZSTD(1)),
  offset_to       Int64 CODEC(Delta, ZSTD(1)),
  received        UInt64 CODEC(T64, ZSTD(1)),
  accepted        UInt64 CODEC(T64, ZSTD(1)),
  duplicates      UInt64 CODEC(T64, ZSTD(1)),
  rejected        UInt64 CODEC(T64, ZSTD(1)),
  kind            LowCardinality(String),
  prev            Int64 CODEC(Delta, ZSTD(1)),
  leader_epoch    Int32 CODEC(ZSTD(1)),
  price_version   UInt64 CODEC(ZSTD(1)),
  hash_key_id     LowCardinality(String),
  digest          UInt64 CODEC(ZSTD(1)),
  record_time_max DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
  written_at      DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1))
) ENGINE = MergeTree
ORDER BY (source_epoch, topic, partition, offset_from, offset_to)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The life of each topic: a new source epoch begins when it was recreated and its offsets restarted.
CREATE TABLE IF NOT EXISTS sources (
  topic String, topic_id String, source_epoch String, since DateTime64(3, 'UTC')
) ENGINE = MergeTree ORDER BY (topic, source_epoch)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

-- What SQL must know of the configuration; the newest value of a name counts.
CREATE TABLE IF NOT EXISTS settings (
  name String, value String, set_at DateTime64(3, 'UTC')
) ENGINE = MergeTree ORDER BY (name, set_at)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Partitions that stopped because something could not be decided; the newest row of a partition counts.
CREATE TABLE IF NOT EXISTS stops (
  source_epoch String, topic String, partition Int32, kind LowCardinality(String), reason String, at DateTime64(3, 'UTC'), cleared UInt8
) ENGINE = MergeTree ORDER BY (topic, partition, at)
SETTINGS non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The price book: every kind of row, every version. One `apply` is one block. valid_from 1970-01-01: for all time.
CREATE TABLE IF NOT EXISTS price_book (
  version                    UInt64,
  kind                       LowCardinality(String),
  account                    String,
  valid_from                 DateTime64(3, 'UTC'),
  retired                    UInt8,
  applied_at                 DateTime64(3, 'UTC'),
  applied_by                 String,
  id                         String,
  name                       String,
  time_zone                  LowCardinality(String),
  charge                     Array(String),
  operations                 LowCardinality(String),
  session_anchor             UInt32,
  emails                     Array(String),
  low_balance                Decimal(38, 9),
  has_low_balance            UInt8,
  spikes                     UInt8,
  platform                   String,
  unit_session_cost          Decimal(38, 9),
  category                   String,
  model                      String,
  per_call                   Decimal(38, 9),
  per_1k_input_tokens        Decimal(38, 9),
  per_1k_cached_input_tokens Decimal(38, 9),
  has_cached_price           UInt8,
  per_1k_output_tokens       Decimal(38, 9),
  per_second                 Decimal(38, 9),
  per_unit                   Decimal(38, 9),
  agent                      String,
  period                     LowCardinality(String),
  `limit`                    Decimal(38, 9),
  thresholds                 Array(UInt16),
  forecast                   UInt8,
  credits                    Decimal(38, 9),
  price                      Decimal(38, 9),
  currency                   LowCardinality(String),
  per_credit                 Decimal(38, 9),
  minimum                    Decimal(38, 9),
  maximum                    Decimal(38, 9)
) ENGINE = MergeTree ORDER BY (kind, account, valid_from, version)
SETTINGS index_granularity = 1024, non_replicated_deduplication_window = 100000, fsync_after_insert = 1, fsync_part_directory = 1;
