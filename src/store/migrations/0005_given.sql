-- What an event said of itself and its cost does not tell: rating it again by another price book needs it. given: the sum of 1 for duration_ms,
-- 2 for input_tokens, 4 for cached_input_tokens, 8 for output_tokens, 16 for quantity, 32 for credits; what was not given is stored as 0.
-- Of rows written before this, what is not 0 was given, and what was charged counts as what was reported.
ALTER TABLE usage_log
  ADD COLUMN IF NOT EXISTS credits Decimal(38, 9) DEFAULT cost CODEC(ZSTD(1)) AFTER quantity,
  ADD COLUMN IF NOT EXISTS given UInt8 DEFAULT (duration_ms > 0) + 2 * (input_tokens > 0) + 4 * (cached_input_tokens > 0) + 8 * (output_tokens > 0)
    + 16 * (quantity > 0) + 32 * priced CODEC(ZSTD(1)) AFTER credits;
