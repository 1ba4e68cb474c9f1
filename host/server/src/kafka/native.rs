//! What librdkafka tells and its crate does not wrap: of the little that is unsafe about Kafka most stands here.
//!
//! Which topic a name stands for: one that was deleted and made anew under its name has another id. How far a partition was
//! read. And under which name the group knows a member.

use std::ffi::{CStr, CString, c_char};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

/// Of what a client has to tell, at once: nobody waits for more.
const DRAINED_MAX: usize = 10_000;

/// A topic as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Description {
    pub(super) id: u128,
    pub(super) partitions: u32,
}

/// A topic that was asked for; none where there is no such topic.
pub(super) type DescribedTopic = Result<Option<Description>, KafkaError>;

/// Asks for these topics, in this order. What is said of one says nothing of the others.
#[expect(
    unsafe_code,
    reason = "the crate does not wrap DescribeTopics, and nothing else tells a topic's id"
)]
pub(super) fn describe(
    client: &Client<impl ClientContext>,
    topics: &[Arc<str>],
    timeout: Duration,
) -> Result<Vec<DescribedTopic>, KafkaError> {
    let failed = |code| KafkaError::AdminOp(code);
    let names = topics.iter().map(|name| CString::new(&**name));
    let names: Vec<CString> = names
        .collect::<Result<_, _>>()
        .map_err(|_zero| failed(RDKafkaErrorCode::InvalidTopic))?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let wait = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let client = client.native_ptr();
    // SAFETY: the client lives as long as the borrow of it. What librdkafka makes here is checked for null and destroyed
    // once, by `Owned`, in the reverse order; it copies the names. The result lives as long as its event, and nothing
    // of it is kept. It has a place for each topic, which is null where the broker has said nothing of it.
    unsafe {
        let own = RDKafkaErrorCode::Fail;
        let collection = Owned::new(
            rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len()),
            rd::rd_kafka_TopicCollection_destroy,
        );
        let collection = collection.ok_or(failed(own))?;
        let options = Owned::new(
            rd::rd_kafka_AdminOptions_new(
                client,
                rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS,
            ),
            rd::rd_kafka_AdminOptions_destroy,
        );
        let options = options.ok_or(failed(own))?;
        rd::rd_kafka_AdminOptions_set_request_timeout(options.0, wait, std::ptr::null_mut(), 0);
        let queue = Owned::new(rd::rd_kafka_queue_new(client), rd::rd_kafka_queue_destroy);
        let queue = queue.ok_or(failed(own))?;
        rd::rd_kafka_DescribeTopics(client, collection.0, options.0, queue.0);
        let event = Owned::new(
            rd::rd_kafka_queue_poll(queue.0, wait),
            rd::rd_kafka_event_destroy,
        );
        let event = event.ok_or(failed(RDKafkaErrorCode::OperationTimedOut))?;
        check(event_error(event.0))?;
        let result = rd::rd_kafka_event_DescribeTopics_result(event.0);
        if result.is_null() {
            return Err(failed(own));
        }
        let mut count = 0;
        let found = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let described = |name: &CString| -> DescribedTopic {
            for at in 0..count {
                let topic = *found.add(at);
                if topic.is_null() {
                    continue;
                }
                if CStr::from_ptr(rd::rd_kafka_TopicDescription_name(topic)) != name.as_c_str() {
                    continue;
                }
                let error = rd::rd_kafka_TopicDescription_error(topic);
                if !error.is_null() {
                    match check(error_code(error)) {
                        Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition)) => {
                            return Ok(None);
                        }
                        checked => checked?,
                    }
                }
                let id = rd::rd_kafka_TopicDescription_topic_id(topic);
                let mut partitions = 0;
                rd::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
                return Ok(Some(Description {
                    id: bits(rd::rd_kafka_Uuid_most_significant_bits(id)) << 64
                        | bits(rd::rd_kafka_Uuid_least_significant_bits(id)),
                    partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
                }));
            }
            Err(failed(RDKafkaErrorCode::Fail))
        };
        Ok(names.iter().map(described).collect())
    }
}

/// Behind the last record, or marker of a transaction, that was taken from this consumer's queue of a partition; none before
/// the first. What the crate offers asks for the whole assignment, and another thread, first.
#[expect(
    unsafe_code,
    reason = "the crate wraps it for all that is assigned, which is up to thousands of partitions"
)]
pub(super) fn position<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<u64> {
    let mut place = TopicPartitionList::with_capacity(1);
    place.add_partition(topic, partition);
    // SAFETY: the client and the list live as long as the borrows of them.
    let code = unsafe { rd::rd_kafka_position(consumer.client().native_ptr(), place.ptr()) };
    check(code as i32).ok()?;
    let elements = place.elements();
    match elements.first()?.offset() {
        Offset::Offset(offset) => u64::try_from(offset).ok(),
        Offset::Beginning
        | Offset::End
        | Offset::Stored
        | Offset::Invalid
        | Offset::OffsetTail(_) => None,
    }
}

/// The name that the group gave to this member; empty when it has none.
#[expect(
    unsafe_code,
    reason = "the crate does not wrap it, and nothing else tells that the group took this host for a new one"
)]
pub(super) fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> String {
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as the borrow of it. The text ends with a zero, is copied, and is given back once
    // to the client that made it.
    unsafe {
        let named = rd::rd_kafka_memberid(client);
        if named.is_null() {
            return String::new();
        }
        let copy = CStr::from_ptr(named).to_string_lossy().into_owned();
        rd::rd_kafka_mem_free(client, named.cast());
        copy
    }
}

/// Of the group's assignments, the one that this member takes part in; below 0 when it takes part in none.
#[expect(
    unsafe_code,
    reason = "the crate does not wrap it, and a group without members takes offsets of such a member"
)]
pub(super) fn generation<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> i32 {
    let client = consumer.client().native_ptr();
    // SAFETY: the client lives as long as the borrow of it. What librdkafka makes is checked for null and destroyed once.
    unsafe {
        let made = Owned::new(
            rd::rd_kafka_consumer_group_metadata(client),
            rd::rd_kafka_consumer_group_metadata_destroy,
        );
        made.map_or(-1, |made| {
            rd::rd_kafka_consumer_group_metadata_generation_id(made.0)
        })
    }
}

/// Tells the context of a client that nobody polls what librdkafka has for it, and which error was the last. Until it is
/// asked it keeps all of that, however much it is.
#[expect(
    unsafe_code,
    reason = "the crate polls consumers and producers, and what admin clients are asked"
)]
pub(super) fn drain(client: &Client<impl ClientContext>) -> Option<String> {
    let context = client.context();
    let text = |text: *const c_char| {
        // SAFETY: what librdkafka tells of an event ends with a zero, and lives as long as the event.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.unwrap_or_default().to_string_lossy().trim().to_owned()
    };
    let mut last = None;
    // SAFETY: the client lives as long as the borrow of it. What librdkafka makes is checked for null and destroyed once,
    // by `Owned`; texts are copied before.
    unsafe {
        let queue = Owned::new(
            rd::rd_kafka_queue_get_main(client.native_ptr()),
            rd::rd_kafka_queue_destroy,
        )?;
        for _ in 0..DRAINED_MAX {
            let event = rd::rd_kafka_queue_poll(queue.0, 0);
            let Some(event) = Owned::new(event, rd::rd_kafka_event_destroy) else {
                break;
            };
            let (mut facility, mut message, mut level) = (std::ptr::null(), std::ptr::null(), 0);
            let failed = known(event_error(event.0));
            if rd::rd_kafka_event_log(event.0, &raw mut facility, &raw mut message, &raw mut level)
                == 0
            {
                // What other clients of the host have warned of by now.
                context.log(RDKafkaLogLevel::Debug, &text(facility), &text(message));
            } else if failed != RDKafkaErrorCode::NoError {
                let reason = text(rd::rd_kafka_event_error_string(event.0));
                context.error(KafkaError::Global(failed), &reason);
                // It follows the reason, and says none.
                if failed != RDKafkaErrorCode::AllBrokersDown {
                    last = Some(reason);
                }
            }
        }
    }
    last
}

// The same functions as in the crate, where they return an enum: a broker's code is passed on as it comes, and one that the
// enum lacks must not become a value of it.
#[expect(
    unsafe_code,
    reason = "the crate takes any number for one of its codes"
)]
unsafe extern "C" {
    #[link_name = "rd_kafka_error_code"]
    fn error_code(error: *const rd::rd_kafka_error_t) -> i32;
    #[link_name = "rd_kafka_event_error"]
    fn event_error(event: *mut rd::rd_kafka_event_t) -> i32;
}

/// What librdkafka made and has to destroy.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Owned<T> {
    /// None where nothing was made.
    ///
    /// # Safety
    /// What was made is destroyed by `destroy`, and by nobody else.
    #[expect(unsafe_code, reason = "it is dropped where nothing is unsafe")]
    unsafe fn new(made: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Option<Self> {
        (!made.is_null()).then_some(Self(made, destroy))
    }
}

impl<T> Drop for Owned<T> {
    #[expect(unsafe_code, reason = "what was made must be destroyed")]
    fn drop(&mut self) {
        // SAFETY: it is not null, who made this has promised that it is destroyed so, and it is dropped once.
        unsafe { (self.1)(self.0) }
    }
}

fn check(code: i32) -> Result<(), KafkaError> {
    let code = known(code);
    if code == RDKafkaErrorCode::NoError {
        return Ok(());
    }
    Err(KafkaError::AdminOp(code))
}

/// A code that the crate does not know is an unknown one.
fn known(code: i32) -> RDKafkaErrorCode {
    rd::rd_kafka_resp_err_t::try_from(code).map_or(RDKafkaErrorCode::Unknown, Into::into)
}

fn bits(half: i64) -> u128 {
    u128::from(half.cast_unsigned())
}
