use super::*;

#[test]
fn an_event_without_a_key_does_not_take_the_id_of_a_running_one() {
    let mut bench = Bench::new(Config {
        keyed_only: true,
        ..config()
    });
    bench.feed(0, Some("k"), "a");
    let running = bench.attempt().id;
    bench.feed(1, None, "a");
    bench.feed(2, Some("l"), "a");
    bench.pass(Duration::from_secs(1));
    assert!(bench.poll().is_none());
    bench.outcome(running, done("1"));
    assert_eq!(
        fates(&bench.unit()),
        [
            (record(0), Fate::Handled),
            (record(1), Fate::Duplicate),
            (record(2), Fate::Duplicate)
        ]
    );
}

#[test]
fn a_repeat_of_a_dead_event_is_a_duplicate() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "a");
    bench.run(failed(FailureKind::Permanent));
    let unit = bench.unit();
    assert_eq!(fates(&unit), [(record(0), Fate::Dead)]);
    bench.committed(&unit);
    bench.feed(1, Some("k"), "a");
    assert_eq!(fates(&bench.unit()), [(record(1), Fate::Duplicate)]);
}

#[test]
fn an_emission_without_a_key_goes_where_its_repeat_will_go() {
    let mut bench = bench();
    bench.feed(0, None, "a");
    let emissions = vec![Emission {
        ty: "Counted".into(),
        ..Emission::default()
    }];
    bench.run(Outcome::Done(Effects {
        emissions,
        ..Effects::default()
    }));
    let unit = bench.unit();
    let out = &unit.completions[0].output.records[0];
    let id = std::str::from_utf8(out.record.header("ce_id").unwrap()).unwrap();
    let place = crate::identity::partition_hash(None, DEFAULT_TENANT, "/weir/count", id);
    assert_eq!((out.partition, out.partition_hash), (None, place));
    assert_eq!(out.record.key, None, "the record stays without a key");
}
