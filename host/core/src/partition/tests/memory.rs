use super::*;

#[test]
fn a_partition_reads_no_more_when_the_memory_of_the_host_is_spent_but_always_one_event() {
    let mut config = config();
    config.memory = Arc::new(Budget::new(200, 2));
    let mut others = Share::new(Arc::clone(&config.memory));
    others.take(10_000);
    let mut bench = Bench::new(config);
    let key = "a key of more bytes than the partition has for itself";
    bench.feed(0, Some(key), "0");
    assert!(!bench.machine.has_capacity(), "its own part is spent");
    others.give_back(9_980);
    assert!(bench.machine.has_capacity(), "it borrows");
    others.take(9_980);
    bench.run(done("1"));
    let unit = bench.unit();
    bench.committed(&unit);
    assert!(bench.machine.has_capacity(), "it holds nothing");
}

#[test]
fn what_an_event_is_about_to_write_takes_memory_until_it_is_durable() {
    let mut bench = bench();
    bench.feed(0, Some("k"), "0");
    bench.run(done("a value of some size"));
    let held = bench.machine.memory.bytes();
    let unit = bench.unit();
    assert!(held > commit::completion_bytes(&unit.completions[0]));
    bench.answer(unit.number, refused(0));
    let letter = bench.machine.memory.bytes();
    assert_ne!(letter, held, "what was withdrawn is given back");
    let unit = bench.unit();
    bench.committed(&unit);
    assert_eq!(bench.machine.memory.bytes(), 0);
}
