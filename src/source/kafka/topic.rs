//! Which life of a topic this is: its id, which a topic that was deleted and created again does not keep.
#![allow(unsafe_code)] // rust-rdkafka has no DescribeTopics; every pointer below is freed by the guard beside it

use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaErrorCode;

use super::Error;

/// Frees a librdkafka object when the scope is left.
pub(super) struct Freed<T>(pub(super) *mut T, pub(super) unsafe extern "C" fn(*mut T));

impl<T> Drop for Freed<T> {
    fn drop(&mut self) {
        // SAFETY: made by the matching constructor, and freed nowhere else.
        unsafe { (self.1)(self.0) }
    }
}

/// Asks the brokers for a topic's id, as Kafka's tools print it. Blocks up to `timeout`; a millisecond on a producer's handle.
///
/// # Errors
/// What the brokers answer; an unknown topic is [`Error::is_unknown_topic`].
pub fn topic_id<C: ClientContext>(client: &Client<C>, topic: &str, timeout: Duration) -> Result<String, Error> {
    let client = client.native_ptr();
    let failed = |code: RDKafkaErrorCode, text: String| Error { action: "describe the topic", code, text };
    let invalid = || failed(RDKafkaErrorCode::InvalidArgument, format!("`{topic}` is not a topic's name"));
    let name = CString::new(topic).map_err(|_| invalid())?;
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `client` is a live handle (its owner is borrowed by the caller); each object is checked for null or freed by its guard,
    // and strings are copied before the event that holds them is destroyed.
    unsafe {
        let queue = Freed(rd::rd_kafka_queue_new(client), rd::rd_kafka_queue_destroy);
        let options = Freed(
            rd::rd_kafka_AdminOptions_new(client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            rd::rd_kafka_AdminOptions_destroy,
        );
        let mut text = [0 as c_char; 256];
        rd::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, text.as_mut_ptr(), text.len());
        let mut names = [name.as_ptr()];
        let topics = Freed(
            rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            rd::rd_kafka_TopicCollection_destroy,
        );
        rd::rd_kafka_DescribeTopics(client, topics.0, options.0, queue.0);
        let event = rd::rd_kafka_queue_poll(queue.0, millis);
        if event.is_null() {
            return Err(failed(RDKafkaErrorCode::OperationTimedOut, format!("no answer within {timeout:?}")));
        }
        let event = Freed(event, rd::rd_kafka_event_destroy);
        let code = rd::rd_kafka_event_error(event.0);
        if code != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(code.into(), words(rd::rd_kafka_event_error_string(event.0))));
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let described =
            if result.is_null() { ptr::null_mut() } else { rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        if described.is_null() || count == 0 {
            return Err(failed(RDKafkaErrorCode::UnknownTopic, format!("the answer does not name `{topic}`")));
        }
        let described = *described;
        let error = rd::rd_kafka_TopicDescription_error(described);
        if !error.is_null() && rd::rd_kafka_error_code(error) != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(failed(rd::rd_kafka_error_code(error).into(), words(rd::rd_kafka_error_string(error))));
        }
        let uuid = rd::rd_kafka_TopicDescription_topic_id(described);
        if uuid.is_null() {
            return Err(failed(
                RDKafkaErrorCode::UnsupportedFeature,
                "the broker gives topics no id (it is older than 2.8)".into(),
            ));
        }
        Ok(words(rd::rd_kafka_Uuid_base64str(uuid)))
    }
}

/// A C string of librdkafka's, copied.
///
/// # Safety
/// `text` is null or a live C string.
pub(super) unsafe fn words(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null, and live by the caller's word.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
