//! When marks leave the inbox: by the clocks of all topics, and so many in a unit.

use super::marks::mark_of;
use super::*;
use crate::partition::commit::EXPIRED_MAX;
use crate::unit::InboxBlock;

const OUTAGE: Duration = Duration::from_secs(25 * 3_600);
const MINUTE: Duration = Duration::from_secs(60);

fn position(topic: u16, offset: u64) -> Position {
    Position { topic, offset }
}

/// One that reads two topics of events. It has handled those with the ids from 1 on at [`NOW`], and the fleet was down since.
fn after_an_outage(handled: u64) -> Bench {
    let mut inbox = inbox::Inbox::default();
    for unit in 1..=handled {
        inbox.insert(InboxBlock {
            unit,
            stream_time: NOW,
            staged_at: NOW,
            ids: [mark_of(&unit.to_string())].into(),
        });
    }
    let config = Config {
        topics: Arc::new(["orders".into(), "settings".into(), "commands".into()]),
        dead_letter_topics: Arc::new(["dlq.orders".into(), "dlq.settings".into(), "".into()]),
        commands: Some(2),
        ..config()
    };
    let restore = Restore {
        unit: handled,
        inbox,
        stream_time: NOW,
        ..Restore::default()
    };
    let mut bench = Bench::restored(config, restore);
    bench.pass(OUTAGE);
    bench
}

impl Bench {
    fn feed_from(&mut self, position: Position, id: &str, time: Millis) {
        let record = Record {
            timestamp_ms: time.0,
            ..Record::default()
        };
        let event = Decoded::Event(Arc::new(Event {
            id: id.into(),
            source: "/till".into(),
            ..Event::default()
        }));
        let record = Arc::new(record);
        self.machine
            .handle_record(self.now, position, record, event);
    }

    /// Handles an event of the other topic and answers what expires with it.
    fn handle_setting(&mut self, offset: u64, time: Millis) -> Vec<u64> {
        self.feed_from(position(1, offset), &format!("setting {offset}"), time);
        self.run(done("1"));
        let unit = self.unit();
        self.committed(&unit);
        unit.expired_blocks.clone()
    }
}

#[test]
fn a_record_of_one_topic_expires_nothing_that_may_come_again_in_another() {
    let mut bench = after_an_outage(1);
    for offset in 0..3 {
        assert_eq!(bench.handle_setting(offset, bench.now), []);
    }
    bench.feed_from(position(0, 0), "1", NOW + MINUTE);
    assert_eq!(fates(&bench.unit()), [(record(0), Fate::Duplicate)]);
}

#[test]
fn commands_of_an_operator_are_no_stream() {
    let mut bench = after_an_outage(1);
    let skipped = |bench: &mut Bench, topic| {
        let (record, decoded) = (Record::default(), Decoded::Skipped);
        let record = Arc::new(Record {
            timestamp_ms: bench.now.0,
            ..record
        });
        bench
            .machine
            .handle_record(bench.now, position(topic, 0), record, decoded);
        let unit = bench.unit();
        bench.committed(&unit);
        unit
    };
    let unit = skipped(&mut bench, 2);
    assert_eq!(unit.stream_time, NOW, "it dates no mark");
    skipped(&mut bench, 0);
    skipped(&mut bench, 1);
    assert_eq!(
        bench.handle_setting(1, bench.now),
        [1],
        "and none waits for it"
    );
}

#[test]
fn what_was_read_and_waits_is_looked_up_before_records_behind_it_expire_its_mark() {
    let mut bench = after_an_outage(1);
    let end = bench.now;
    bench.machine.handle_end(end, position(1, 0));
    // All of the backlog at once.
    bench.feed_from(position(0, 0), "2", NOW + MINUTE);
    bench.feed_from(position(0, 1), "1", NOW + MINUTE);
    bench.feed_from(position(0, 2), "3", end);
    bench.run(done("1"));
    bench.run(done("1"));
    assert_eq!(
        fates(&bench.unit()),
        [
            (record(0), Fate::Handled),
            (record(1), Fate::Duplicate),
            (record(2), Fate::Handled),
        ]
    );
}

#[test]
fn marks_leave_where_nothing_comes_of_a_topic_that_is_read_to_its_end() {
    let mut bench = after_an_outage(1);
    bench.machine.handle_end(bench.now, position(0, 0));
    assert_eq!(bench.handle_setting(0, bench.now), [], "it is not read");
    assert_eq!(bench.handle_setting(1, bench.now), [1]);
}

#[test]
fn the_end_of_a_topic_counts_when_all_before_it_has_a_fate() {
    let mut bench = after_an_outage(1);
    assert_eq!(bench.handle_setting(0, bench.now), []);
    bench.machine.handle_end(bench.now, position(0, 2));
    bench.feed_from(position(0, 0), "1", NOW + MINUTE);
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Duplicate)]);
    bench.committed(&unit);
    assert_eq!(bench.handle_setting(1, bench.now), [], "one is not read");
    bench.machine.handle_passed(bench.now, position(0, 2));
    let unit = bench.unit();
    assert_eq!(unit.expired_blocks, [1]);
}

#[test]
fn what_leaves_at_once_is_deleted_over_several_units_and_again_after_one_that_is_absent() {
    const HANDLED: u64 = 100_000;
    let mut bench = after_an_outage(HANDLED);
    bench.machine.handle_end(bench.now, position(0, 0));
    bench.machine.handle_end(bench.now, position(1, 0));
    bench.feed_from(position(0, 0), "new", bench.now);
    let message = String::new();
    let mut faults = vec![refused(0), CommitResult::Unavailable { message }];
    let mut expired = Vec::new();
    let mut again = None;
    while bench.machine.gauges(bench.now).open > 0 || bench.machine.poll_timeout().is_some() {
        bench.pass(Duration::from_millis(100));
        match bench.poll() {
            Some(Action::Attempt(attempt)) => bench.outcome(attempt.id, done("1")),
            Some(Action::Commit(unit)) => {
                assert!(unit.expired_blocks.len() <= EXPIRED_MAX);
                assert!(unit.bytes >= 100 * unit.expired_blocks.len());
                let before = again.take().unwrap_or_else(|| unit.expired_blocks.clone());
                assert_eq!(unit.expired_blocks, before, "those of the absent one");
                let fault = faults.pop_if(|_| !unit.completions.is_empty());
                if let Some(fault) = fault {
                    again = Some(before);
                    bench.answer(unit.number, fault);
                } else {
                    expired.extend(before);
                    bench.committed(&unit);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(faults.is_empty());
    assert_eq!(expired, (1..=HANDLED).collect::<Vec<_>>());
    assert_eq!(bench.machine.gauges(bench.now).inbox_ids, 1);
    assert!(bench.poll().is_none(), "nothing is left to do");
}

#[test]
fn a_partition_that_moves_leaves_what_expired_to_its_next_owner() {
    let mut bench = after_an_outage(100_000);
    bench.machine.handle_end(bench.now, position(0, 0));
    assert_eq!(bench.handle_setting(0, bench.now), []);
    assert_eq!(bench.handle_setting(1, bench.now).len(), EXPIRED_MAX);
    let unit = bench.unit();
    assert_eq!(unit.expired_blocks.len(), EXPIRED_MAX);
    bench.machine.handle_revoke();
    bench.committed(&unit);
    let unit = bench.unit();
    assert!(unit.lease.is_empty(), "the last one");
    bench.committed(&unit);
    assert!(bench.machine.is_drained());
}
