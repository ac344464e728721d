//! The arithmetic of a rate: components added exactly, rounded once.

use crate::book::Row;
use crate::model::{Credits, Event, NANOS_PER_UNIT};

/// A cost above this is unpriced: 10^12 credits in nanocredits.
const NANOS_MAX: i128 = 1_000_000_000_000 * NANOS_PER_UNIT;
const THOUSAND: i128 = 1_000;

/// What an operation costs, by what was used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    per_call: Credits,
    per_1k_input_tokens: Credits,
    /// `None`: cached tokens cost what the others do.
    per_1k_cached_input_tokens: Option<Credits>,
    per_1k_output_tokens: Credits,
    per_second: Credits,
    per_unit: Credits,
}

impl Rate {
    pub(super) fn of(row: &Row) -> Self {
        Self {
            per_call: row.per_call,
            per_1k_input_tokens: row.per_1k_input_tokens,
            per_1k_cached_input_tokens: row.has_cached_price.then_some(row.per_1k_cached_input_tokens),
            per_1k_output_tokens: row.per_1k_output_tokens,
            per_second: row.per_second,
            per_unit: row.per_unit,
        }
    }

    /// The cost of an event, or `None` when this rate cannot price it: every component that is not zero needs a field that the
    /// event lacks, or the cost is above 10^12 credits.
    ///
    /// An absent field counts nothing when another component prices the event. `input_tokens` includes the cached ones: more
    /// cached than input tokens are as many as there are input tokens, and cached tokens alone are the whole input.
    pub(super) fn cost(&self, event: &Event) -> Option<Credits> {
        let input = event.input_tokens.or(event.cached_input_tokens);
        let cached_price = self.per_1k_cached_input_tokens.unwrap_or(self.per_1k_input_tokens);
        let cached = event.cached_input_tokens.zip(input).map(|(cached, input)| cached.min(input));
        let fresh = input.map(|input| input - cached.unwrap_or_default());

        // (price, how much was used, how much the price is for)
        let thousands = |tokens: Option<u64>| tokens.map(i128::from);
        let components = [
            (self.per_call, Some(1), 1),
            (self.per_1k_input_tokens, thousands(fresh), THOUSAND),
            (cached_price, thousands(cached), THOUSAND),
            (self.per_1k_output_tokens, thousands(event.output_tokens), THOUSAND),
            (self.per_second, event.duration_ms.map(i128::from), THOUSAND),
            (self.per_unit, event.quantity.map(|quantity| quantity.nanos()), NANOS_PER_UNIT),
        ];
        let mut total = Sum::default();
        let (mut is_free, mut is_priced) = (true, false);
        for (price, used, unit) in components {
            if price == Credits::ZERO {
                continue;
            }
            is_free = false;
            if let Some(used) = used {
                is_priced = true;
                total.add(price, used, unit)?;
            }
        }
        if is_free || is_priced { total.rounded() } else { None }
    }
}

/// An exact sum in nanocredits: whole ones, and what is left in billionths of one.
#[derive(Default)]
struct Sum {
    whole: i128,
    billionths: i128,
}

impl Sum {
    /// Adds `price × used ÷ unit`, where `unit` divides 10^9. The whole units are multiplied apart from the rest: the product of
    /// the largest price and the largest quantity in billionths does not fit in an i128, these two do.
    fn add(&mut self, price: Credits, used: i128, unit: i128) -> Option<()> {
        let price = price.nanos();
        let rest = price.checked_mul(used.rem_euclid(unit))?;
        let whole = price.checked_mul(used.div_euclid(unit))?.checked_add(rest.div_euclid(unit))?;
        self.whole = self.whole.checked_add(whole)?;
        self.billionths = self.billionths.checked_add(rest.rem_euclid(unit) * (NANOS_PER_UNIT / unit))?;
        Some(())
    }

    /// The nearest nanocredit, the even one of two that are as near; `None` above 10^12 credits.
    fn rounded(self) -> Option<Credits> {
        let whole = self.whole.checked_add(self.billionths / NANOS_PER_UNIT)?;
        let twice_rest = self.billionths % NANOS_PER_UNIT * 2;
        let goes_up = twice_rest > NANOS_PER_UNIT || (twice_rest == NANOS_PER_UNIT && whole % 2 != 0);
        let nanos = whole.checked_add(i128::from(goes_up))?;
        (nanos <= NANOS_MAX).then_some(Credits::from_nanos(nanos))
    }
}
