//! Budgets: when somebody is to be told, and under which name, so that they are told once.
//!
//! Pure: statuses come from ClickHouse, what was told before comes with them. Holds: an alert's id is what it is about and nothing else, so that
//! everybody who sees the same gives it the same id; a threshold is reached when the spent credits are at least that share of the limit, exactly.
//! Absent on purpose: mails, SQL, the moment it is.

mod alert;
mod status;
#[cfg(test)]
mod tests;

pub use alert::{Alert, Kind, id_of};
pub use status::{Account, Budget, Known, due_of_account, due_of_budget};
