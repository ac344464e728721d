//! The credit ledger: entries that add or take credits, and the balance as a fold of them and of usage.
//!
//! [`balance`](balance()) says what an account has left, given its entries and what it used on each of its days, in whatever order they come.
//! Holds: an entry is never changed; the balance is what was credited less what expired less what was used, to the last digit; credits that
//! expire earliest are used first. Absent on purpose: clocks, storage, and every refusal of usage: a balance may be negative.

mod entry;
mod fold;
mod status;

pub use entry::{Entry, Kind};
pub use fold::{Balance, Lot, Overflow, balance};
pub use status::Status;

#[cfg(test)]
mod tests;
