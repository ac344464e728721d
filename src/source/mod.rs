//! Where records come from: Kafka, or a file to replay.
//!
//! Both hand over [`Chunk`](source::Chunk)s: records of one partition in the order of their offsets, with the bytes they borrow.
//! Absent on purpose: what the records mean.

mod chunk;
mod file;
pub mod kafka;

pub use chunk::Chunk;
pub use file::read_lines;
