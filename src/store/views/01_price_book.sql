-- The price book by kind: every row of every version. Among rows that fit, the newest valid_from counts, then the highest version.

CREATE OR REPLACE VIEW accounts AS
SELECT account, name, time_zone, charge, operations, session_anchor, emails, low_balance, has_low_balance, spikes,
  valid_from, retired, version, applied_at, applied_by
FROM price_book WHERE kind = 'account';

CREATE OR REPLACE VIEW session_prices AS
SELECT account, platform, unit_session_cost, valid_from, version, applied_at, applied_by
FROM price_book WHERE kind = 'session_price';

CREATE OR REPLACE VIEW rates AS
SELECT account, category, model, per_call, per_1k_input_tokens, per_1k_cached_input_tokens, has_cached_price, per_1k_output_tokens,
  per_second, per_unit, valid_from, version, applied_at, applied_by
FROM price_book WHERE kind = 'rate';

CREATE OR REPLACE VIEW budgets AS
SELECT id, account, agent, category, model, platform, period, `limit`, thresholds, forecast, emails,
  valid_from, retired, version, applied_at, applied_by
FROM price_book WHERE kind = 'budget';

CREATE OR REPLACE VIEW packages AS
SELECT id, credits, price, currency, valid_from, retired, version, applied_at, applied_by
FROM price_book WHERE kind = 'package';

CREATE OR REPLACE VIEW credit_prices AS
SELECT currency, per_credit, minimum, maximum, valid_from, version, applied_at, applied_by
FROM price_book WHERE kind = 'credit_price';
