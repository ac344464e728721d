//! The consumer group from outside: who is in it, and forgetting its offsets. For people who mend things.
#![allow(unsafe_code)] // rust-rdkafka has no DeleteConsumerGroupOffsets; every pointer below is freed by the guard beside it

use std::ffi::{CString, c_char};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::Error;
use super::handle::{List, millis};
use super::topic::{Freed, words};

/// How many members a group has now; 0 for one that nobody knows.
///
/// # Errors
/// No answer within `timeout`, or a refusal.
pub fn members<C: ClientContext>(client: &Client<C>, group: &str, timeout: Duration) -> Result<usize, Error> {
    let failed = |error: KafkaError| Error {
        action: "look into the consumer group",
        code: error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail),
        text: error.to_string(),
    };
    let list = client.fetch_group_list(Some(group), timeout).map_err(failed)?;
    Ok(list.groups().iter().filter(|found| found.name() == group).map(|found| found.members().len()).sum())
}

/// Forgets what a group has committed for these partitions. A group with members that read the topic is refused.
///
/// # Errors
/// No answer within `timeout`, or a refusal.
pub fn forget_offsets<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    topic: &str,
    partitions: &[i32],
    timeout: Duration,
) -> Result<(), Error> {
    let failed = |code: RDKafkaErrorCode, text: String| Error { action: "forget the group's offsets", code, text };
    let name = |name: &str| {
        CString::new(name).map_err(|_| failed(RDKafkaErrorCode::InvalidArgument, format!("`{}` is no name", name.escape_debug())))
    };
    let (group, topic) = (name(group)?, name(topic)?);
    let offsets = List::named(&topic, partitions);
    let client = client.native_ptr();
    // SAFETY: `client` is a live handle (its owner is borrowed by the caller); each object is freed by its guard; what is asked for is
    // copied by librdkafka; strings are copied before the event that holds them is destroyed.
    unsafe {
        let queue = Freed(rd::rd_kafka_queue_new(client), rd::rd_kafka_queue_destroy);
        let options = Freed(
            rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETECONSUMERGROUPOFFSETS),
            rd::rd_kafka_AdminOptions_destroy,
        );
        let mut text = [0 as c_char; 256];
        rd::rd_kafka_AdminOptions_set_request_timeout(options.0, millis(timeout), text.as_mut_ptr(), text.len());
        let request = Freed(
            rd::rd_kafka_DeleteConsumerGroupOffsets_new(group.as_ptr(), offsets.0),
            rd::rd_kafka_DeleteConsumerGroupOffsets_destroy,
        );
        let mut requests = [request.0];
        rd::rd_kafka_DeleteConsumerGroupOffsets(client, requests.as_mut_ptr(), requests.len(), options.0, queue.0);
        let event = rd::rd_kafka_queue_poll(queue.0, millis(timeout));
        if event.is_null() {
            return Err(failed(RDKafkaErrorCode::OperationTimedOut, format!("no answer within {timeout:?}")));
        }
        let event = Freed(event, rd::rd_kafka_event_destroy);
        let code = rd::rd_kafka_event_error(event.0);
        if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(code.into(), words(rd::rd_kafka_event_error_string(event.0))));
        }
        let result = rd::rd_kafka_event_DeleteConsumerGroupOffsets_result(event.0);
        let mut count = 0;
        let groups = if result.is_null() {
            std::ptr::null_mut()
        } else {
            rd::rd_kafka_DeleteConsumerGroupOffsets_result_groups(result, &raw mut count)
        };
        if groups.is_null() || count == 0 {
            return Err(failed(RDKafkaErrorCode::Fail, "the answer names no group".to_owned()));
        }
        let error = rd::rd_kafka_group_result_error(*groups);
        if !error.is_null() {
            return Err(failed(rd::rd_kafka_error_code(error).into(), words(rd::rd_kafka_error_string(error))));
        }
        let answers = rd::rd_kafka_group_result_partitions(*groups);
        let answers = if answers.is_null() || (*answers).cnt == 0 {
            &[]
        } else {
            std::slice::from_raw_parts((*answers).elems, usize::try_from((*answers).cnt).unwrap_or(0))
        };
        match answers.iter().find(|answer| answer.err != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR) {
            None => Ok(()),
            Some(refused) => Err(failed(refused.err.into(), words(rd::rd_kafka_err2str(refused.err)))),
        }
    }
}
