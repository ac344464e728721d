//! Questions about a partition's log, through any client.
//!
//! Asked through a producer they take a millisecond. A consumer's connection answers them behind the fetch that is under way.
#![allow(unsafe_code)] // rust-rdkafka's producer does not ask for offsets; each block says why it is sound

use std::ffi::CString;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;

use super::Error;
use super::handle::{List, check, millis};
use crate::model::Timestamp;

/// The partition's first offset and the one behind its last record that readers of committed data may see.
///
/// # Errors
/// No answer within `timeout`, or a refusal.
pub fn bounds<C: ClientContext>(client: &Client<C>, topic: &str, partition: i32, timeout: Duration) -> Result<(i64, i64), Error> {
    const ACTION: &str = "read the log's bounds";
    let topic = name(ACTION, topic)?;
    let (mut low, mut high) = (0, 0);
    // SAFETY: the client lives as long as it is borrowed; all other pointers live through the call.
    let answer = unsafe {
        rd::rd_kafka_query_watermark_offsets(
            client.native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
            millis(timeout),
        )
    };
    check(ACTION, answer).map(|()| (low, high))
}

/// The first offset whose record is not older than `time`, or `None` when all are.
///
/// # Errors
/// No answer within `timeout`, or a refusal.
pub fn offset_of_time<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    partition: i32,
    time: Timestamp,
    timeout: Duration,
) -> Result<Option<i64>, Error> {
    const ACTION: &str = "look up an offset by time";
    let list = List::of(&name(ACTION, topic)?, &[(partition, time.millis())]);
    // SAFETY: the client lives as long as it is borrowed, and so is the list.
    check(ACTION, unsafe { rd::rd_kafka_offsets_for_times(client.native_ptr(), list.0, millis(timeout)) })?;
    list.check(ACTION)?;
    Ok(Some(list.first().offset).filter(|&offset| offset >= 0))
}

fn name(action: &'static str, topic: &str) -> Result<CString, Error> {
    CString::new(topic).map_err(|_| Error {
        action,
        code: RDKafkaErrorCode::InvalidArgument,
        text: format!("`{topic}` is not a topic's name"),
    })
}
