//! The words of farebox as types: credits, moments, days, sessions, events, records.
//!
//! Pure values, parsed once at the edge. Holds: money is an integer of nanocredits, a moment is an integer of
//! milliseconds, a session starts on a fixed grid. Absent on purpose: clocks, floats, anything that can block.

mod clocks;
mod credits;
mod ends;
mod event;
mod names;
mod record;
mod rfc3339;
mod session;
mod time;

pub use clocks::Clocks;
pub use credits::{AmountError, Credits, NANOS_PER_UNIT, Quantity};
pub(crate) use ends::ends;
pub use event::{Event, Given, Reason, Reject};
pub use names::{AccountId, NameError};
pub use record::{Header, Record};
pub use session::{SESSION_SECONDS, SessionAnchor, SessionStart};
pub use time::{Day, LocalTime, Month, Timestamp, Zone};
