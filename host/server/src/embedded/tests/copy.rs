//! The local copy of a ledger: what is read on from a checkpoint is what the whole log comes to, and a checkpoint never
//! speaks of what is not there.

use std::collections::{HashMap, VecDeque};

use weir_core::unit::{LetterStatus, ParkedSequence, TimerChange, TimerKey, TimerSlot};

use super::set_aside::{hash, joins, parked, sequence, timer};
use super::*;
use crate::embedded::key::{Kind, PARTITION_PREFIX};
use crate::embedded::{Changes, Missing};

const KINDS: [Kind; 9] = [
    Kind::Begun,
    Kind::Progress,
    Kind::InboxBlock,
    Kind::State,
    Kind::ParkedEvent,
    Kind::ParkedHead,
    Kind::Timer,
    Kind::Due,
    Kind::Letter,
];
/// Of the one store that all copies of a case stand in: the owner's, and what others make of its changelog.
const OWNER: u32 = 0;
const WHOLE: u32 = 1;
const RESUMED: u32 = 2;

/// What one event of a unit does to one of two sequences.
#[derive(Clone, Debug)]
enum Deed {
    State(u8, Option<u8>),
    Timer(u8, Option<u64>),
    Park,
    Unpark,
    Letter(u8, bool),
    /// The oldest mark leaves the inbox.
    Expire,
}

fn any_deed() -> impl Strategy<Value = (bool, Deed)> {
    let deed = prop_oneof![
        (0..3_u8, any::<Option<u8>>()).prop_map(|(name, value)| Deed::State(name, value)),
        (0..3_u8, proptest::option::of(0..9_u64)).prop_map(|(name, due)| Deed::Timer(name, due)),
        Just(Deed::Park),
        Just(Deed::Unpark),
        (0..2_u8, any::<bool>()).prop_map(|(letter, dead)| Deed::Letter(letter, dead)),
        Just(Deed::Expire),
    ];
    (any::<bool>(), deed)
}

/// What a machine would know while it makes units.
#[derive(Default)]
struct Machine {
    unit: u64,
    settings: u64,
    next_parked: u64,
    parks: HashMap<&'static str, VecDeque<u64>>,
    marked: VecDeque<u64>,
}

impl Machine {
    fn unit(&mut self, deeds: Vec<(bool, Deed)>) -> Unit {
        self.unit += 1;
        let mut made = unit(self.unit, self.unit, Vec::new());
        let mut heads = HashMap::new();
        for (at, (which, deed)) in (0..).zip(deeds) {
            let key = if which { "a" } else { "b" };
            let mut output = Output::default();
            match deed {
                Deed::State(name, value) => output.state.push(StateWrite {
                    name: name.to_string(),
                    value: value.map(|value| Bytes::from(vec![value])),
                    ttl_ms: None,
                }),
                Deed::Timer(name, due) => {
                    self.settings += 1;
                    output.timers.push(TimerChange {
                        key: TimerKey {
                            sequence: keyed(key),
                            slot: TimerSlot::Named(name.to_string().into()),
                        },
                        timer: due.map(|due| timer(self.settings, due)),
                    });
                }
                Deed::Park => {
                    self.next_parked += 1;
                    let park = self.parks.entry(key).or_default();
                    park.push_back(self.next_parked);
                    output.parking = joins(parked(self.next_parked, "waits"));
                    heads.insert(key, park.len() as u64);
                }
                Deed::Unpark => {
                    let park = self.parks.entry(key).or_default();
                    let Some(number) = park.pop_front() else {
                        continue;
                    };
                    output.parking = super::set_aside::leaves(number);
                    heads.insert(key, park.len() as u64);
                }
                Deed::Letter(letter, dead) => {
                    let status = match dead {
                        true => LetterStatus::Dead,
                        false => LetterStatus::Done,
                    };
                    output.letter = Some((hash(letter.into()), status));
                }
                Deed::Expire => made.expired_blocks.extend(self.marked.pop_front()),
            }
            let mut completion = Arc::unwrap_or_clone(completion(at, output));
            completion.sequence = keyed(key);
            made.completions.push(Arc::new(completion));
        }
        let head = |(key, count)| {
            let parked: Option<ParkedSequence> = (count > 0).then(|| sequence(count));
            (keyed(key), parked)
        };
        made.heads = heads.into_iter().map(head).collect();
        made.next_parked = self.next_parked + 1;
        if !made.completions.is_empty() {
            self.marked.push_back(self.unit);
        }
        made
    }
}

/// The topics of a changelog, by [`Log`].
#[derive(Default)]
struct Logs([Vec<Entry>; 2]);

type Entry = (Vec<u8>, Option<Vec<u8>>);

impl Logs {
    fn ends(&self) -> [usize; 2] {
        self.0.each_ref().map(Vec::len)
    }

    /// As compaction may leave them: of each key the last from this place on, and all before it.
    fn compacted(&self, from: [usize; 2]) -> [Vec<&Entry>; 2] {
        let compact = |log: usize| {
            let rest = &self.0[log][from[log]..];
            let is_last = |at: &usize| !rest[at + 1..].iter().any(|(key, _)| *key == rest[*at].0);
            (0..rest.len())
                .filter(is_last)
                .map(|at| &rest[at])
                .collect()
        };
        [compact(0), compact(1)]
    }
}

/// All keys and values of a partition, without its number.
fn content(bus: &Embedded, scope: &Scope, partition: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let group = bus.inner.catalog.group_id(&scope.group).unwrap();
    let relative = |key: &[u8]| [&key[..1], &key[PARTITION_PREFIX..]].concat();
    let mut all = Vec::new();
    for kind in KINDS {
        let prefix = kind.of_partition(group, partition);
        let mut iterator = bus.inner.store.iterate(kind.family(), &prefix);
        iterator.seek(prefix);
        while let Some((key, value)) = iterator.item() {
            // A due time leads to its timer.
            let value = if kind == Kind::Due {
                relative(value)
            } else {
                value.to_vec()
            };
            all.push((relative(key), value));
            iterator.next();
        }
        iterator.status().unwrap();
    }
    all
}

fn push<'a>(
    loader: &mut crate::embedded::copy::Loader,
    entries: impl IntoIterator<Item = &'a Entry>,
) {
    for (key, value) in entries {
        assert!(loader.push(key, value.as_deref()).is_ok());
    }
}

/// Commits a unit of the owner, with its changelog.
fn commit(bus: &Embedded, unit: &Unit, logs: &mut Logs) {
    let scope = scope("g", &["in"]);
    let origin = (unit.number == 1).then_some(&b"origin"[..]);
    let changes = bus.copy_stage(&scope, OWNER, unit, origin).unwrap();
    let logged = changes.each(|(log, _), key, value| -> Result<(), ()> {
        logs.0[log as usize].push((key.to_vec(), value.map(<[u8]>::to_vec)));
        Ok(())
    });
    logged.unwrap();
    bus.copy_write(&changes, None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever the copy holds beyond the checkpoint, and whatever compaction has taken from the rest.
    #[test]
    fn a_checkpoint_at_any_entry_and_the_rest_of_the_log_come_to_the_whole_log(
        units in vec(vec(any_deed(), 0..6), 1..12),
        cuts in any::<[proptest::sample::Index; 6]>(),
        is_compacted: bool,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let bus = open(scratch.path());
        let scope = scope("g", &["in"]);
        let (mut machine, mut logs) = (Machine::default(), Logs::default());
        for deeds in units {
            commit(&bus, &machine.unit(deeds), &mut logs);
        }
        let ends = logs.ends();
        let mut loader = bus.copy_clear(&scope, WHOLE).unwrap();
        push(&mut loader, logs.0.iter().flatten());
        prop_assert_eq!(loader.finish().unwrap(), Missing::default());
        let whole = content(&bus, &scope, WHOLE);
        prop_assert_eq!(&content(&bus, &scope, OWNER), &whole);

        // It holds all before `held`, and its checkpoint says all before `said`, which is no more.
        let held = [cuts[0].index(ends[0] + 1), cuts[1].index(ends[1] + 1)];
        let said = [cuts[2].index(held[0] + 1), cuts[3].index(held[1] + 1)];
        let mut loader = bus.copy_clear(&scope, RESUMED).unwrap();
        push(&mut loader, logs.0[0][..held[0]].iter().chain(&logs.0[1][..held[1]]));
        loader.finish().unwrap();
        // It was gone on with before, and cut off.
        let read = [0, 1].map(|log| said[log] + cuts[4 + log].index(ends[log] - said[log] + 1));
        let mut loader = bus.copy_resume(&scope, RESUMED).unwrap();
        push(&mut loader, logs.0[0][said[0]..read[0]].iter().chain(&logs.0[1][said[1]..read[1]]));
        loader.finish().unwrap();
        let mut loader = bus.copy_resume(&scope, RESUMED).unwrap();
        if is_compacted {
            push(&mut loader, logs.compacted(said).into_iter().flatten());
        } else {
            push(&mut loader, logs.0[0][said[0]..].iter().chain(&logs.0[1][said[1]..]));
        }
        prop_assert_eq!(loader.finish().unwrap(), Missing::default());
        prop_assert_eq!(&content(&bus, &scope, RESUMED), &whole);
    }
}

#[test]
fn parked_events_of_which_their_sequence_tells_and_which_are_not_there_are_counted() {
    let scratch = tempfile::tempdir().unwrap();
    let (bus, scope) = (open(scratch.path()), scope("g", &["in"]));
    let (mut machine, mut logs) = (Machine::default(), Logs::default());
    for deeds in [
        vec![(true, Deed::Park), (true, Deed::Park), (false, Deed::Park)],
        vec![(true, Deed::Park), (false, Deed::Unpark)],
        vec![(true, Deed::Unpark), (true, Deed::Park)],
    ] {
        commit(&bus, &machine.unit(deeds), &mut logs);
    }
    let load = |mut loader: crate::embedded::copy::Loader, entries: &[&[Entry]]| {
        push(&mut loader, entries.iter().copied().flatten());
        loader.finish().unwrap()
    };
    let missing = |sequences, events| Missing { sequences, events };
    let [ledger, parks] = &logs.0;
    let clear = || bus.copy_clear(&scope, WHOLE).unwrap();
    assert_eq!(load(clear(), &[ledger, parks]), missing(0, 0));
    // The last of three is written last.
    assert_eq!(
        load(clear(), &[ledger, &parks[..parks.len() - 1]]),
        missing(1, 1)
    );
    assert_eq!(load(clear(), &[ledger]), missing(1, 3));
    // What is gone on with is looked at where it has changed.
    let resume = || bus.copy_resume(&scope, WHOLE).unwrap();
    assert_eq!(load(resume(), &[]), missing(0, 0));
    assert_eq!(load(resume(), &[ledger]), missing(1, 3));
    assert_eq!(load(resume(), &[ledger, parks]), missing(0, 0));
}

/// The names of which a unit that is staged for the copy of this partition at this time removes the values.
fn removed(bus: &Embedded, partition: u32, unit: &Unit) -> (Vec<String>, Changes) {
    let changes = bus.copy_stage(&scope("g", &["in"]), partition, unit, None);
    let changes = changes.unwrap();
    let mut removed = Vec::new();
    let each = changes.each(|_, key, value| -> Result<(), ()> {
        if key[0] == Kind::State as u8 && value.is_none() {
            let name = key.rsplit(|byte| *byte == b'k').next().unwrap();
            removed.push(String::from_utf8(name.to_vec()).unwrap());
        }
        Ok(())
    });
    each.unwrap();
    (removed, changes)
}

fn staged(number: u64, at_ms: u64, state: Vec<StateWrite>) -> Unit {
    let output = Output {
        state,
        ..Output::default()
    };
    let mut unit = unit(number, number, vec![completion(number, output)]);
    unit.staged_at = Millis(at_ms);
    unit
}

fn lives(name: &str, ttl_ms: u64) -> StateWrite {
    StateWrite {
        ttl_ms: Some(ttl_ms),
        ..set(name, "7")
    }
}

/// Compaction of a topic keeps the last value of a key for ever, expired or not.
#[test]
fn state_that_has_expired_is_removed_from_the_changelog_by_a_later_unit() {
    let scratch = tempfile::tempdir().unwrap();
    let (bus, scope) = (open(scratch.path()), scope("g", &["in"]));
    let mut logs = Logs::default();
    let stays = set("stays", "7");
    let first = ["goes", "again", "deleted"].map(|name| lives(name, 5_000));
    let first: Vec<_> = first.into_iter().chain([stays]).collect();
    commit(&bus, &staged(1, 100_000, first), &mut logs);
    let deleted = StateWrite {
        value: None,
        ..set("deleted", "")
    };
    let second = vec![lives("again", 60_000), deleted];
    commit(&bus, &staged(2, 102_000, second), &mut logs);
    let before = logs.0[0].len();

    let late = staged(3, 110_000, Vec::new());
    let (gone, changes) = removed(&bus, OWNER, &late);
    assert_eq!(gone, ["goes"]);
    // Until that is committed it is what the next unit does.
    assert_eq!(removed(&bus, OWNER, &late).0, ["goes"]);
    drop(changes);
    commit(&bus, &late, &mut logs);
    let (gone, _) = removed(&bus, OWNER, &staged(4, 120_000, Vec::new()));
    assert!(gone.is_empty(), "{gone:?}");
    // A unit that sets it again leaves what it sets.
    let again = staged(4, 1_000_000, vec![set("again", "8")]);
    assert!(removed(&bus, OWNER, &again).0.is_empty());
    commit(&bus, &again, &mut logs);

    let names = |partition| {
        let all = content(&bus, &scope, partition);
        let state = all
            .into_iter()
            .filter(|(key, _)| key[0] == Kind::State as u8);
        let names = state.map(|(key, _)| key.rsplit(|it| *it == b'k').next().unwrap().to_vec());
        names.collect::<Vec<_>>()
    };
    let mut loader = bus.copy_clear(&scope, WHOLE).unwrap();
    push(&mut loader, logs.0.iter().flatten());
    loader.finish().unwrap();
    assert_eq!(names(WHOLE), [b"again".to_vec(), b"stays".to_vec()]);
    assert_eq!(content(&bus, &scope, WHOLE), content(&bus, &scope, OWNER));

    // A new owner finds it as it was left, and removes it.
    let mut loader = bus.copy_clear(&scope, RESUMED).unwrap();
    push(&mut loader, &logs.0[0][..before]);
    loader.finish().unwrap();
    assert_eq!(names(RESUMED).len(), 3);
    assert_eq!(removed(&bus, RESUMED, &late).0, ["goes"]);
}

#[test]
fn a_unit_removes_so_much_expired_state_and_no_more_and_as_much_as_it_sets() {
    let scratch = tempfile::tempdir().unwrap();
    let (bus, scope) = (open(scratch.path()), scope("g", &["in"]));
    let sets = (0..700).map(|name| lives(&format!("{name}"), 1_000));
    let mut logs = Logs::default();
    commit(&bus, &staged(1, 100_000, sets.collect()), &mut logs);
    let mut counts = Vec::new();
    for (number, sets) in [(2, 0), (3, 100), (4, 0)] {
        let sets = (0..sets).map(|name| set(&format!("new-{name}"), "7"));
        let unit = staged(number, 900_000, sets.collect());
        let (gone, changes) = removed(&bus, OWNER, &unit);
        counts.push(gone.len());
        bus.copy_write(&changes, None);
    }
    assert_eq!(counts, [256, 444, 0]);
    let left = content(&bus, &scope, OWNER).into_iter();
    let left = left.filter(|(key, _)| key[0] == Kind::State as u8);
    assert_eq!(left.count(), 100);
}

#[test]
fn a_copy_that_is_gone_on_with_writes_what_it_has_read_and_no_other_timer() {
    let scratch = tempfile::tempdir().unwrap();
    let (bus, scope) = (open(scratch.path()), scope("g", &["in"]));
    let (mut machine, mut logs) = (Machine::default(), Logs::default());
    let sets = |names: std::ops::Range<u8>, due| {
        names
            .map(|name| (true, Deed::Timer(name, Some(due))))
            .collect()
    };
    commit(&bus, &machine.unit(sets(0..250, 5)), &mut logs);
    let mut loader = bus.copy_clear(&scope, RESUMED).unwrap();
    push(&mut loader, logs.0.iter().flatten());
    loader.finish().unwrap();
    let said = logs.ends();
    commit(&bus, &machine.unit(sets(7..8, 6)), &mut logs);

    let before = bus.inner.store.sequence();
    let mut loader = bus.copy_resume(&scope, RESUMED).unwrap();
    push(&mut loader, &logs.0[0][said[0]..]);
    loader.finish().unwrap();
    // Those of the unit, and the due time that the timer had.
    let entries = (logs.ends()[0] - said[0]) as u64;
    assert_eq!(bus.inner.store.sequence() - before, entries + 2);
    assert_eq!(content(&bus, &scope, RESUMED), content(&bus, &scope, OWNER));
}

fn checkpoint(next: u64) -> Checkpoint {
    let reached = |topic| Reached { topic, next };
    Checkpoint {
        at: Millis(next),
        logs: [reached(1), reached(2)],
    }
}

/// Commits units 1 to `count`, each with a checkpoint of its number.
fn write_units(bus: &Embedded, scope: &Scope, partition: u32, count: u64) {
    for number in 1..=count {
        let output = Output {
            state: vec![set("total", "7")],
            parking: joins(parked(number, &"x".repeat(200))),
            ..Output::default()
        };
        let mut unit = unit(number, number, vec![completion(number, output)]);
        unit.heads = vec![(keyed("k"), Some(sequence(number)))];
        let changes = bus.copy_stage(scope, partition, &unit, None).unwrap();
        bus.copy_write(&changes, Some(&checkpoint(number)));
    }
}

fn config() -> EmbeddedConfig {
    EmbeddedConfig {
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    }
}

/// The journal is never synced, so a loss of power may leave any beginning of it.
#[test]
fn a_copy_that_was_cut_off_anywhere_has_no_checkpoint_of_what_is_not_there() {
    const UNITS: u64 = 20;
    let scratch = tempfile::tempdir().unwrap();
    let scope = scope("g", &["in"]);
    let running = open(scratch.path());
    write_units(&running, &scope, 0, UNITS);
    let journal = journal::files(scratch.path(), "log").unwrap();
    let journal = journal.last().unwrap();
    let length = std::fs::metadata(journal).unwrap().len();
    let mut found = Vec::new();
    for part in 0..=24 {
        let cut = tempfile::tempdir().unwrap();
        crash::copy(scratch.path(), cut.path());
        let file = cut.path().join(journal.file_name().unwrap());
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_len(length * part / 24).unwrap();
        let copy = Embedded::open_copy(cut.path(), config()).unwrap();
        let said = copy.copy_checkpoint(&scope, 0).unwrap();
        let (unit, _) = copy.copy_progress(&scope, 0).unwrap();
        let events = copy.parked_events(&scope, 0, &keyed("k"), usize::MAX);
        assert_eq!(said, (unit > 0).then(|| checkpoint(unit)), "{part}");
        assert_eq!(events.unwrap().len() as u64, unit, "{part}");
        found.push(unit);
    }
    // A kill leaves all of it, and what is left grows with the journal.
    assert_eq!(found.last(), Some(&UNITS));
    assert!(found.is_sorted() && found.contains(&0), "{found:?}");
    assert!(
        found.iter().any(|unit| (1..UNITS).contains(unit)),
        "{found:?}"
    );
}

#[test]
fn a_copy_that_is_damaged_is_made_anew() {
    let scratch = tempfile::tempdir().unwrap();
    let scope = scope("g", &["in"]);
    let copy = open(scratch.path());
    write_units(&copy, &scope, 0, 20);
    copy.close();
    let journal = journal::files(scratch.path(), "log")
        .unwrap()
        .pop()
        .unwrap();
    let mut bytes = std::fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&journal, bytes).unwrap();
    let copy = Embedded::open_copy(scratch.path(), config()).unwrap();
    assert_eq!(copy.copy_checkpoint(&scope, 0).unwrap(), None);
    assert_eq!(copy.copy_progress(&scope, 0).unwrap().0, 0);
}

/// RocksDB looks at a block when it is read, which may be hours after the copy was opened.
#[test]
fn a_copy_with_a_block_that_cannot_be_read_is_made_anew_by_the_next_host() {
    let scratch = tempfile::tempdir().unwrap();
    let (scope, path) = (scope("g", &["in"]), scratch.path());
    let copy = open(path);
    write_units(&copy, &scope, 0, 20);
    copy.close();
    // A start brings tables in the place of the journal.
    open(path).close();
    let names_state = |file: &std::path::PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(5).any(|window| window == b"total")
    };
    let tables = journal::files(path, "sst").unwrap();
    let table = tables.into_iter().find(names_state).unwrap();
    let mut bytes = std::fs::read(&table).unwrap();
    // Its first block is one of values.
    bytes[8] ^= 1;
    std::fs::write(&table, bytes).unwrap();

    let copy = Embedded::open_copy(path, config()).unwrap();
    let kept = copy.copy_checkpoint(&scope, 0).unwrap();
    assert_eq!(kept, Some(checkpoint(20)));
    let read = copy.state(&scope, 0, &keyed("k"), "total");
    assert!(read.is_err(), "{read:?}");
    assert_eq!(copy.copy_checkpoint(&scope, 0).unwrap(), None);
    copy.close();
    let copy = Embedded::open_copy(path, config()).unwrap();
    assert_eq!(copy.copy_progress(&scope, 0).unwrap().0, 0);
    assert_eq!(copy.copy_checkpoint(&scope, 0).unwrap(), None);
    write_units(&copy, &scope, 0, 3);
    copy.close();
    let copy = Embedded::open_copy(path, config()).unwrap();
    let kept = copy.copy_checkpoint(&scope, 0).unwrap();
    assert_eq!(kept, Some(checkpoint(3)));
}

#[test]
fn all_partitions_of_which_there_is_a_copy_are_found_whatever_it_holds() {
    let scratch = tempfile::tempdir().unwrap();
    let copy = open(scratch.path());
    let (one, other) = (scope("g", &["in"]), scope("h", &["in"]));
    for (scope, partition) in [(&one, 0), (&one, 7), (&other, u32::MAX)] {
        write_units(&copy, scope, partition, 2);
    }
    // What a load that was cut off leaves.
    let mut loader = copy.copy_clear(&one, 7).unwrap();
    let mut letter = vec![Kind::Letter as u8];
    letter.extend_from_slice(&[7; 16]);
    assert!(loader.push(&letter, Some(b"anything")).is_ok());
    loader.finish().unwrap();
    let mut found = copy.copy_partitions().unwrap();
    found.sort_by_key(|(scope, partition)| (Arc::clone(&scope.group), *partition));
    let found: Vec<_> = found
        .iter()
        .map(|(scope, partition)| (&*scope.group, *partition))
        .collect();
    assert_eq!(found, [("g", 0), ("g", 7), ("h", u32::MAX)]);
    drop(copy.copy_clear(&one, 7).unwrap());
    assert_eq!(copy.copy_partitions().unwrap().len(), 2);
}

#[test]
fn a_copy_that_is_cleared_has_no_checkpoint_and_its_neighbours_keep_theirs() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    let (one, other) = (scope("g", &["in"]), scope("h", &["in"]));
    for (scope, partition) in [(&one, 0), (&one, 1), (&other, 0)] {
        write_units(&bus, scope, partition, 3);
    }
    // Even if nothing is read after it.
    drop(bus.copy_clear(&one, 0).unwrap());
    assert_eq!(bus.copy_checkpoint(&one, 0).unwrap(), None);
    assert_eq!(content(&bus, &one, 0), []);
    for (scope, partition) in [(&one, 1), (&other, 0)] {
        let kept = bus.copy_checkpoint(scope, partition).unwrap();
        assert_eq!(kept, Some(checkpoint(3)));
    }
}

#[test]
fn copies_of_what_is_not_deployed_or_reads_other_topics_are_forgotten() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    let stays = scope("stays", &["in"]);
    for scope in [&stays, &scope("gone", &["in"]), &scope("other", &["in"])] {
        write_units(&bus, scope, 0, 3);
    }
    let other = scope("other", &["in", "more"]);
    bus.copy_retain(&[stays.clone(), other.clone()]).unwrap();
    assert_eq!(bus.copy_checkpoint(&stays, 0).unwrap(), Some(checkpoint(3)));
    for forgotten in [&other, &scope("gone", &["in"])] {
        assert_eq!(bus.copy_checkpoint(forgotten, 0).unwrap(), None);
        assert_eq!(content(&bus, forgotten, 0), []);
    }
}

#[test]
fn what_stands_in_a_changelog_and_is_none_of_its_entries_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let bus = open(scratch.path());
    let scope = scope("g", &["in"]);
    let mut loader = bus.copy_clear(&scope, 0).unwrap();
    for kind in [Kind::Due, Kind::Checkpoint, Kind::Group, Kind::Batch] {
        assert!(loader.push(&[kind as u8], Some(&[1])).is_err(), "{kind:?}");
    }
    assert!(loader.push(&[], Some(&[1])).is_err());
    assert!(loader.push(&[Kind::Progress as u8], Some(&[1])).is_ok());
}
