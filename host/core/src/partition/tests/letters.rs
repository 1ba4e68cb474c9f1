use super::*;

#[test]
fn a_dead_letter_that_is_refused_is_told_and_tried_again_until_it_is_taken() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Permanent));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    bench.answer(unit.number, refused(0));
    let told = bench.machine.gauges(NOW).letter_refused.unwrap();
    assert!(told.contains("too-large"), "{told}");
    bench.now = NOW + Duration::from_secs(1);
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    bench.committed(&unit);
    assert_eq!(bench.machine.gauges(NOW).letter_refused, None);
}

#[test]
fn a_dying_event_without_a_dead_letter_topic_stops_the_partition() {
    let mut bench = Bench::new(Config {
        on_dead: OnDead::Stop,
        ..config()
    });
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Permanent));
    bench.feed(1, Some("l"), "b");
    let unit = bench.unit();
    assert!(
        unit.completions.is_empty(),
        "the attempt is counted, nothing is lost"
    );
    assert!(bench.machine.gauges(NOW).halted.is_some());
    assert!(!bench.machine.has_capacity());
}

#[test]
fn a_record_that_leaves_no_room_for_its_letter_stops_the_partition_and_is_not_lost() {
    let mut bench = bench();
    for (offset, bytes) in [
        (0, 1_000),
        (1, bench.machine.config.limits.letter_bytes_max),
    ] {
        let record = Arc::new(Record {
            value: Some(vec![b'x'; bytes].into()),
            ..Record::default()
        });
        let poison = Decoded::Poison {
            code: "event-too-large".into(),
            message: "m".repeat(1 << 20),
        };
        let position = at(offset);
        bench
            .machine
            .handle_record(bench.now, position, record, poison);
    }
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    assert!(unit.bytes > 1_000 && unit.bytes < 1_000 + dead_letter::HEADERS_BYTES_MAX + 8_192);
    bench.committed(&unit);
    let halted = bench.machine.gauges(NOW).halted.expect("a reason");
    let place = "the record at offset 1 of partition 0 of topic in died (event-too-large)";
    assert!(halted.starts_with(place), "{halted}");
    assert!(halted.ends_with("where 2097152 are allowed"), "{halted}");
    assert_eq!(bench.machine.frontiers().next(), Some(1));
    assert!(!bench.machine.has_capacity());
}
