//! Crash suspects: what may have ended the host runs apart, and counts only when it ran alone.

use super::*;

fn unclean(alone: Option<ItemId>, crashes: u32) -> Restore {
    let open = (crashes > 0).then_some(OpenAttempts {
        item: record(0),
        attempts: Attempts {
            crashes,
            ..Attempts::default()
        },
    });
    Restore {
        unit: 5,
        lease: vec![1_024, 1_024],
        ends: vec![2, 0],
        marked: alone.into_iter().collect(),
        open: open.into_iter().collect(),
        ..Restore::default()
    }
}

/// The same where these were marked together.
fn together(count: u64) -> Restore {
    Restore {
        marked: (0..count).map(record).collect(),
        ends: vec![count, 0],
        ..unclean(None, 0)
    }
}

/// The next unit, which holds no completion.
fn mark(bench: &mut Bench) -> Box<Unit> {
    match bench.poll() {
        Some(Action::Commit(unit)) => {
            assert!(unit.completions.is_empty());
            bench.committed(&unit);
            unit
        }
        other => panic!("no unit but {other:?}"),
    }
}

#[test]
fn after_an_unclean_end_what_may_have_run_runs_apart_after_a_committed_mark() {
    let mut bench = Bench::restored(config(), unclean(None, 0));
    for (offset, key) in [(0, "k"), (1, "l"), (2, "m")] {
        bench.feed(offset, Some(key), key);
    }
    assert_eq!(mark(&mut bench).marked, [], "first the lease");
    assert_eq!(mark(&mut bench).marked, [record(0), record(1)]);
    let first = bench.attempt().id;
    let second = bench.attempt().id;
    assert_eq!([first.item, second.item], [record(0), record(1)]);
    assert!(bench.poll().is_none(), "nothing else runs beside them");
    bench.outcome(first, done("1"));
    assert!(bench.poll().is_none(), "one of them still runs");
    bench.outcome(second, done("1"));
    let unit = bench.unit();
    assert_eq!(
        fates(&unit),
        [(record(0), Fate::Handled), (record(1), Fate::Handled)]
    );
    assert_eq!(unit.marked, []);
    bench.committed(&unit);
    assert_eq!(
        bench.attempt().id.item,
        record(2),
        "it came after the restart"
    );
}

#[test]
fn suspects_are_marked_so_many_together_as_may_soon_run_alone() {
    let mut bench = suspects(100);
    let group = mark(&mut bench).marked;
    assert_eq!(group, (0..64).map(record).collect::<Vec<_>>());
    for _ in 0..64 {
        let id = bench.attempt().id;
        bench.outcome(id, done("1"));
    }
    let unit = bench.unit();
    assert_eq!(unit.marked, (64..100).map(record).collect::<Vec<_>>());
    assert_eq!(unit.completions.len(), 64, "one commit for each group");
}

#[test]
fn of_those_that_were_marked_together_when_the_host_ended_none_is_counted_and_each_runs_alone() {
    let mut bench = Bench::restored(config(), together(2));
    for (offset, key) in [(0, "k"), (1, "l"), (2, "m")] {
        bench.feed(offset, Some(key), key);
    }
    let unit = mark(&mut bench);
    assert_eq!((&unit.marked[..], &unit.open[..]), (&[][..], &[][..]));
    assert_eq!(mark(&mut bench).marked, [record(0)]);
    let first = bench.attempt().id;
    assert_eq!(first.item, record(0));
    assert!(bench.poll().is_none(), "nothing runs beside it");
    bench.outcome(first, done("1"));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Handled)]);
    assert_eq!(unit.marked, [record(1)], "one commit for each");
    bench.committed(&unit);
    let second = bench.attempt().id;
    assert_eq!(second.item, record(1));
    bench.outcome(second, done("1"));
    let unit = bench.unit();
    assert_eq!(unit.marked, []);
    bench.committed(&unit);
    let third = bench.attempt().id;
    assert_eq!(third.item, record(2), "it came after the restart");
}

#[test]
fn an_event_that_is_found_running_alone_three_times_is_dead() {
    let mut bench = Bench::restored(config(), unclean(Some(record(0)), 2));
    bench.feed(0, Some("k"), "k");
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    let letter = &unit.completions[0].output.records[0].record;
    let header = |name: &str| letter.header(name).map(|value| value.to_vec());
    assert_eq!(header("weir.dlq.stage"), Some(b"host".to_vec()));
    assert_eq!(header("weir.dlq.code"), Some(b"crash-suspect".to_vec()));
}

#[test]
fn a_crash_is_counted_durably_before_the_event_runs_again() {
    let mut bench = Bench::restored(config(), unclean(Some(record(0)), 0));
    bench.feed(0, Some("k"), "k");
    let unit = mark(&mut bench);
    assert_eq!(unit.open[0].attempts.crashes, 1);
    assert_eq!(unit.marked, []);
    assert_eq!(mark(&mut bench).marked, [record(0)]);
    assert_eq!(bench.attempt().number, 1, "a crash is no attempt");
}

#[test]
fn after_an_orderly_end_nothing_is_suspect() {
    let restore = Restore {
        lease: Vec::new(),
        ..unclean(None, 0)
    };
    let mut bench = Bench::restored(config(), restore);
    bench.feed(0, Some("k"), "k");
    bench.feed(1, Some("l"), "l");
    let first = bench.attempt().id.item;
    let second = bench.attempt().id.item;
    assert_eq!([first, second], [record(0), record(1)]);
}

#[test]
fn a_suspect_that_is_given_up_in_order_leaves_no_mark() {
    let mut bench = Bench::restored(config(), unclean(None, 0));
    bench.feed(0, Some("k"), "k");
    mark(&mut bench);
    mark(&mut bench);
    bench.attempt();
    bench.machine.handle_revoke();
    bench.machine.abandon_running(bench.now, &mut bench.gate);
    let last = bench.unit();
    assert_eq!((&last.marked[..], last.lease.len()), (&[][..], 0));
    assert_eq!(last.open, []);
}

#[test]
fn a_mark_is_taken_back_while_the_gate_is_open() {
    let mut bench = Bench::restored(config(), unclean(None, 0));
    bench.feed(0, Some("k"), "k");
    assert_eq!(mark(&mut bench).marked, [], "first the lease");
    bench.gate.pause(true);
    assert!(bench.poll().is_none(), "no mark for what may not run");
    bench.gate.pause(false);
    let marking = bench.unit();
    assert_eq!(marking.marked, [record(0)]);
    bench.gate.pause(true);
    bench.committed(&marking);
    assert_eq!(mark(&mut bench).marked, []);
}

/// A machine after an unclean end, under so many suspects, with its first lease.
fn suspects(count: u64) -> Bench {
    let restore = Restore {
        ends: vec![count, 0],
        ..unclean(None, 0)
    };
    let mut bench = Bench::restored(config(), restore);
    for offset in 0..count {
        let key: &'static str = ["k", "l", "m", "n"][usize::try_from(offset % 4).unwrap()];
        bench.feed(
            offset,
            Some(key).filter(|_| offset < 4),
            &offset.to_string(),
        );
    }
    assert_eq!(mark(&mut bench).marked, [], "first the lease");
    bench
}

fn limit(bench: &mut Bench) {
    let one = std::num::NonZeroU32::MIN;
    bench.gate.rate = Some(crate::rate::Rate::new(one, one));
}

#[test]
fn under_a_rate_limit_each_token_starts_a_suspect_however_many_are_ready() {
    let mut bench = suspects(40);
    limit(&mut bench);
    let mut started = Vec::new();
    for _ in 0..40 {
        assert!(mark(&mut bench).marked.len() == 1, "it has its token");
        let id = bench.attempt().id;
        started.push(id.item);
        bench.outcome(id, done("1"));
        let unit = bench.unit();
        bench.committed(&unit);
        bench.pass(Duration::from_secs(1));
    }
    started.sort();
    started.dedup();
    assert_eq!(started.len(), 40, "one a second");
}

#[test]
fn no_mark_is_durable_while_a_suspect_waits_for_the_rate() {
    let mut bench = suspects(2);
    limit(&mut bench);
    mark(&mut bench);
    let first = bench.attempt().id;
    bench.outcome(first, done("1"));
    let unit = bench.unit();
    assert_eq!(unit.marked, [], "the next one has no token");
    bench.committed(&unit);
    assert!(bench.poll().is_none());
    bench.pass(Duration::from_secs(1));
    assert_eq!(mark(&mut bench).marked, [record(1)]);
    assert_eq!(bench.attempt().id.item, record(1));
}

#[test]
fn no_mark_is_durable_while_the_component_is_crowded() {
    let mut bench = suspects(1);
    bench.gate.crowded.own = true;
    assert!(bench.poll().is_none());
    bench.gate.crowded.own = false;
    assert_eq!(mark(&mut bench).marked, [record(0)]);
}

#[test]
fn a_suspect_is_marked_only_when_nothing_else_runs() {
    let mut bench = Bench::restored(config(), unclean(None, 0));
    for (offset, key) in [(0, "k"), (1, "k"), (2, "m")] {
        bench.feed(offset, Some(key), &offset.to_string());
    }
    mark(&mut bench);
    mark(&mut bench);
    bench.run(failed(FailureKind::Transient));
    assert_eq!(mark(&mut bench).marked, []);
    let beside = bench.attempt().id;
    assert_eq!(beside.item, record(2));
    bench.pass(Duration::from_secs(1));
    bench.run(done("1"));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Handled)]);
    assert_eq!(unit.marked, [], "another attempt is running");
    bench.committed(&unit);
    assert!(bench.poll().is_none());
    bench.outcome(beside, done("1"));
    assert_eq!(bench.unit().marked, [record(1)]);
}

#[test]
fn nothing_starts_while_the_mark_of_another_is_durable() {
    let mut bench = suspects(1);
    bench.feed(1, Some("l"), "l");
    mark(&mut bench);
    let suspect = bench.attempt().id;
    bench.outcome(suspect, done("1"));
    let unit = bench.unit();
    assert_eq!(unit.marked, []);
    assert!(bench.poll().is_none(), "its mark stands until this commits");
    bench.committed(&unit);
    assert_eq!(bench.attempt().id.item, record(1));
}

#[test]
fn a_suspect_that_is_given_up_before_it_starts_gives_its_permit_back() {
    let mut bench = suspects(1);
    let marking = bench.unit();
    assert_eq!(marking.marked, [record(0)]);
    bench.machine.handle_revoke();
    bench.machine.abandon_running(bench.now, &mut bench.gate);
    bench.committed(&marking);
    let last = bench.unit();
    assert_eq!((&last.marked[..], last.lease.len()), (&[][..], 0));
}

#[test]
fn crashes_before_and_after_an_event_was_parked_add_up() {
    let event = parked_event();
    let head = crate::unit::Head {
        due: NOW,
        attempts: Attempts {
            crashes: 2,
            ..Attempts::default()
        },
        letter: None,
        held: false,
    };
    let parked = crate::unit::ParkedSequence {
        count: 1,
        bytes: event.bytes(),
        head,
    };
    let restore = Restore {
        parked: vec![(SequenceKey::Alone(record(0)), parked)],
        next_parked: 1,
        ..unclean(Some(ItemId::Parked(0)), 0)
    };
    let mut bench = Bench::restored(config(), restore);
    let load = bench.load();
    let loaded = Loaded::Parked(Some((event, Decoded::Event(Arc::default()))));
    bench.machine.handle_loaded(bench.now, load, loaded);
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(ItemId::Parked(0), Fate::Dead)]);
}

/// Two partitions of one host after an unclean end, each with two suspects and its first lease.
fn two_partitions(alone: Option<ItemId>) -> [Bench; 2] {
    let config = config();
    [alone, None].map(|alone| {
        let mut bench = Bench::restored(config.clone(), unclean(alone, 0));
        for (offset, key) in [(0, "k"), (1, "l")] {
            bench.feed(offset, Some(key), key);
        }
        assert_eq!(mark(&mut bench).marked, [], "first the lease");
        bench
    })
}

#[test]
fn partitions_run_their_suspects_beside_one_another() {
    let [mut a, mut b] = two_partitions(None);
    assert_eq!(mark(&mut a).marked, [record(0), record(1)]);
    a.attempt();
    assert_eq!(mark(&mut b).marked, [record(0), record(1)]);
    b.attempt();
    a.attempt();
    b.attempt();
}

#[test]
fn beside_a_suspect_of_another_partition_other_events_run() {
    let [mut a, mut b] = two_partitions(None);
    mark(&mut a);
    a.attempt();
    let mut clean = Bench::new(Config {
        solitude: Arc::clone(&b.machine.config.solitude),
        ..config()
    });
    clean.feed(0, Some("k"), "k");
    assert_eq!(clean.attempt().id.item, record(0));
    mark(&mut b);
    b.attempt();
}

#[test]
fn a_suspect_that_was_found_marked_before_runs_while_nothing_else_runs_on_the_host() {
    let [mut a, _] = two_partitions(Some(record(0)));
    let mut clean = Bench::new(Config {
        solitude: Arc::clone(&a.machine.config.solitude),
        ..config()
    });
    clean.feed(0, Some("k"), "k");
    clean.feed(1, Some("l"), "l");
    let beside = clean.attempt().id;
    assert!(a.poll().is_none(), "no mark while another attempt runs");
    assert!(clean.poll().is_none(), "and none starts meanwhile");
    clean.outcome(beside, done("1"));
    assert_eq!(mark(&mut a).marked, [record(0)]);
    let suspect = a.attempt().id;
    a.outcome(suspect, done("1"));
    let unit = a.unit();
    assert_eq!(unit.marked, [], "silence is for one");
    let waiting = clean.unit();
    clean.committed(&waiting);
    assert!(clean.poll().is_none(), "its mark stands");
    a.committed(&unit);
    assert_eq!(mark(&mut a).marked, [record(1)]);
    assert_eq!(clean.attempt().id.item, record(1));
}

/// A partition without suspects of the same host, which has an event to start.
fn beside(other: &Bench) -> Bench {
    let mut clean = Bench::new(Config {
        solitude: Arc::clone(&other.machine.config.solitude),
        ..config()
    });
    clean.feed(0, Some("k"), "k");
    clean.run(done("1"));
    let unit = clean.unit();
    clean.committed(&unit);
    clean.feed(1, Some("l"), "l");
    clean
}

#[test]
fn silence_ends_with_the_partition_that_wanted_it() {
    let waiting = || {
        let [mut a, _] = two_partitions(Some(record(0)));
        let mut clean = beside(&a);
        mark(&mut a);
        a.attempt();
        assert!(clean.poll().is_none());
        (a, clean)
    };
    let (mut a, mut clean) = waiting();
    a.machine.handle_revoke();
    a.machine.abandon_running(a.now, &mut a.gate);
    assert!(clean.poll().is_none(), "its mark stands");
    let last = a.unit();
    assert_eq!((&last.marked[..], last.lease.len()), (&[][..], 0));
    a.committed(&last);
    assert!(a.poll().is_none());
    assert!(a.machine.is_drained());
    clean.attempt();

    let (a, mut clean) = waiting();
    drop(a);
    clean.attempt();
}

#[test]
fn the_host_does_not_stand_still_while_the_ledger_does_not_take_a_mark_or_a_fate() {
    let [mut a, _] = two_partitions(Some(record(0)));
    let mut clean = beside(&a);
    let away = || CommitResult::Unavailable {
        message: "away".into(),
    };
    let unit = a.unit();
    assert_eq!(unit.marked, [record(0)]);
    assert!(clean.poll().is_none());
    a.answer(unit.number, away());
    assert!(a.poll().is_none());
    clean.run(done("1"));
    let unit = clean.unit();
    clean.committed(&unit);
    clean.feed(2, Some("m"), "m");

    a.pass(Duration::from_secs(1));
    assert_eq!(mark(&mut a).marked, [record(0)]);
    let suspect = a.attempt().id;
    a.outcome(suspect, done("1"));
    assert!(clean.poll().is_none());
    let unit = a.unit();
    a.answer(unit.number, away());
    assert!(a.poll().is_none());
    assert_eq!(clean.attempt().id.item, record(2));
}

/// Whether the mark stands may not be known for hours.
#[test]
fn the_host_does_not_stand_still_while_the_ledger_does_not_say_whether_a_mark_stands() {
    let [mut a, _] = two_partitions(Some(record(0)));
    let mut clean = beside(&a);
    let unit = a.unit();
    assert_eq!(unit.marked, [record(0)]);
    assert!(clean.poll().is_none());
    assert_eq!(
        a.machine.poll_timeout(),
        Some(a.now + Duration::from_secs(10))
    );
    a.pass(Duration::from_secs(10));
    assert!(a.poll().is_none());
    assert_eq!(a.machine.poll_timeout(), None);
    let beside = clean.attempt().id;

    a.committed(&unit);
    assert!(a.poll().is_none(), "another one runs");
    clean.outcome(beside, done("1"));
    assert_eq!(a.attempt().id.item, record(0));
}

#[test]
fn a_suspect_whose_gate_is_shut_keeps_nobody_from_running_alone() {
    let [mut a, mut b] = two_partitions(None);
    a.gate.pause(true);
    assert!(a.poll().is_none());
    assert_eq!(mark(&mut b).marked, [record(0), record(1)]);
    a.gate.pause(false);
    assert_eq!(mark(&mut a).marked, [record(0), record(1)]);
}

#[test]
fn an_event_that_ran_alone_on_a_host_that_lives_has_ended_nobody() {
    let restore = Restore {
        witnessed: true,
        ..unclean(Some(record(0)), 2)
    };
    let mut bench = Bench::restored(config(), restore);
    bench.feed(0, Some("k"), "0");
    mark(&mut bench);
    assert_eq!(
        mark(&mut bench).marked,
        [record(0)],
        "it is a suspect as before"
    );
    let id = bench.attempt().id;
    bench.outcome(id, done("1"));
    assert_eq!(fates(&bench.unit()), [(record(0), Fate::Handled)]);
}
