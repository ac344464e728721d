-- Money views. The witness rows of usage_hourly have account ''; a filter on `batch` instead would switch its projection off.
-- Session rows count no events: each event is in an operation row already. Nor do adjustments, which are rows of their own in `costs` and
-- parts of the sums elsewhere. They are few and added after usage_hourly is summed: its keys and its projection serve as without them.

CREATE OR REPLACE VIEW costs AS
SELECT account, day, if(category = 'training', 'training', 'operation') AS kind, toString(platform) AS platform, toString(agent) AS agent,
  toString(category) AS category, toString(model) AS model, sum(h.events) AS events, sum(h.cost) AS cost
FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, platform, agent, category, model
UNION ALL
SELECT account, day, if(category = 'training', 'training', 'operation') AS kind, toString(platform) AS platform, toString(agent) AS agent,
  toString(category) AS category, toString(model) AS model, toUInt64(0) AS events, sum(a.cost) AS cost
FROM cost_adjustments AS a GROUP BY account, day, platform, agent, category, model
UNION ALL
SELECT account, day, 'session' AS kind, platform, '' AS agent, '' AS category, '' AS model, toUInt64(0) AS events, sum(s.cost) AS cost
FROM session_priced AS s GROUP BY account, day, platform;

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
  SELECT account, day, toDecimal128(0, 9) AS s, sumIf(c.cost, category = 'training') AS t, sumIf(c.cost, category != 'training') AS o, 0 AS open
  FROM cost_adjustments AS c GROUP BY account, day
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
    SELECT account, month, category, sum(p.events) AS events, sum(p.cost) AS cost, max(p.open) AS open
    FROM (
      SELECT account, toStartOfMonth(day) AS month, toString(category) AS category, sum(h.events) AS events, sum(h.cost) AS cost, 0 AS open
      FROM usage_hourly AS h WHERE account != '' GROUP BY account, month, category
      UNION ALL
      SELECT account, toStartOfMonth(day) AS month, toString(category) AS category, toUInt64(0) AS events, sum(c.cost) AS cost, 0 AS open
      FROM cost_adjustments AS c GROUP BY account, month, category
      UNION ALL
      SELECT account, toStartOfMonth(day) AS month, 'session' AS category, toUInt64(0) AS events, sum(a.cost) AS cost, max(NOT closed) AS open
      FROM session_all AS a GROUP BY account, month
    ) AS p GROUP BY account, month, category
  ) AS m GROUP BY account, month
) ARRAY JOIN parts AS part;

CREATE OR REPLACE VIEW agent_costs AS
SELECT account, day, agent, sum(p.events) AS events, sum(p.cost) AS cost, sum(p.duration_ms) AS duration_ms,
  sum(p.input_tokens) AS input_tokens, sum(p.output_tokens) AS output_tokens
FROM (
  SELECT account, day, agent, sum(h.events) AS events, sum(h.cost) AS cost, sum(h.duration_ms) AS duration_ms,
    sum(h.input_tokens) AS input_tokens, sum(h.output_tokens) AS output_tokens
  FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, agent
  UNION ALL
  SELECT account, day, agent, toUInt64(0) AS events, sum(c.cost) AS cost, toUInt64(0) AS duration_ms, toUInt64(0) AS input_tokens,
    toUInt64(0) AS output_tokens
  FROM cost_adjustments AS c GROUP BY account, day, agent
) AS p GROUP BY account, day, agent;

CREATE OR REPLACE VIEW model_costs AS
SELECT account, day, model, sum(p.events) AS events, sum(p.cost) AS cost, sum(p.duration_ms) AS duration_ms,
  sum(p.input_tokens) AS input_tokens, sum(p.output_tokens) AS output_tokens
FROM (
  SELECT account, day, model, sum(h.events) AS events, sum(h.cost) AS cost, sum(h.duration_ms) AS duration_ms,
    sum(h.input_tokens) AS input_tokens, sum(h.output_tokens) AS output_tokens
  FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, model
  UNION ALL
  SELECT account, day, model, toUInt64(0) AS events, sum(c.cost) AS cost, toUInt64(0) AS duration_ms, toUInt64(0) AS input_tokens,
    toUInt64(0) AS output_tokens
  FROM cost_adjustments AS c GROUP BY account, day, model
) AS p GROUP BY account, day, model;

CREATE OR REPLACE VIEW category_costs AS
SELECT account, day, category, sum(p.events) AS events, sum(p.cost) AS cost, sum(p.duration_ms) AS duration_ms,
  sum(p.input_tokens) AS input_tokens, sum(p.output_tokens) AS output_tokens
FROM (
  SELECT account, day, category, sum(h.events) AS events, sum(h.cost) AS cost, sum(h.duration_ms) AS duration_ms,
    sum(h.input_tokens) AS input_tokens, sum(h.output_tokens) AS output_tokens
  FROM usage_hourly AS h WHERE account != '' GROUP BY account, day, category
  UNION ALL
  SELECT account, day, category, toUInt64(0) AS events, sum(c.cost) AS cost, toUInt64(0) AS duration_ms, toUInt64(0) AS input_tokens,
    toUInt64(0) AS output_tokens
  FROM cost_adjustments AS c GROUP BY account, day, category
) AS p GROUP BY account, day, category;

-- What was not charged for want of a price (kinds session, training, operation), and events of accounts charged for sessions that name
-- no user or no platform (kind unattributed). An event may appear under several kinds.
-- since: the start of the first hour with such an event; of a session its own start. Adjustments take back what has a price by now, hour by
-- hour, so that what is left of it says since when.
CREATE OR REPLACE VIEW unpriced_usage AS
SELECT account, day, if(category = 'training', 'training', 'operation') AS kind, category, model, platform,
  toUInt64(sum(u.unpriced)) AS events, min(hour) AS since
FROM (
  SELECT account, day, hour, category, model, platform, sum(p.unpriced) AS unpriced
  FROM (
    SELECT account, day, hour, toString(category) AS category, toString(model) AS model, toString(platform) AS platform,
      toInt64(sum(h.unpriced_events)) AS unpriced
    FROM usage_hourly AS h WHERE account != '' AND h.unpriced_events > 0 GROUP BY account, day, hour, category, model, platform
    UNION ALL
    SELECT account, day, hour, toString(category) AS category, toString(model) AS model, toString(platform) AS platform,
      sum(c.unpriced_events) AS unpriced
    FROM cost_adjustments AS c WHERE c.unpriced_events != 0 GROUP BY account, day, hour, category, model, platform
  ) AS p GROUP BY account, day, hour, category, model, platform HAVING unpriced > 0
) AS u GROUP BY account, day, category, model, platform
UNION ALL
SELECT account, day, 'session' AS kind, '' AS category, '' AS model, platform, sum(s.events) AS events, min(session_start) AS since
FROM session_priced AS s WHERE NOT priced GROUP BY account, day, platform
UNION ALL
SELECT account, day, 'unattributed' AS kind, toString(category) AS category, toString(model) AS model, toString(platform) AS platform,
  sum(h.unattributed_events) AS events, min(hour) AS since
FROM usage_hourly AS h WHERE account != '' AND h.unattributed_events > 0 GROUP BY account, day, category, model, platform;
