use super::*;
use crate::steering::BreakerCommand;

const NEW: Duration = Duration::ZERO;

fn host() -> Vec<u8> {
    entry::host_to_bytes(&HostRecord::new(None, "s".to_owned(), 1))
}

fn ids(table: &Table) -> Vec<String> {
    table.members().into_iter().map(|one| one.id).collect()
}

#[test]
fn the_last_record_of_a_key_counts_and_one_without_a_value_takes_it_back() {
    let mut table = Table::default();
    for id in ["host/b", "host/a"] {
        table.apply(id.as_bytes(), Some(&host()), NEW).unwrap();
    }
    assert_eq!(ids(&table), ["a", "b"]);
    table.apply(b"host/a", None, NEW).unwrap();
    assert_eq!(ids(&table), ["b"]);

    command(&mut table, Change::Paused(true));
    command(&mut table, Change::Breaker(BreakerCommand::Close));
    let both = Steering {
        paused: true,
        breaker: BreakerCommand::Close,
    };
    assert_eq!(table.steering("g"), both);
    assert_eq!(table.steering("other"), Steering::default());
    table.apply(b"steering/g/pause", None, NEW).unwrap();
    assert!(!table.steering("g").paused);
    assert_eq!(table.steering("g").breaker, BreakerCommand::Close);
}

fn command(table: &mut Table, change: Change) {
    let (key, value) = entry::change("g", change);
    let key = key.encode();
    table.apply(key.as_bytes(), Some(&value), NEW).unwrap();
}

#[test]
fn a_host_is_silent_after_a_while_and_then_forgotten() {
    let mut table = Table::default();
    let ages = [NEW, Duration::from_secs(20), Duration::from_secs(301)];
    for (id, age) in ["host/a", "host/b", "host/c"].into_iter().zip(ages) {
        table.apply(id.as_bytes(), Some(&host()), age).unwrap();
    }
    let silent: Vec<_> = table.members().iter().map(Member::is_silent).collect();
    assert_eq!(
        (ids(&table), silent),
        (vec!["a".to_owned(), "b".to_owned()], vec![false, true])
    );
    assert_eq!(table.gone(), ["c"]);
}

#[test]
fn what_is_not_known_or_too_much_is_passed_over_and_changes_nothing() {
    let mut table = Table::default();
    command(&mut table, Change::Paused(true));
    let large = vec![b' '; HOST_BYTES_MAX + 1];
    for (key, value, why) in [
        (&b"lease/g"[..], &b"{}"[..], Skipped::Key),
        (b"\xff\xfe", b"{}", Skipped::Key),
        (b"steering/g/pause", b"{\"v\":9}", Skipped::Value),
        (b"host/a", b"\x00\x01", Skipped::Value),
        (b"host/a", &large, Skipped::TooLarge),
        (b"steering/g/breaker", &large, Skipped::TooLarge),
    ] {
        assert_eq!(table.apply(key, Some(value), NEW), Err(why));
    }
    assert!(table.steering("g").paused && table.members().is_empty());

    for number in 0..HOSTS_MAX {
        let key = format!("host/h{number}");
        table.apply(key.as_bytes(), Some(&host()), NEW).unwrap();
    }
    let more = table.apply(b"host/one-more", Some(&host()), NEW);
    assert_eq!(more, Err(Skipped::TooMany));
    // Those that are known go on being heard.
    table.apply(b"host/h0", Some(&host()), NEW).unwrap();
}

#[test]
fn whoever_has_or_had_replay_jobs_is_known() {
    let mut table = Table::default();
    table.apply(b"job/g/1", Some(b"anything"), NEW).unwrap();
    table
        .apply(b"job/h/1/plan/0", Some(b"anything"), NEW)
        .unwrap();
    assert_eq!((table.has_jobs("g"), table.has_jobs("h")), (true, false));
}
