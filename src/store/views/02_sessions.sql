-- Not for analysts: how far the log was read. read_to: every partition of the newest source epochs has processed all records older than
-- it: by its newest record, or because it was seen to be read to its end. closed_to: a session that ended by then is closed, late events included; before anything was read it lies before every session.
CREATE OR REPLACE VIEW progress AS
SELECT read_to, lateness_seconds, subtractSeconds(read_to, lateness_seconds) AS closed_to
FROM (
  SELECT
    ifNull((SELECT min(t) FROM (
      SELECT max(t) AS t FROM (
        SELECT source_epoch, topic, partition, max(record_time_max) AS t FROM batches GROUP BY source_epoch, topic, partition
        UNION ALL
        SELECT source_epoch, topic, partition, argMax(e.read_to, e.seen_at) AS t FROM log_ends AS e GROUP BY source_epoch, topic, partition
      )
      WHERE (topic, source_epoch) IN (SELECT topic, argMax(source_epoch, (toUInt64OrZero(source_epoch), since)) FROM sources GROUP BY topic)
      GROUP BY source_epoch, topic, partition)), toDateTime64(0, 3, 'UTC')) AS read_to,
    ifNull((SELECT toUInt32OrZero(argMax(value, set_at)) FROM settings WHERE name = 'lateness_seconds' HAVING count() > 0), 172800) AS lateness_seconds
);

-- Not for analysts: every session once, counted. What the leader folded is read as it was counted then, unless something was written to it since
-- (docs/sessions.md); the rest is counted from its sets.
CREATE OR REPLACE VIEW session_sets AS
WITH
  (SELECT argMax((m.folded_to, m.cut), m.folded_at) FROM session_fold_marks AS m) AS mark,
  mark.1 AS folded_to, mark.2 AS cut
SELECT account, day, session_start, toString(platform) AS platform, unique_users, events
FROM session_folds FINAL
WHERE session_start < folded_to AND (account, day, session_start, platform) NOT IN (
  SELECT account, day, session_start, platform FROM session_users WHERE session_start < folded_to AND written_at >= cut AND account != '')
UNION ALL
SELECT account, day, session_start, toString(platform) AS platform, least(uniqCombined64Merge(17)(users), sum(s.events)) AS unique_users,
  sum(s.events) AS events
FROM session_users AS s
WHERE account != '' AND (session_start >= folded_to OR (account, day, session_start, platform) IN (
  SELECT account, day, session_start, platform FROM session_users WHERE session_start < folded_to AND written_at >= cut AND account != ''))
GROUP BY account, day, session_start, platform;

-- Not for analysts: every session once, priced now. What it takes to plan a question is much of its time: whether a session is closed is
-- asked in session_all alone.
-- The account's row is the one valid when the session starts; none, or a retired one: the account is unknown, nothing is priced.
-- The price: own rows before everyone's ('*'), then the platform before '*', then the newest valid_from, then the highest version.
-- Versions begin at 1, so that version 0 means that no row fits.
CREATE OR REPLACE VIEW session_priced AS
WITH
  (SELECT arraySort(p -> (p.1 = '*', -toUnixTimestamp64Milli(p.2), -toInt64(p.3)), groupArray((platform, valid_from, version, unit_session_cost)))
   FROM price_book WHERE kind = 'session_price' AND account = '*') AS everyone
SELECT
  account, day, session_start, platform, unique_users, events,
  if(charged, price.4, toDecimal128(0, 9)) AS unit_session_cost,
  CAST(unit_session_cost * unique_users AS Decimal(38, 9)) AS cost,
  toUInt8(known AND (NOT charged OR price.3 != 0)) AS priced
FROM (
  SELECT
    u.account AS account, u.day AS day, u.session_start AS session_start, u.platform AS platform, u.unique_users AS unique_users,
    u.events AS events,
    arrayFirst(r -> r.1 <= u.session_start, a.book) AS terms,
    terms.2 != 0 AND terms.4 = 0 AS known,
    known AND has(terms.3, 'sessions') AS charged,
    arrayFirst(r -> (r.1 = u.platform OR r.1 = '*') AND r.2 <= u.session_start, arrayConcat(p.own, everyone)) AS price
  FROM session_sets AS u
  LEFT JOIN (
    SELECT account, arraySort(p -> (p.1 = '*', -toUnixTimestamp64Milli(p.2), -toInt64(p.3)),
      groupArray((platform, valid_from, version, unit_session_cost))) AS own
    FROM price_book WHERE kind = 'session_price' AND account != '*' GROUP BY account
  ) AS p ON u.account = p.account
  LEFT JOIN (
    SELECT account, arraySort(r -> (-toUnixTimestamp64Milli(r.1), -toInt64(r.2)), groupArray((valid_from, version, charge, retired))) AS book
    FROM price_book WHERE kind = 'account' GROUP BY account
  ) AS a ON u.account = a.account
);

-- Not for analysts: the same, and whether it is closed.
CREATE OR REPLACE VIEW session_all AS
WITH (SELECT closed_to FROM progress) AS closed_to
SELECT account, day, session_start, platform, unique_users, events, unit_session_cost, cost, priced,
  toUInt8(toDateTime64(session_start, 3, 'UTC') + INTERVAL 1 DAY <= closed_to) AS closed
FROM session_priced;

-- unit_session_cost is 0 where sessions are not charged.
CREATE OR REPLACE VIEW session_costs AS
SELECT account, platform, session_start, session_start + INTERVAL 1 DAY AS session_end, day, unique_users, events, unit_session_cost, cost,
  priced, closed
FROM session_all;

-- Closed sessions.
CREATE OR REPLACE VIEW sessions AS
SELECT account, day, platform, session_start, unique_users, events, unit_session_cost, cost, priced
FROM session_all WHERE closed;

-- A session may have several rows: merge the states, never add up their counts.
CREATE OR REPLACE VIEW user_sets AS
SELECT account, platform, session_start, day, users
FROM session_users WHERE account != '';
