use super::*;

const BYTES: u64 = 1000;

/// What is wrong with a topic for this whose settings are these.
fn flaw(purpose: Purpose, settings: &[(&str, &str)]) -> Option<String> {
    let settings = settings.iter().copied();
    let settings = settings.map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    judge("t", purpose, BYTES, &settings.collect()).err()
}

#[track_caller]
fn check(purpose: Purpose, settings: &[(&str, &str)], said: &str) {
    let flaw = flaw(purpose, settings).unwrap_or_default();
    assert!(flaw.contains(said), "{flaw}");
}

const ALL: [Purpose; 5] = [
    Purpose::Table,
    Purpose::Control,
    Purpose::Events,
    Purpose::Letters,
    Purpose::Kept,
];

#[test]
fn what_nobody_tells_of_a_topic_is_nothing_wrong_with_it() {
    for purpose in ALL {
        assert_eq!(flaw(purpose, &[]), None, "{purpose:?}");
        let untold = HashMap::from([(BOUND.to_owned(), None), (CLEANUP.to_owned(), None)]);
        assert_eq!(judge("t", purpose, BYTES, &untold), Ok(()), "{purpose:?}");
    }
}

#[test]
fn a_topic_takes_the_largest_record_that_it_is_for() {
    for purpose in ALL {
        assert_eq!(flaw(purpose, &[(BOUND, "1000")]), None, "{purpose:?}");
        let said = "\"t\" takes records of 999 bytes at most: set its max.message.bytes to 1000";
        check(purpose, &[(BOUND, "999")], said);
    }
}

#[test]
fn letters_whose_sequences_are_held_are_kept_for_ever() {
    let limits = [(RETENTION_MS, "86400000"), (RETENTION_BYTES, "1048576")];
    for limit in limits {
        let said = format!("has {} {}: set it to -1", limit.0, limit.1);
        check(Purpose::Kept, &[limit], &said);
        for purpose in [Purpose::Table, Purpose::Events, Purpose::Letters] {
            assert_eq!(flaw(purpose, &[limit]), None, "{purpose:?}");
        }
    }
    let kept = limits.map(|(name, _)| (name, KEEP_ALL));
    assert_eq!(flaw(Purpose::Kept, &kept), None);
}

#[test]
fn a_table_is_compacted_and_keeps_its_removals_for_a_week() {
    let week = TOMBSTONE_RETENTION.as_millis().to_string();
    let good = [(CLEANUP, COMPACT), (TOMBSTONES, &*week)];
    assert_eq!(flaw(Purpose::Table, &good), None);
    let deleted = [(CLEANUP, "compact,delete")];
    let said = "has cleanup.policy \"compact,delete\": set it to \"compact\"";
    check(Purpose::Table, &deleted, said);
    let forgotten = [(CLEANUP, COMPACT), (TOMBSTONES, "86400000")];
    let said = format!("has delete.retention.ms 86400000: set it to {week}");
    check(Purpose::Table, &forgotten, &said);
    for purpose in [Purpose::Events, Purpose::Letters, Purpose::Kept] {
        assert_eq!(flaw(purpose, &deleted), None, "{purpose:?}");
        assert_eq!(flaw(purpose, &forgotten), None, "{purpose:?}");
    }
}

#[test]
fn what_a_broker_forbids_is_for_people_and_what_it_does_not_answer_is_tried_again() {
    let name = || "t".to_owned();
    let scope = Scope {
        group: "g".into(),
        topics: ["t".into()].into(),
    };
    let refused = |code| MakeError::Refused {
        name: name(),
        error: KafkaError::AdminOp(code),
    };
    let denied = unready(&scope, refused(RDKafkaErrorCode::TopicAuthorizationFailed));
    assert!(
        matches!(denied, SubscribeError::Refused { .. }),
        "{denied:?}"
    );
    let late = unready(&scope, refused(RDKafkaErrorCode::OperationTimedOut));
    assert!(
        matches!(late, SubscribeError::Unavailable { .. }),
        "{late:?}"
    );
    let other = MakeError::PartitionCount {
        name: name(),
        found: 3,
        wanted: 4,
    };
    let other = unready(&scope, other).to_string();
    assert!(other.contains("has 3 partitions, 4 are asked"), "{other}");
}
