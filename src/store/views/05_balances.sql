-- Each entry once: should a key ever be in the table twice, the first that was made counts.
CREATE OR REPLACE VIEW ledger AS
SELECT account, id, kind, amount, day, expires, reference, note, created_at, created_by
FROM credit_ledger ORDER BY account, id, created_at, amount LIMIT 1 BY account, id;

-- Not for analysts: what expired of each account's credits, by a fold over its days. A day: first what is credited, then what is used, which
-- takes from the credits that expire earliest and then from those that stay (what is missing is a debt, which the next credits pay), then what
-- could last be used on it ends. An `expiry` entry counts as it stands. A day is over when it is over everywhere on earth.
-- The state: (what stays, the lots (expires, id, left, posted, is_posted), expired).
CREATE OR REPLACE VIEW expired_credits AS
WITH toDate(now('UTC') - INTERVAL 12 HOUR) AS today, toDecimal128(0, 9) AS nothing
SELECT account, arrayFold(
  (state, of_day) -> arrayMap(ended -> (
      toDecimal128(ended.1 + arraySum(arrayMap(lot -> toDecimal128(lot.3 - if(ended.5 < today AND lot.5 = 1, lot.4, lot.3), 9), ended.3)), 9),
      ended.2,
      toDecimal128(ended.4 + if(ended.5 < today, arraySum(arrayMap(lot -> if(lot.5 = 1, lot.4, lot.3), ended.3)), nothing), 9)),
    arrayMap(taken -> (
        toDecimal128(greatest(nothing, taken.1) - (taken.3 - arraySum(taken.4)), 9),
        arrayFilter(lot -> lot.1 > of_day.1, arrayMap((lot, part) -> (lot.1, lot.2, toDecimal128(lot.3 - part, 9), lot.4, lot.5), taken.2, taken.4)),
        arrayFilter(lot -> lot.1 <= of_day.1, arrayMap((lot, part) -> (lot.1, lot.2, toDecimal128(lot.3 - part, 9), lot.4, lot.5), taken.2, taken.4)),
        state.3,
        of_day.1),
      arrayMap(open -> (open.1, open.2, open.3, arrayMap((lot, before) -> toDecimal128(least(lot.3, greatest(nothing, open.3 - before)), 9), open.2,
          arrayMap(at -> toDecimal128(arraySum(lot -> lot.3, arraySlice(open.2, 1, at - 1)), 9), arrayEnumerate(open.2)))),
        [(toDecimal128(state.1 + of_day.2, 9), arraySort(arrayConcat(state.2, of_day.3)),
          toDecimal128(of_day.4 + greatest(nothing, -(state.1 + of_day.2)), 9))])))[1],
  arraySort(groupArray((day, stays, lots, used))),
  (nothing, CAST([], 'Array(Tuple(Date, String, Decimal(38, 9), Decimal(38, 9), UInt8))'), nothing)).3 AS expired
FROM (
  SELECT account, day, sum(s.stays) AS stays, groupArrayArray(s.lots) AS lots, sum(s.used) AS used
  FROM (
    SELECT account, day, if(expires = toDate(0), amount, nothing) AS stays,
      if(expires = toDate(0), CAST([], 'Array(Tuple(Date, String, Decimal(38, 9), Decimal(38, 9), UInt8))'),
        [(greatest(expires, day), id, amount, ifNull(posted, nothing), toUInt8(posted IS NOT NULL))]) AS lots,
      nothing AS used
    FROM ledger AS e
    LEFT JOIN (
      SELECT account, reference, toNullable(-sum(amount)) AS posted FROM ledger WHERE kind = 'expiry' GROUP BY account, reference
    ) AS p ON e.account = p.account AND e.id = p.reference
    WHERE kind != 'expiry'
    UNION ALL
    SELECT account, greatest(expires, day) AS day, nothing AS stays, CAST([], 'Array(Tuple(Date, String, Decimal(38, 9), Decimal(38, 9), UInt8))') AS lots, nothing AS used
    FROM ledger WHERE expires != toDate(0)
    UNION ALL
    SELECT account, day, nothing AS stays, CAST([], 'Array(Tuple(Date, String, Decimal(38, 9), Decimal(38, 9), UInt8))') AS lots, sum(c.cost) AS used
    FROM (
      SELECT account, day, sum(h.cost) AS cost FROM usage_hourly AS h GROUP BY account, day
      UNION ALL
      SELECT account, day, cost FROM cost_adjustments
      UNION ALL
      SELECT account, day, cost FROM session_priced
    ) AS c GROUP BY account, day
  ) AS s
  WHERE account IN (SELECT account FROM ledger WHERE expires != toDate(0))
  GROUP BY account, day
) GROUP BY account;

-- Not for analysts: what accounts have left as long as no credit expires. Apart, because the fold above takes longer to plan than all of this.
CREATE OR REPLACE VIEW unexpired_balances AS
SELECT account, sum(p.entered) AS credited, sum(p.spent) AS used, credited - used AS balance,
  greatest(max(at), (SELECT max(written_at) FROM batches)) AS updated_at
FROM (
  SELECT account, sumIf(l.amount, kind != 'expiry') AS entered, toDecimal128(0, 9) AS spent, max(created_at) AS at
  FROM ledger AS l GROUP BY account
  UNION ALL
  SELECT account, toDecimal128(0, 9) AS entered, sum(h.cost) AS spent, toDateTime64(0, 3, 'UTC') AS at
  FROM usage_hourly AS h WHERE account != '' GROUP BY account
  UNION ALL
  SELECT account, toDecimal128(0, 9) AS entered, sum(s.cost) AS spent, toDateTime64(0, 3, 'UTC') AS at
  FROM session_priced AS s GROUP BY account
  UNION ALL
  SELECT account, toDecimal128(0, 9) AS entered, sum(a.cost) AS spent, max(posted_at) AS at
  FROM cost_adjustments AS a GROUP BY account
) AS p GROUP BY account;

-- credited: all entries, less what expired, whether an entry says so yet or not. A balance below 0 is a debt.
CREATE OR REPLACE VIEW balances AS
SELECT account, sum(b.entered) - sum(b.ended) AS credited, sum(b.spent) AS used, credited - used AS balance, max(b.at) AS updated_at
FROM (
  SELECT account, u.credited AS entered, toDecimal128(0, 9) AS ended, u.used AS spent, u.updated_at AS at FROM unexpired_balances AS u
  UNION ALL
  SELECT account, toDecimal128(0, 9) AS entered, expired AS ended, toDecimal128(0, 9) AS spent, toDateTime64(0, 3, 'UTC') AS at
  FROM expired_credits
) AS b GROUP BY account;
