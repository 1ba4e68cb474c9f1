//! What one look after the other says of a partition.

use super::*;

/// Two topics that were read so far, and whether more of each waits.
fn topics(read: [u64; 2], waits: [bool; 2]) -> Vec<TopicProgress> {
    let one = |index: usize| TopicProgress {
        topic: "t".into(),
        read: read[index],
        waits: waits[index],
        left_open: None,
    };
    vec![one(0), one(1)]
}

/// A look each second for longer than a stall takes, at topics that are so in each: what was found in the end.
fn found(topics: impl Fn(u64) -> Vec<TopicProgress>) -> Option<usize> {
    let (start, mut seen) = (Instant::now(), Seen::default());
    let mut found = None;
    for second in 0..=STALL.as_secs() + 1 {
        let now = start + Duration::from_secs(second);
        found = seen.left_out(now, &topics(second));
    }
    found.map(|(topic, _)| topic)
}

#[test]
fn a_topic_of_which_nothing_comes_is_found_while_another_flows() {
    assert_eq!(found(|second| topics([second, 7], [true, true])), Some(1));
}

#[test]
fn a_topic_that_is_read_to_its_end_or_moves_is_not_left_out() {
    assert_eq!(found(|second| topics([second, 7], [true, false])), None);
    assert_eq!(
        found(|second| topics([second, second / 20], [true, true])),
        None
    );
}

#[test]
fn where_no_topic_is_read_none_is_left_out() {
    assert_eq!(found(|_| topics([3, 7], [true, true])), None);
}

#[test]
fn a_topic_that_begins_to_wait_has_time_to_be_read() {
    let late = |second| topics([second, 7], [true, second > STALL.as_secs() / 2]);
    assert_eq!(found(late), None);
}
