-- Budgets at a moment, of these accounts or, when none is named, of all. A budget's newest row that holds at that moment counts; a retired one has no status.
-- Days are the account's. A budget narrowed by agent, category or model counts operations alone; by platform, or not at all, sessions too.
-- projected: what is spent at the pace of the period so far. next_threshold: percent; 0: the last one is passed.
CREATE OR REPLACE VIEW budget_status_at AS
SELECT account, budget, row.1 AS period, row.2 AS time_zone, row.3 AS name, row.4 AS period_start, row.5 AS period_end, row.6 AS `limit`, s AS spent,
  if(`limit` = 0, 0., toFloat64(s) / toFloat64(`limit`)) AS share,
  CAST(s * row.14 / row.13 AS Decimal(38, 9)) AS projected,
  arrayFirst(t -> s * 100 < `limit` * t, arraySort(row.7)) AS next_threshold,
  row.7 AS thresholds, row.8 AS agent, row.9 AS category, row.10 AS model, row.11 AS platform, row.12 AS emails, row.13 AS elapsed_seconds,
  row.14 AS period_seconds, row.15 AS forecast
FROM (
SELECT b.account AS account, b.id AS budget,
  any((b.period, b.time_zone, b.name, b.period_start, b.period_end, b.`limit`, b.thresholds, b.agent, b.category, b.model, b.platform, b.emails,
    b.elapsed_seconds, b.period_seconds, b.forecast)) AS row,
  sumIf(u.cost, u.day BETWEEN b.period_start AND b.period_end
    AND (b.agent = '' OR u.agent = b.agent) AND (b.category = '' OR u.category = b.category) AND (b.model = '' OR u.model = b.model)
    AND (b.platform = '' OR u.platform = b.platform) AND (u.is_session = 0 OR (b.agent = '' AND b.category = '' AND b.model = ''))) AS s
FROM (
  SELECT
    r.account AS account, r.id AS id, r.row.1 AS period, r.row.2 AS `limit`, r.row.3 AS thresholds, r.row.4 AS forecast,
    if(empty(r.row.5), a.row.3, r.row.5) AS emails, r.row.6 AS agent, r.row.7 AS category, r.row.8 AS model, r.row.9 AS platform,
    if(a.row.1 = '', 'UTC', a.row.1) AS time_zone, if(a.row.2 = '', r.account, a.row.2) AS name,
    toString({now:DateTime64(3, 'UTC')}, time_zone) AS local, toDate(substring(local, 1, 10)) AS today,
    multiIf(period = 'day', today, period = 'week', toMonday(today), toStartOfMonth(today)) AS period_start,
    multiIf(period = 'day', today, period = 'week', toMonday(today) + 6, toLastDayOfMonth(today)) AS period_end,
    toInt64(period_end - period_start + 1) * 86400 AS period_seconds,
    greatest(1, toInt64(today - period_start) * 86400 + toInt64(substring(local, 12, 2)) * 3600 + toInt64(substring(local, 15, 2)) * 60
      + toInt64(substring(local, 18, 2))) AS elapsed_seconds
  FROM (
    SELECT account, id, argMax((period, `limit`, thresholds, forecast, emails, agent, category, model, platform, retired), (valid_from, version)) AS row
    FROM budgets AS p
    WHERE valid_from <= {now:DateTime64(3, 'UTC')} AND (empty({accounts:Array(String)}) OR account IN {accounts:Array(String)})
    GROUP BY account, id
  ) AS r
  INNER JOIN (
    SELECT account, argMax((time_zone, name, emails, retired), (valid_from, version)) AS row
    FROM accounts AS p
    WHERE valid_from <= {now:DateTime64(3, 'UTC')} AND (empty({accounts:Array(String)}) OR account IN {accounts:Array(String)})
    GROUP BY account
  ) AS a ON r.account = a.account
  WHERE r.row.10 = 0 AND a.row.4 = 0
) AS b
LEFT JOIN (
  SELECT account, day, toString(agent) AS agent, toString(category) AS category, toString(model) AS model, toString(platform) AS platform,
    sum(h.cost) AS cost, 0 AS is_session
  FROM usage_hourly AS h
  WHERE account != '' AND day >= toDate({now:DateTime64(3, 'UTC')}) - 32 AND (empty({accounts:Array(String)}) OR account IN {accounts:Array(String)})
  GROUP BY account, day, agent, category, model, platform
  UNION ALL
  SELECT account, day, toString(agent) AS agent, toString(category) AS category, toString(model) AS model, toString(platform) AS platform, cost,
    0 AS is_session
  FROM cost_adjustments
  WHERE day >= toDate({now:DateTime64(3, 'UTC')}) - 32 AND (empty({accounts:Array(String)}) OR account IN {accounts:Array(String)})
  UNION ALL
  SELECT account, day, '' AS agent, '' AS category, '' AS model, platform, cost, 1 AS is_session
  FROM session_priced
  WHERE day >= toDate({now:DateTime64(3, 'UTC')}) - 32 AND (empty({accounts:Array(String)}) OR account IN {accounts:Array(String)})
) AS u ON b.account = u.account
GROUP BY account, budget
);

-- Every budget now.
CREATE OR REPLACE VIEW budget_status AS
SELECT account, budget, period_start, period_end, `limit`, spent, share, projected, next_threshold
FROM budget_status_at(now = now64(3), accounts = []);

-- What an account's months cost in the end, as it looks at a moment. basis `complete`: the month is over, and costs what it cost. `weekdays`: the account has used
-- something three weeks ago or earlier, so each day that is left, and what is left of today, is expected to cost what its weekday cost in the mean of up to
-- eight weeks before; low and high lie two standard deviations of that sum away, from the scatter of those days. `straight_line`: too early to say, so the pace
-- of the month so far; low and high are the same.
CREATE OR REPLACE VIEW projections_at AS
WITH toDecimal128(0, 9) AS nothing
SELECT account, month, s AS spent,
  multiIf(basis = 'complete', s, basis = 'weekdays', CAST(s + rest AS Decimal(38, 9)), CAST(s * month_seconds / elapsed AS Decimal(38, 9))) AS projected,
  if(basis = 'weekdays', greatest(s, CAST(projected - toDecimal128(scatter, 9) AS Decimal(38, 9))), projected) AS low,
  if(basis = 'weekdays', CAST(projected + toDecimal128(scatter, 9) AS Decimal(38, 9)), projected) AS high,
  multiIf(toLastDayOfMonth(month) < today, 'complete', weeks >= 3, 'weekdays', 'straight_line') AS basis
FROM (
  SELECT account, today, month,
    arraySum(d -> d.2, arrayFilter(d -> toStartOfMonth(d.1) = month, days)) AS s,
    least(8, intDiv(today - arrayMin(d -> d.1, days), 7)) AS weeks,
    toInt64(toLastDayOfMonth(month) - month + 1) * 86400 AS month_seconds,
    greatest(1, toInt64(today - month) * 86400 + second) AS elapsed,
    arrayFilter(d -> d.1 < today AND d.1 >= today - 7 * weeks, days) AS past,
    arrayMap(w -> arrayMap(d -> d.2, arrayFilter(d -> toDayOfWeek(d.1) = w, past)), range(1, 8)) AS costs,
    arrayMap(w -> countEqual(arrayMap(k -> toDayOfWeek(today + k), range(1, toUInt32(greatest(0, toInt64(toLastDayOfMonth(month) - today))) + 1)), w) * 86400
      + (toDayOfWeek(today) = w) * (86400 - second), range(1, 8)) AS seconds_left,
    arraySum(arrayMap((of_weekday, left) -> toDecimal128(arraySum(of_weekday) * left / (greatest(1, weeks) * 86400), 9), costs, seconds_left)) AS rest,
    2 * sqrt(arraySum(arrayMap((of_weekday, left) -> left / 86400 * (arraySum(c -> pow(toFloat64(c), 2), of_weekday)
      - pow(toFloat64(arraySum(of_weekday)), 2) / greatest(1, weeks)) / greatest(1, weeks - 1), costs, seconds_left))) AS scatter
  FROM (
    SELECT u.account AS account, if(a.today = toDate(0), toDate({now:DateTime64(3, 'UTC')}), a.today) AS today, a.second AS second,
      groupArray((u.day, u.cost)) AS days
    FROM (
      SELECT account, day, sum(c.cost) AS cost FROM (
        SELECT account, day, cost FROM usage_hourly WHERE account != '' AND (empty({accounts:Array(String)}) OR account IN {accounts:Array(String)})
        UNION ALL
        SELECT account, day, cost FROM cost_adjustments WHERE empty({accounts:Array(String)}) OR account IN {accounts:Array(String)}
        UNION ALL
        SELECT account, day, cost FROM session_priced WHERE empty({accounts:Array(String)}) OR account IN {accounts:Array(String)}
      ) AS c GROUP BY account, day
    ) AS u
    LEFT JOIN (
      SELECT account, argMax(time_zone, (valid_from, version)) AS zone,
        toString({now:DateTime64(3, 'UTC')}, if(zone = '', 'UTC', zone)) AS local, toDate(substring(local, 1, 10)) AS today,
        toInt64(substring(local, 12, 2)) * 3600 + toInt64(substring(local, 15, 2)) * 60 + toInt64(substring(local, 18, 2)) AS second
      FROM accounts AS p
      WHERE valid_from <= {now:DateTime64(3, 'UTC')} AND (empty({accounts:Array(String)}) OR account IN {accounts:Array(String)})
      GROUP BY account
    ) AS a ON u.account = a.account
    GROUP BY account, today, second
  )
  ARRAY JOIN arrayDistinct(arrayMap(d -> toStartOfMonth(d.1), days)) AS month
);

-- Every month now.
CREATE OR REPLACE VIEW projections AS
SELECT account, month, spent, projected, low, high, basis FROM projections_at(now = now64(3), accounts = []);
