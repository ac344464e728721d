//! The group member: one librdkafka consumer that is polled, assigned and committed by one thread.
//!
//! rust-rdkafka's consumer hides what the commit protocol needs: the generation, a record's leader epoch, the offset of a
//! partition's end, metadata that is not UTF-8, and with batches it swallows rebalances. So the handle is our own.
//! Holds: the rebalance callback assigns nothing, so a partition is read only after [`Handle::assign`] with a numeric offset.
#![allow(unsafe_code)] // calls into librdkafka; each block says why it is sound

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr;
use std::slice;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as rd;
use rdkafka::types::RDKafkaErrorCode;

use super::Error;
use super::topic::{Freed, words};
use crate::model::{Header, Record, Timestamp};

/// A seek is answered by librdkafka's own thread, not by a broker.
const SEEK_TIMEOUT: Duration = Duration::from_secs(5);
/// Asks for the log's end.
const LATEST: i64 = -1;
const UNASSIGNED: i32 = -1; // a subscription names no partition
const NO_ERROR: rd::rd_kafka_resp_err_t = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;

/// What one call of [`Handle::poll`] hands over, partition by partition in order.
#[derive(Debug)]
pub enum Polled<'a> {
    /// A record.
    Record(i32, Record<'a>),
    /// Everything up to this offset was handed over; it lies behind transaction markers.
    End(i32, i64),
    /// The partition (or, when `None`, the consumer) met an error and reads no further until assigned again.
    Failed(Option<i32>, Error),
}

/// What the group decided while polling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebalance {
    /// These partitions are ours from now on; none is read before it is assigned an offset.
    Assigned(Vec<i32>),
    /// None is ours any more. `lost`: they may already be somebody else's.
    Revoked {
        /// Whether the group had thrown us out before.
        lost: bool,
    },
}

/// Who we are in the group. Commits are valid as long as both stay the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Counts the group's rebalances; −1 while we are no member.
    pub generation: i32,
    /// The id that the coordinator gave us.
    pub id: String,
}

/// Where to read on in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: i32,
    /// The offset of the next record, or one before it.
    pub offset: i64,
    /// The leader epoch of the record before it; −1 when unknown. With it librdkafka notices when the log is cut there and written anew,
    /// without it it cannot.
    pub leader_epoch: i32,
}

impl Place {
    /// A place of which nothing is known that lies before it.
    pub const fn at(partition: i32, offset: i64) -> Self {
        Self { partition, offset, leader_epoch: -1 }
    }
}

/// A committed offset with its metadata as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The offset.
    pub offset: i64,
    /// Any bytes; empty when none were stored.
    pub metadata: Vec<u8>,
}

/// Called while partitions are about to be revoked and are still ours: gives the commits to make now.
pub type OnRevoke = Box<dyn FnMut() -> Vec<(i32, i64)> + Send>;

struct Callbacks {
    topic: CString,
    assigned: RefCell<Option<Member>>,
    rebalances: RefCell<Vec<Rebalance>>,
    on_revoke: RefCell<OnRevoke>,
    errors: RefCell<Vec<Error>>,
}

/// One consumer in a group.
///
/// `poll`, `assign` and `commit` belong to one thread; the questions (`committed`, `seen_end`, `member`) may come from any.
pub struct Handle {
    rk: *mut rd::rd_kafka_t,
    queue: *mut rd::rd_kafka_queue_t,
    callbacks: *mut Callbacks,
    topic: CString,
}

// SAFETY: librdkafka's handles may be used from any thread. `callbacks` is touched only inside rd_kafka calls of the polling
// thread (poll, close) and by its own methods of that thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    /// A consumer with this configuration that subscribes to `topic`. Connects in the background.
    ///
    /// # Errors
    /// A setting that librdkafka refuses.
    pub fn new(config: &ClientConfig, topic: &str, on_revoke: OnRevoke) -> Result<Self, Error> {
        let handle = Self::open(config, topic, on_revoke)?;
        handle.subscribe()?;
        Ok(handle)
    }

    /// A consumer that stays out of its group: it reads what it is assigned, and asks what the group has committed. It disturbs nobody.
    ///
    /// # Errors
    /// A setting that librdkafka refuses.
    pub fn apart(config: &ClientConfig, topic: &str) -> Result<Self, Error> {
        Self::open(config, topic, Box::new(Vec::new))
    }

    fn open(config: &ClientConfig, topic: &str, on_revoke: OnRevoke) -> Result<Self, Error> {
        let invalid =
            |text: String| Error { action: "configure the Kafka consumer", code: RDKafkaErrorCode::InvalidArgument, text };
        let topic = CString::new(topic).map_err(|_| invalid(format!("`{topic}` is not a topic's name")))?;
        let callbacks = Box::into_raw(Box::new(Callbacks {
            topic: topic.clone(),
            assigned: RefCell::default(),
            rebalances: RefCell::default(),
            on_revoke: RefCell::new(on_revoke),
            errors: RefCell::default(),
        }));
        let mut text = [0 as c_char; 512];
        // SAFETY: `conf` is ours until rd_kafka_new succeeds, then the handle's; `callbacks` outlives the handle (freed in Drop).
        unsafe {
            let conf = rd::rd_kafka_conf_new();
            for key in config.config_map().into_keys() {
                let value = config.get(key).unwrap_or_default(); // the map itself shows placeholders for secrets
                let (Ok(key_c), Ok(value_c)) = (CString::new(key), CString::new(value)) else {
                    rd::rd_kafka_conf_destroy(conf);
                    drop(Box::from_raw(callbacks));
                    return Err(invalid(format!("`{key}` holds a zero byte")));
                };
                let set = rd::rd_kafka_conf_set(conf, key_c.as_ptr(), value_c.as_ptr(), text.as_mut_ptr(), text.len());
                if set != rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    rd::rd_kafka_conf_destroy(conf);
                    drop(Box::from_raw(callbacks));
                    return Err(invalid(words(text.as_ptr())));
                }
            }
            rd::rd_kafka_conf_set_opaque(conf, callbacks.cast::<c_void>());
            rd::rd_kafka_conf_set_rebalance_cb(conf, Some(rebalance_callback));
            rd::rd_kafka_conf_set_error_cb(conf, Some(error_callback));
            rd::rd_kafka_conf_set_log_cb(conf, Some(log_callback));
            let rk = rd::rd_kafka_new(rd::rd_kafka_type_t::RD_KAFKA_CONSUMER, conf, text.as_mut_ptr(), text.len());
            if rk.is_null() {
                rd::rd_kafka_conf_destroy(conf);
                drop(Box::from_raw(callbacks));
                return Err(invalid(words(text.as_ptr())));
            }
            rd::rd_kafka_poll_set_consumer(rk);
            let queue = rd::rd_kafka_queue_get_consumer(rk);
            Ok(Self { rk, queue, callbacks, topic })
        }
    }

    /// Joins the group (again).
    ///
    /// # Errors
    /// What librdkafka refuses.
    pub fn subscribe(&self) -> Result<(), Error> {
        let list = List::one(&self.topic, UNASSIGNED);
        // SAFETY: both live; the list is copied.
        check("subscribe", unsafe { rd::rd_kafka_subscribe(self.rk, list.0) })
    }

    /// Leaves the group: the one sure way to fence a commit that may still be under way. Partitions are revoked while polling.
    ///
    /// # Errors
    /// What librdkafka refuses.
    pub fn leave(&self) -> Result<(), Error> {
        // SAFETY: a live handle.
        check("leave the group", unsafe { rd::rd_kafka_unsubscribe(self.rk) })
    }

    /// Waits up to `timeout` for `max` records and hands over what came, then tells of rebalances. When the group moved in this
    /// call, its records are dropped: they will be read again from the offsets that the new owner decides on.
    pub fn poll(&self, max: usize, timeout: Duration, mut take: impl FnMut(Polled<'_>)) -> Vec<Rebalance> {
        let mut messages: Vec<*mut rd::rd_kafka_message_t> = vec![ptr::null_mut(); max];
        // SAFETY: `messages` has room for `max`; each message is destroyed once, after its last use.
        unsafe {
            let count = rd::rd_kafka_consume_batch_queue(self.queue, millis(timeout), messages.as_mut_ptr(), max);
            let rebalances = (*self.callbacks).rebalances.take();
            for &message in messages.iter().take(usize::try_from(count).unwrap_or(0)) {
                if rebalances.is_empty() {
                    self.hand_over(&*message, &mut take);
                }
                rd::rd_kafka_message_destroy(message);
            }
            for error in (*self.callbacks).errors.take() {
                take(Polled::Failed(None, error));
            }
            rebalances
        }
    }

    /// # Safety
    /// `message` is live until this returns.
    unsafe fn hand_over(&self, message: &rd::rd_kafka_message_t, take: &mut impl FnMut(Polled<'_>)) {
        match message.err {
            NO_ERROR => {
                let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
                // SAFETY: the message and all it points to live until the caller destroys it.
                let record = unsafe {
                    let timestamp = rd::rd_kafka_message_timestamp(message, &raw mut kind);
                    Record {
                        offset: message.offset,
                        timestamp: Timestamp::from_millis(timestamp),
                        leader_epoch: rd::rd_kafka_message_leader_epoch(message),
                        key: bytes(message.key, message.key_len),
                        value: bytes(message.payload, message.len),
                        headers: headers(message),
                    }
                };
                take(Polled::Record(message.partition, record));
            }
            rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => take(Polled::End(message.partition, message.offset)),
            code => {
                // SAFETY: an error message's payload is its text.
                let text = unsafe { words(rd::rd_kafka_message_errstr(message)) };
                let partition = (!message.rkt.is_null()).then_some(message.partition);
                take(Polled::Failed(partition, Error { action: "read the events topic", code: code.into(), text }));
            }
        }
    }

    /// Makes the polling thread return from [`Handle::poll`] at once.
    pub fn wake(&self) {
        // SAFETY: a live queue.
        unsafe { rd::rd_kafka_queue_yield(self.queue) }
    }

    /// Reads exactly these partitions from exactly these places on.
    ///
    /// # Errors
    /// What librdkafka refuses.
    pub fn assign(&self, places: &[Place]) -> Result<(), Error> {
        let list = List::of_places(&self.topic, places);
        // SAFETY: both live; the list is copied.
        check("assign partitions", unsafe { rd::rd_kafka_assign(self.rk, list.0) })
    }

    /// Stops reading a partition for now; after [`Handle::resume`] its next record is the one at `position` or behind it.
    ///
    /// # Errors
    /// What librdkafka refuses, and no answer from its own thread. The partition may be paused or not.
    pub fn pause(&self, partition: i32, position: i64) -> Result<(), Error> {
        let list = List::of(&self.topic, &[(partition, position)]);
        // SAFETY: both live.
        check("pause a partition", unsafe { rd::rd_kafka_pause_partitions(self.rk, list.0) })?;
        list.check("pause a partition")?;
        // Without this, reading would go on where librdkafka believes that we are: when the end of the partition was told last, it
        // takes that for a record and skips the next one.
        // SAFETY: both live; the error, if any, is ours to destroy.
        let answer = unsafe {
            let error = rd::rd_kafka_seek_partitions(self.rk, list.0, millis(SEEK_TIMEOUT));
            let answer = rd::rd_kafka_error_code(error);
            rd::rd_kafka_error_destroy(error);
            answer
        };
        check("seek in a paused partition", answer)?;
        list.check("seek in a paused partition")
    }

    /// Reads these partitions again. A pause outlives assignments; this ends it, assigned or not.
    ///
    /// # Errors
    /// What librdkafka refuses.
    pub fn resume(&self, partitions: &[i32]) -> Result<(), Error> {
        let list = List::named(&self.topic, partitions);
        // SAFETY: both live.
        check("resume partitions", unsafe { rd::rd_kafka_resume_partitions(self.rk, list.0) })?;
        self.wake_leaders(partitions);
        Ok(())
    }

    /// A broker's thread that had only paused partitions sleeps up to a second, and nobody wakes it for one that is resumed. A question does.
    fn wake_leaders(&self, partitions: &[i32]) {
        let ends: Vec<(i32, i64)> = partitions.iter().map(|&partition| (partition, LATEST)).collect();
        let list = List::of(&self.topic, &ends);
        // SAFETY: all live; what is made here is freed by its guard. The answer goes to a queue that nobody reads: librdkafka drops it.
        unsafe {
            let queue = Freed(rd::rd_kafka_queue_new(self.rk), rd::rd_kafka_queue_destroy);
            let what = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
            let options = Freed(rd::rd_kafka_AdminOptions_new(self.rk, what), rd::rd_kafka_AdminOptions_destroy);
            rd::rd_kafka_ListOffsets(self.rk, list.0, options.0, queue.0);
        }
    }

    /// Commits an offset with metadata and waits for the broker's answer.
    ///
    /// # Errors
    /// Any answer but success. The commit may still have been made, or be made later, within this generation.
    pub fn commit(&self, partition: i32, offset: i64, metadata: &str) -> Result<(), Error> {
        let list = List::of(&self.topic, &[(partition, offset)]);
        list.set_metadata(metadata)?;
        // SAFETY: both live; synchronous.
        let answer = unsafe { rd::rd_kafka_commit(self.rk, list.0, 0) };
        check("commit", answer)?;
        list.check("commit")
    }

    /// What the group has committed for a partition, if anything.
    ///
    /// # Errors
    /// No answer within `timeout`, or a refusal.
    pub fn committed(&self, partition: i32, timeout: Duration) -> Result<Option<Committed>, Error> {
        const ACTION: &str = "read the committed offset";
        let list = List::one(&self.topic, partition);
        // SAFETY: both live.
        check(ACTION, unsafe { rd::rd_kafka_committed(self.rk, list.0, millis(timeout)) })?;
        list.check(ACTION)?;
        let element = list.first();
        if element.offset < 0 {
            return Ok(None);
        }
        // SAFETY: librdkafka owns `metadata_size` bytes at `metadata` as long as the list lives.
        let metadata = unsafe { bytes(element.metadata, element.metadata_size) }.unwrap_or_default().to_vec();
        Ok(Some(Committed { offset: element.offset, metadata }))
    }

    /// The log's end as the last fetch told it; asks nobody. `None` before the first fetch.
    pub fn seen_end(&self, partition: i32) -> Option<i64> {
        let (mut low, mut high) = (0, 0);
        // SAFETY: all pointers live through the call.
        let answer =
            unsafe { rd::rd_kafka_get_watermark_offsets(self.rk, self.topic.as_ptr(), partition, &raw mut low, &raw mut high) };
        (answer == NO_ERROR && high >= 0).then_some(high)
    }

    /// Who we are in the group now.
    pub fn member(&self) -> Member {
        // SAFETY: a live handle.
        unsafe { member(self.rk) }
    }

    /// Whether the group has thrown us out and a revoke is on its way.
    pub fn is_assignment_lost(&self) -> bool {
        // SAFETY: a live handle.
        unsafe { rd::rd_kafka_assignment_lost(self.rk) != 0 }
    }

    /// Leaves the group and closes all connections. Revokes on the way, as polling does.
    pub fn close(&self) {
        // SAFETY: a live handle; closing twice is answered with an error.
        unsafe {
            rd::rd_kafka_consumer_close(self.rk);
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: nobody else holds the pointers; the callbacks are freed after the last call that may use them.
        unsafe {
            rd::rd_kafka_queue_destroy(self.queue);
            rd::rd_kafka_destroy(self.rk);
            drop(Box::from_raw(self.callbacks));
        }
    }
}

/// # Safety
/// `rk` is a live consumer.
unsafe fn member(rk: *mut rd::rd_kafka_t) -> Member {
    // SAFETY: live by the caller's word; the metadata is null (no member yet) or ours to destroy.
    unsafe {
        let metadata = rd::rd_kafka_consumer_group_metadata(rk);
        if metadata.is_null() {
            return Member { generation: -1, id: String::new() };
        }
        let member = Member {
            generation: rd::rd_kafka_consumer_group_metadata_generation_id(metadata),
            id: words(rd::rd_kafka_consumer_group_metadata_member_id(metadata)),
        };
        rd::rd_kafka_consumer_group_metadata_destroy(metadata);
        member
    }
}

/// A list of partitions of our topic, freed when dropped.
pub(super) struct List(pub(super) *mut rd::rd_kafka_topic_partition_list_t);

impl List {
    pub(super) fn of(topic: &CStr, offsets: &[(i32, i64)]) -> Self {
        // SAFETY: a new list; the topic's name is copied; the element just added is live.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(i32::try_from(offsets.len()).unwrap_or(0));
            for &(partition, offset) in offsets {
                (*rd::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), partition)).offset = offset;
            }
            Self(list)
        }
    }

    fn of_places(topic: &CStr, places: &[Place]) -> Self {
        // SAFETY: as above.
        unsafe {
            let list = rd::rd_kafka_topic_partition_list_new(i32::try_from(places.len()).unwrap_or(0));
            for place in places {
                let element = rd::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), place.partition);
                (*element).offset = place.offset;
                rd::rd_kafka_topic_partition_set_leader_epoch(element, place.leader_epoch);
            }
            Self(list)
        }
    }

    pub(super) fn named(topic: &CStr, partitions: &[i32]) -> Self {
        let offsets: Vec<(i32, i64)> =
            partitions.iter().map(|&partition| (partition, i64::from(rd::RD_KAFKA_OFFSET_INVALID))).collect();
        Self::of(topic, &offsets)
    }

    fn one(topic: &CStr, partition: i32) -> Self {
        Self::named(topic, &[partition])
    }

    /// The only element of a list made with one.
    pub(super) fn first(&self) -> &rd::rd_kafka_topic_partition_t {
        // SAFETY: lists asked for their first element were made with one.
        unsafe { &*(*self.0).elems }
    }

    pub(super) fn check(&self, action: &'static str) -> Result<(), Error> {
        check(action, self.first().err)
    }

    /// Gives the first element its metadata, in memory that librdkafka may free.
    fn set_metadata(&self, metadata: &str) -> Result<(), Error> {
        if metadata.is_empty() {
            return Ok(());
        }
        // SAFETY: librdkafka frees `metadata` with its own allocator, which is the C library's: rd_kafka_mem_malloc gives such memory.
        unsafe {
            let memory = rd::rd_kafka_mem_malloc(ptr::null_mut(), metadata.len());
            if memory.is_null() {
                return Err(Error { action: "commit", code: RDKafkaErrorCode::InvalidArgument, text: "out of memory".into() });
            }
            ptr::copy_nonoverlapping(metadata.as_ptr(), memory.cast::<u8>(), metadata.len());
            let element = &mut *(*self.0).elems;
            element.metadata = memory;
            element.metadata_size = metadata.len();
        }
        Ok(())
    }
}

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.0) }
    }
}

pub(super) fn check(action: &'static str, answer: rd::rd_kafka_resp_err_t) -> Result<(), Error> {
    if answer == NO_ERROR {
        return Ok(());
    }
    // SAFETY: a static string of librdkafka's.
    let text = unsafe { words(rd::rd_kafka_err2str(answer)) };
    Err(Error { action, code: answer.into(), text })
}

pub(super) fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// # Safety
/// `start` is null or points to `len` live bytes for `'a`.
unsafe fn bytes<'a>(start: *const c_void, len: usize) -> Option<&'a [u8]> {
    // SAFETY: by the caller's word.
    (!start.is_null()).then(|| unsafe { slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// # Safety
/// `message` is live for `'a`.
unsafe fn headers<'a>(message: &rd::rd_kafka_message_t) -> Vec<Header<'a>> {
    let mut list = ptr::null_mut();
    let mut headers = Vec::new();
    // SAFETY: the headers belong to the message; names are C strings, values counted bytes, all live as long as the message.
    unsafe {
        if rd::rd_kafka_message_headers(message, &raw mut list) != NO_ERROR {
            return headers;
        }
        for index in 0.. {
            let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
            if rd::rd_kafka_header_get_all(list, index, &raw mut name, &raw mut value, &raw mut len) != NO_ERROR {
                break;
            }
            headers.push(Header { name: CStr::from_ptr(name).to_bytes(), value: bytes(value, len) });
        }
    }
    headers
}

unsafe extern "C" fn rebalance_callback(
    rk: *mut rd::rd_kafka_t,
    code: rd::rd_kafka_resp_err_t,
    partitions: *mut rd::rd_kafka_topic_partition_list_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka calls this inside poll or close, on their thread, with the opaque we set; the handle outlives the call.
    unsafe {
        let callbacks = &*opaque.cast::<Callbacks>();
        if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let list = &*partitions;
            let elements = if list.cnt > 0 { slice::from_raw_parts(list.elems, list.cnt as usize) } else { &[] };
            let assigned = elements.iter().map(|element| element.partition).collect();
            callbacks.rebalances.borrow_mut().push(Rebalance::Assigned(assigned));
            callbacks.assigned.replace(Some(member(rk)));
            // Nothing is read yet: where to begin is decided with what ClickHouse knows.
            let none = List::of(&callbacks.topic, &[]);
            rd::rd_kafka_assign(rk, none.0);
        } else {
            // Assigning offsets makes librdkafka forget that the assignment is lost; who we are in the group tells it still.
            let moved = callbacks.assigned.take().is_some_and(|assigned| assigned != member(rk));
            let lost = moved || rd::rd_kafka_assignment_lost(rk) != 0;
            let commits = (callbacks.on_revoke.borrow_mut())();
            if !lost && !commits.is_empty() {
                // A convenience for those who watch the lag: the row in `batches` says the same.
                let list = List::of(&callbacks.topic, &commits);
                rd::rd_kafka_commit(rk, list.0, 0);
            }
            callbacks.rebalances.borrow_mut().push(Rebalance::Revoked { lost });
            rd::rd_kafka_assign(rk, ptr::null());
        }
    }
}

unsafe extern "C" fn error_callback(_: *mut rd::rd_kafka_t, code: i32, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: as in the rebalance callback; `reason` is a live C string.
    unsafe {
        let callbacks = &*opaque.cast::<Callbacks>();
        let code = RDKafkaErrorCode::from(code_of(code));
        callbacks.errors.borrow_mut().push(Error { action: "talk to Kafka", code, text: words(reason) });
    }
}

unsafe extern "C" fn log_callback(_: *const rd::rd_kafka_t, level: i32, facility: *const c_char, text: *const c_char) {
    // SAFETY: live C strings.
    let (facility, text) = unsafe { (words(facility), words(text)) };
    match level {
        0..=3 => tracing::debug!(target: "librdkafka", facility, "{text}"), // what matters reaches us as an error too
        _ => tracing::trace!(target: "librdkafka", facility, "{text}"),
    }
}

/// librdkafka's codes as its own enum: the callback carries them as a number.
fn code_of(code: i32) -> rd::rd_kafka_resp_err_t {
    let known = [
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__AUTHENTICATION,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__SSL,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__RESOLVE,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__FATAL,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
    ];
    known.into_iter().find(|known| *known as i32 == code).unwrap_or(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN)
}
