use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::steering::{BreakerCommand, Change};

/// Where it stands is no matter, and it was written a moment ago.
const NEW: (u64, Duration) = (0, Duration::ZERO);

/// A command of this name upon another, as it stands at an offset.
fn command(table: &mut Table, at: u64, name: u64, upon: Option<u64>, change: Change) {
    let key = key(What::of(change), name);
    let value = Command { change, upon }.encode();
    table.apply((at, NEW.1), &key, Some(&value)).unwrap();
}

fn key(what: What, name: u64) -> Vec<u8> {
    let group = "g".to_owned();
    Key::Command { group, what, name }.encode().into_bytes()
}

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
        table.apply(NEW, id.as_bytes(), Some(&host())).unwrap();
    }
    assert_eq!(ids(&table), ["a", "b"]);
    table.apply(NEW, b"host/a", None).unwrap();
    assert_eq!(ids(&table), ["b"]);

    command(&mut table, 5, 1, None, Change::Paused(true));
    let close = Change::Breaker(BreakerCommand::Close);
    command(&mut table, 6, 1, None, close);
    let both = Steering {
        paused: true,
        breaker: BreakerCommand::Close,
    };
    assert_eq!(table.steering("g"), both);
    assert_eq!(table.steering("other"), Steering::default());
    table.apply(NEW, &key(What::Pause, 1), None).unwrap();
    assert!(!table.steering("g").paused);
    assert_eq!(table.steering("g").breaker, BreakerCommand::Close);
}

#[test]
fn of_two_commands_upon_the_same_the_first_holds_and_one_upon_it_replaces_it() {
    let mut table = Table::default();
    let held = |table: &Table| table.holding("g", What::Pause).map(|(name, ..)| name);
    command(&mut table, 10, 1, None, Change::Paused(true));
    // Both were given where nothing held.
    command(&mut table, 11, 2, None, Change::Paused(false));
    assert_eq!(held(&table), Some(1));
    command(&mut table, 12, 3, Some(10), Change::Paused(false));
    assert_eq!(held(&table), Some(3));
    // It was given where the first one held, and comes late.
    command(&mut table, 13, 4, Some(10), Change::Paused(true));
    assert_eq!((held(&table), table.steering("g").paused), (Some(3), false));
    let mut names = table.commanded("g", What::Pause);
    names.sort_unstable();
    assert_eq!(names, [1, 2, 3, 4]);
}

proptest! {
    /// Hosts that have read all of the topic and one that reads what compaction has left of it obey the same.
    #[test]
    fn what_holds_does_not_depend_on_what_was_compacted(
        given in vec((any::<bool>(), 0..4_usize, any::<bool>()), 1..40)
    ) {
        let (mut whole, mut log) = (Table::default(), Vec::new());
        // What operators of slow hosts knew a while ago.
        let mut known = vec![None];
        for (paused, late, cleans) in given {
            let at = log.len() as u64;
            let upon = known[known.len().saturating_sub(1 + late)];
            let value = Command { change: Change::Paused(paused), upon }.encode();
            log.push((key(What::Pause, at), Some(value.clone())));
            whole.apply((at, NEW.1), &key(What::Pause, at), Some(&value)).unwrap();
            let (holding, stands, _) = whole.holding("g", What::Pause).unwrap();
            known.push(Some(stands));
            if cleans {
                for name in whole.commanded("g", What::Pause) {
                    if name != holding {
                        log.push((key(What::Pause, name), None));
                        whole.apply(NEW, &key(What::Pause, name), None).unwrap();
                    }
                }
            }
        }
        let mut left = Table::default();
        for (at, (key, value)) in log.iter().enumerate() {
            let is_last = !log[at + 1..].iter().any(|(later, _)| later == key);
            if is_last && value.is_some() {
                left.apply((at as u64, NEW.1), key, value.as_deref()).unwrap();
            }
        }
        prop_assert_eq!(left.holding("g", What::Pause), whole.holding("g", What::Pause));
    }
}

#[test]
fn a_host_is_silent_after_a_while_and_then_forgotten() {
    let mut table = Table::default();
    let ages = [NEW.1, Duration::from_secs(20), Duration::from_secs(301)];
    for (id, age) in ["host/a", "host/b", "host/c"].into_iter().zip(ages) {
        table.apply((0, age), id.as_bytes(), Some(&host())).unwrap();
    }
    let silent: Vec<_> = table.members().iter().map(Member::is_silent).collect();
    assert_eq!(
        (ids(&table), silent),
        (vec!["a".to_owned(), "b".to_owned()], vec![false, true])
    );
    // Their records are taken back by who has listened for so long himself, whatever they say of the time.
    let now = Instant::now();
    assert_eq!(table.gone(now), [""; 0]);
    let later = now + GONE_AFTER;
    table.apply(NEW, b"host/b", Some(&host())).unwrap();
    assert_eq!(table.gone(later), ["a", "c"]);
}

/// The topic was made anew, or copied to where its records have other offsets.
#[test]
fn a_command_upon_what_cannot_stand_before_it_is_upon_nothing() {
    let mut table = Table::default();
    command(&mut table, 7, 1, Some(812_345), Change::Paused(true));
    command(&mut table, 8, 2, Some(7), Change::Paused(false));
    let held = table.holding("g", What::Pause).map(|(name, ..)| name);
    assert_eq!((held, table.steering("g").paused), (Some(2), false));
}

#[test]
fn what_is_not_known_or_too_much_is_passed_over_and_changes_nothing() {
    let mut table = Table::default();
    command(&mut table, 5, 1, None, Change::Paused(true));
    const PAUSE: &[u8] = b"steering/g/pause/0000000000000002";
    let large = vec![b' '; HOST_BYTES_MAX + 1];
    for (key, value, why) in [
        (&b"lease/g"[..], &b"{}"[..], Skipped::Key),
        (b"\xff\xfe", b"{}", Skipped::Key),
        (PAUSE, b"{\"v\":9}", Skipped::Value),
        (b"host/a", b"\x00\x01", Skipped::Value),
        (b"host/a", &large, Skipped::TooLarge),
        (PAUSE, &large, Skipped::TooLarge),
    ] {
        assert_eq!(table.apply(NEW, key, Some(value)), Err(why));
    }
    assert!(table.steering("g").paused && table.members().is_empty());

    for number in 0..HOSTS_MAX {
        let key = format!("host/h{number}");
        table.apply(NEW, key.as_bytes(), Some(&host())).unwrap();
    }
    let more = table.apply(NEW, b"host/one-more", Some(&host()));
    assert_eq!(more, Err(Skipped::TooMany));
    // Those that are known go on being heard.
    table.apply(NEW, b"host/h0", Some(&host())).unwrap();
}

#[test]
fn whoever_has_or_had_replay_jobs_is_known() {
    let mut table = Table::default();
    table.apply(NEW, b"job/g/1", Some(b"anything")).unwrap();
    table
        .apply(NEW, b"job/h/1/plan/0", Some(b"anything"))
        .unwrap();
    assert_eq!((table.has_jobs("g"), table.has_jobs("h")), (true, false));
}
