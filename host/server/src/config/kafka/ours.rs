//! What librdkafka is told by the host alone: another value would break a promise, so naming it is a fault.

/// Names, aliases among them, and why; what librdkafka itself refuses beside ours is not here.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", BOOTSTRAP),
    ("metadata.broker.list", BOOTSTRAP),
    // Who a host is.
    ("client.id", HOST_ID),
    ("group.instance.id", HOST_ID),
    ("group.id", "it follows from the handler"),
    (
        "transactional.id",
        "it follows from the handler and the host",
    ),
    // How partitions move.
    ("group.protocol", MOVES),
    ("group.protocol.type", MOVES),
    ("group.remote.assignor", MOVES),
    ("partition.assignment.strategy", MOVES),
    ("session.timeout.ms", "a dead host's events move after it"),
    (
        "heartbeat.interval.ms",
        "the group must hear of the host well within its session",
    ),
    ("max.poll.interval.ms", "polling does not wait for handlers"),
    // Positions.
    ("enable.auto.commit", POSITIONS),
    ("auto.commit.enable", POSITIONS),
    ("enable.auto.offset.store", POSITIONS),
    ("offset.store.method", POSITIONS),
    (
        "auto.offset.reset",
        "a position that is gone must not be passed over",
    ),
    // What is read.
    ("isolation.level", "what was aborted must not be read"),
    (
        "enable.partition.eof",
        "the end of a changelog is told by it",
    ),
    ("statistics.interval.ms", "what still waits is told by them"),
    ("queued.max.messages.kbytes", FETCHED),
    ("fetch.message.max.bytes", FETCHED),
    ("max.partition.fetch.bytes", FETCHED),
    // What is written.
    ("acks", DURABLE),
    ("request.required.acks", DURABLE),
    ("delivery.report.only.error", REPORTS),
    ("enabled_events", REPORTS),
    ("enable.idempotence", "records must not be doubled"),
    ("queuing.strategy", "records must keep their order"),
    ("partitioner", PLACES),
    ("message.max.bytes", "it follows from kafka.letter_bytes"),
    (
        "transaction.timeout.ms",
        "a dead host's open transaction holds its partitions so long",
    ),
    ("message.timeout.ms", TIME),
    ("delivery.timeout.ms", TIME),
    ("message.send.max.retries", AGAIN),
    ("retries", AGAIN),
    (
        "enable.gapless.guarantee",
        "a record that was not taken in time is no end: its unit is committed again",
    ),
    // What there is.
    (
        "allow.auto.create.topics",
        "topics are made with the settings that they need",
    ),
    ("topic.blacklist", UNSEEN),
    ("topic.metadata.propagation.max.ms", UNSEEN),
    ("api.version.request", VERSIONS),
    ("api.version.fallback.ms", VERSIONS),
    ("broker.version.fallback", VERSIONS),
    // The process.
    (
        "internal.termination.signal",
        "a signal that ends a client would end the host",
    ),
];

const BOOTSTRAP: &str = "write it as kafka.bootstrap";
const HOST_ID: &str = "it is the host's id: write host_id";
const MOVES: &str =
    "all hosts of a group must have the same, under which partitions move one at a time";
const POSITIONS: &str = "positions are committed with what they stand for";
const FETCHED: &str = "it follows from memory.budget_bytes";
const DURABLE: &str = "what is acknowledged must be durable";
const REPORTS: &str = "what is durable is known by the reports of it";
const PLACES: &str = "the host says itself to which partition a record goes";
const TIME: &str = "a record is given up before its transaction or its publisher is";
const AGAIN: &str = "a record is sent again until its time is over, so that it is there once";
const UNSEEN: &str =
    "a topic that is not seen is taken for one that is not there, and what goes to it dies";
const VERSIONS: &str =
    "what brokers can do is asked of them: by the rules of old ones what was aborted would be read";

/// Why a setting cannot be set; none of one that can.
pub(crate) fn refusal(name: &str) -> Option<&'static str> {
    let ours = OURS.iter().find(|(ours, _)| *ours == name);
    ours.map(|(_, why)| *why)
}

#[cfg(test)]
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OURS.iter().map(|(name, _)| *name)
}
