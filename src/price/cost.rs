//! The arithmetic of a rate: components added exactly, rounded once.

use crate::book::Row;
use crate::model::{Credits, Event, NANOS_PER_UNIT, Quantity};

/// A cost above this is unpriced: 10^12 credits in nanocredits.
const NANOS_MAX: i128 = 1_000_000_000_000 * NANOS_PER_UNIT;

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

        let components = [
            (self.per_call, Some(Used { units: 1, billionths: 0 })),
            (self.per_1k_input_tokens, fresh.map(Used::thousands)),
            (cached_price, cached.map(Used::thousands)),
            (self.per_1k_output_tokens, event.output_tokens.map(Used::thousands)),
            (self.per_second, event.duration_ms.map(Used::thousands)),
            (self.per_unit, event.quantity.map(Used::quantity)),
        ];
        let mut total = Sum::default();
        let (mut is_free, mut is_priced) = (true, false);
        for (price, used) in components {
            if price == Credits::ZERO {
                continue;
            }
            is_free = false;
            if let Some(used) = used {
                is_priced = true;
                total.add(price, used)?;
            }
        }
        if is_free || is_priced { total.rounded() } else { None }
    }
}

/// How much was used of what a price is for: whole units, and billionths of one.
#[derive(Clone, Copy)]
struct Used {
    units: i128,
    billionths: i128,
}

impl Used {
    /// Of a price per thousand.
    fn thousands(used: u64) -> Self {
        Self { units: i128::from(used / 1_000), billionths: i128::from(used % 1_000 * 1_000_000) }
    }

    /// Of a price per one.
    fn quantity(used: Quantity) -> Self {
        let billion = NANOS_PER_UNIT as u64;
        match u64::try_from(used.nanos()) {
            Ok(nanos) => Self { units: i128::from(nanos / billion), billionths: i128::from(nanos % billion) }, // many times faster
            Err(_) => Self { units: used.nanos() / NANOS_PER_UNIT, billionths: used.nanos() % NANOS_PER_UNIT },
        }
    }
}

/// An exact sum in nanocredits and billionths of one. They are kept apart: the product of the largest price and the largest
/// quantity does not fit in an i128, those of its two parts do.
#[derive(Default)]
struct Sum {
    nanos: i128,
    billionths: i128,
}

impl Sum {
    fn add(&mut self, price: Credits, used: Used) -> Option<()> {
        self.nanos = self.nanos.checked_add(product(price.nanos(), used.units)?)?;
        self.billionths = self.billionths.checked_add(product(price.nanos(), used.billionths)?)?;
        Some(())
    }

    /// The nearest nanocredit, the even one of two that are as near; `None` above 10^12 credits.
    fn rounded(self) -> Option<Credits> {
        let carried = match u64::try_from(self.billionths) {
            Ok(billionths) => i128::from(billionths / NANOS_PER_UNIT as u64), // many times faster
            Err(_) => self.billionths.div_euclid(NANOS_PER_UNIT),
        };
        let rest = self.billionths - carried * NANOS_PER_UNIT;
        let nanos = self.nanos.checked_add(carried)?;
        let goes_up = rest * 2 > NANOS_PER_UNIT || (rest * 2 == NANOS_PER_UNIT && nanos % 2 != 0);
        let nanos = nanos.checked_add(i128::from(goes_up))?;
        (0..=NANOS_MAX).contains(&nanos).then_some(Credits::from_nanos(nanos))
    }
}

/// The product, or `None` when it does not fit. Factors of 64 bits, as nearly all are, take one multiplication.
fn product(price: i128, used: i128) -> Option<i128> {
    match (u64::try_from(price), u64::try_from(used)) {
        (Ok(price), Ok(used)) => i128::try_from(u128::from(price) * u128::from(used)).ok(),
        _ => price.checked_mul(used),
    }
}
