-- Money views. The witness rows of usage_hourly have account ''; a filter on `batch` instead would switch its projection off.
-- Session rows count no events: each event is in an operation row already.

CREATE OR REPLACE VIEW costs AS
SELECT account, day, if(category = 'training', 'training', 'operation') AS kind, toString(platform) AS platform, toString(agent) AS agent,
  toString(category) AS category, toString(model) AS model, sum(h.events) AS events, sum(h.cost) AS cost
FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, platform, agent, category, model
UNION ALL
SELECT account, day, 'session' AS kind, platform, '' AS agent, '' AS category, '' AS model, toUInt64(0) AS events, sum(s.cost) AS cost
FROM session_all AS s GROUP BY account, day, platform;

-- provisional: a session of the day is not closed, or the day, which ends nowhere on earth later than 36 hours after its midnight in UTC,
-- may still get events that are in time.
CREATE OR REPLACE VIEW daily_costs AS
WITH (SELECT closed_to FROM progress) AS closed_to
SELECT account, day, sum(s) AS sessions_cost, sum(t) AS training_cost, sum(o) AS operations_cost, sum(s) + sum(t) + sum(o) AS cost,
  toUInt8(max(open) OR toDateTime64(day, 3, 'UTC') + INTERVAL 36 HOUR > closed_to) AS provisional
FROM (
  SELECT account, day, toDecimal128(0, 9) AS s, sumIf(h.cost, category = 'training') AS t, sumIf(h.cost, category != 'training') AS o, 0 AS open
  FROM usage_hourly AS h WHERE account != '' GROUP BY account, day
  UNION ALL
  SELECT account, day, sum(a.cost) AS s, toDecimal128(0, 9) AS t, toDecimal128(0, 9) AS o, max(NOT closed) AS open
  FROM session_all AS a GROUP BY account, day
) GROUP BY account, day;

-- month is the account's, as its first day. provisional: as of its days.
CREATE OR REPLACE VIEW monthly_usage AS
WITH (SELECT closed_to FROM progress) AS closed_to
SELECT account, month, part.1 AS category, part.2 AS events, part.3 AS cost, if(total = 0, 0., toFloat64(cost) / toFloat64(total)) AS share,
  toUInt8(open OR toDateTime64(toLastDayOfMonth(month), 3, 'UTC') + INTERVAL 36 HOUR > closed_to) AS provisional
FROM (
  SELECT account, month, groupArray((category, m.events, m.cost)) AS parts, sum(m.cost) AS total, max(m.open) AS open
  FROM (
    SELECT account, toStartOfMonth(day) AS month, toString(category) AS category, sum(h.events) AS events, sum(h.cost) AS cost, 0 AS open
    FROM usage_hourly AS h WHERE account != '' GROUP BY account, month, category
    UNION ALL
    SELECT account, toStartOfMonth(day) AS month, 'session' AS category, toUInt64(0) AS events, sum(a.cost) AS cost, max(NOT closed) AS open
    FROM session_all AS a GROUP BY account, month
  ) AS m GROUP BY account, month
) ARRAY JOIN parts AS part;

CREATE OR REPLACE VIEW agent_costs AS
SELECT account, day, agent, sum(h.events) AS events, sum(h.cost) AS cost, sum(h.duration_ms) AS duration_ms,
  sum(h.input_tokens) AS input_tokens, sum(h.output_tokens) AS output_tokens
FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, agent;

CREATE OR REPLACE VIEW model_costs AS
SELECT account, day, model, sum(h.events) AS events, sum(h.cost) AS cost, sum(h.duration_ms) AS duration_ms,
  sum(h.input_tokens) AS input_tokens, sum(h.output_tokens) AS output_tokens
FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, model;

CREATE OR REPLACE VIEW category_costs AS
SELECT account, day, category, sum(h.events) AS events, sum(h.cost) AS cost, sum(h.duration_ms) AS duration_ms,
  sum(h.input_tokens) AS input_tokens, sum(h.output_tokens) AS output_tokens
FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, category;

-- What was not charged for want of a price (kinds session, training, operation), and events of accounts charged for sessions that name
-- no user or no platform (kind unattributed). An event may appear under several kinds.
CREATE OR REPLACE VIEW unpriced_usage AS
SELECT account, day, if(category = 'training', 'training', 'operation') AS kind, toString(category) AS category, toString(model) AS model,
  toString(platform) AS platform, sum(h.unpriced_events) AS events
FROM usage_hourly AS h WHERE account != '' AND h.unpriced_events > 0 GROUP BY account, day, category, model, platform
UNION ALL
SELECT account, day, 'session' AS kind, '' AS category, '' AS model, platform, sum(s.events) AS events
FROM session_all AS s WHERE NOT priced GROUP BY account, day, platform
UNION ALL
SELECT account, day, 'unattributed' AS kind, toString(category) AS category, toString(model) AS model, toString(platform) AS platform,
  sum(h.unattributed_events) AS events
FROM usage_hourly AS h WHERE account != '' AND h.unattributed_events > 0 GROUP BY account, day, category, model, platform;
