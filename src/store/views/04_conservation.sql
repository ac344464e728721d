-- Every offset once. received counts records; offsets without a record belong to the range they lie in. gap_offsets: what `gap` rows admit.
-- holes: offsets between the first and the last that no row covers. logged: rows of usage_log in the range; less than accepted when the log
-- is off or its oldest days have left.
CREATE OR REPLACE VIEW conservation AS
SELECT b.source_epoch AS source_epoch, b.topic AS topic, b.partition AS partition, b.offset_first AS offset_first, b.offset_next AS offset_next,
  b.received AS received, b.accepted AS accepted, b.duplicates AS duplicates, b.rejected AS rejected, l.logged AS logged,
  b.gap_offsets AS gap_offsets, b.overlap_offsets AS overlap_offsets,
  toUInt8(b.holes = 0 AND b.overlap_offsets = 0 AND b.received = b.accepted + b.duplicates + b.rejected) AS balanced
FROM (
  SELECT source_epoch, topic, partition, min(r.offset_from) AS offset_first, max(r.offset_to) AS offset_next,
    sum(r.received) AS received, sum(r.accepted) AS accepted, sum(r.duplicates) AS duplicates, sum(r.rejected) AS rejected,
    sum(if(r.kind = 'gap', r.offset_to - r.offset_from, 0)) AS gap_offsets,
    sum(greatest(0, r.offset_from - r.reach)) AS holes,
    sum(greatest(0, least(r.reach, r.offset_to) - r.offset_from)) AS overlap_offsets
  FROM (
    SELECT *, ifNull(max(toNullable(offset_to)) OVER (PARTITION BY source_epoch, topic, partition ORDER BY offset_from, offset_to
                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), offset_from) AS reach
    FROM batches
  ) AS r GROUP BY source_epoch, topic, partition
) AS b
LEFT JOIN (
  SELECT u.source_epoch AS source_epoch, u.topic AS topic, u.partition AS partition, count() AS logged
  FROM usage_log AS u
  INNER JOIN (
    SELECT source_epoch, topic, partition, min(offset_from) AS first, max(offset_to) AS next FROM batches GROUP BY source_epoch, topic, partition
  ) AS e ON u.source_epoch = e.source_epoch AND u.topic = e.topic AND u.partition = e.partition
  WHERE u.offset >= e.first AND u.offset < e.next
  GROUP BY u.source_epoch, u.topic, u.partition
) AS l ON b.source_epoch = l.source_epoch AND b.topic = l.topic AND b.partition = l.partition;
