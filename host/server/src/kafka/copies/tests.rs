use std::path::Path;

use weir_core::time::Millis;
use weir_core::unit::Unit;

use super::*;
use crate::embedded::{EmbeddedConfig, Reached};

const PARTITION: u32 = 3;

fn copies(path: &Path) -> Copies {
    let config = EmbeddedConfig {
        disk_reserve: Some(0),
        ..EmbeddedConfig::default()
    };
    Copies::new(Embedded::open(path, config).unwrap())
}

fn scope() -> Scope {
    Scope {
        group: "g".into(),
        topics: [Arc::from("in")].into(),
    }
}

fn loaded_at(next: u64) -> Checkpoint {
    let reached = |topic| Reached { topic, next };
    Checkpoint {
        at: Millis(100),
        logs: [reached(1), reached(2)],
    }
}

impl Copies {
    /// As a load does that ends with this unit.
    fn load(&self, epoch: u64, unit: u64, next: u64) -> bool {
        let taken = self.of(&scope(), PARTITION).take(epoch);
        if taken {
            self.loaded(&scope(), PARTITION, unit, loaded_at(next))
                .unwrap();
        }
        taken
    }

    /// Commits a unit whose last entry of the ledger is here.
    fn committed(&self, epoch: u64, number: u64, last: Option<u64>) -> bool {
        let unit = Unit {
            number,
            staged_at: Millis(1_000 + number),
            ..Unit::default()
        };
        let changes = self.store.copy_stage(&scope(), PARTITION, &unit, None);
        let (request, _answer) = Request::new(PARTITION, epoch, unit);
        let last = last.map(|last| [Some(last), None]);
        self.commit(&scope(), &request, &changes.unwrap(), last)
    }

    /// The last unit in the copy, and the time and positions of its checkpoint.
    fn stored(&self) -> (u64, Option<(u64, [u64; 2])>) {
        let (unit, _) = self.store.copy_progress(&scope(), PARTITION).unwrap();
        let kept = self.store.copy_checkpoint(&scope(), PARTITION).unwrap();
        let kept = kept.map(|kept| (kept.at.0, kept.logs.map(|log| log.next)));
        (unit, kept)
    }
}

#[test]
fn a_committed_unit_moves_the_checkpoint_in_the_same_batch_behind_its_own_entries() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    assert!(copies.load(5, 0, 40));
    assert_eq!(copies.stored(), (0, Some((100, [40, 40]))));
    copies.committed(5, 1, Some(49));
    assert_eq!(copies.stored(), (1, Some((1_001, [50, 40]))));
    copies.committed(5, 2, Some(52));
    assert_eq!(copies.stored(), (2, Some((1_002, [53, 40]))));
}

#[test]
fn a_unit_whose_entries_lie_before_those_of_earlier_units_tells_that_the_ledger_is_another() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    assert!(copies.load(5, 0, 40));
    assert!(copies.committed(5, 1, Some(40)), "the first behind it");
    assert!(!copies.committed(5, 2, Some(3)));
    assert_eq!(copies.stored(), (2, None));
    // It is told once, and no checkpoint comes of it.
    assert!(copies.committed(5, 3, Some(7)));
    assert_eq!(copies.stored(), (3, None));
}

/// A host that was frozen between a commit and its copy, and has loaded the partition anew meanwhile.
#[test]
fn a_unit_of_an_earlier_epoch_changes_nothing_once_a_later_one_has_begun_to_load() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    assert!(copies.load(5, 0, 40));
    copies.committed(5, 1, Some(49));
    assert!(copies.of(&scope(), PARTITION).take(8));
    copies.committed(5, 2, Some(52));
    assert_eq!(copies.stored(), (1, Some((1_001, [50, 40]))));
    assert!(!copies.load(7, 2, 90), "the load of an earlier epoch");
    assert!(copies.load(8, 4, 70));
    copies.committed(5, 2, Some(52));
    copies.committed(8, 5, Some(80));
    assert_eq!(copies.stored(), (5, Some((1_005, [81, 70]))));
}

#[test]
fn a_unit_whose_outcome_had_to_be_asked_for_leaves_no_checkpoint() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    assert!(copies.load(5, 0, 40));
    copies.committed(5, 1, None);
    assert_eq!(copies.stored(), (1, None));
    copies.committed(5, 2, None);
    assert_eq!(copies.stored(), (2, None));
    // It may have been another's: a load reads whose it was.
    assert!(copies.load(6, 2, 60));
    assert_eq!(copies.stored(), (2, Some((100, [60, 60]))));
}

/// Nobody else can have had the partition in between.
#[test]
fn the_next_unit_that_is_known_to_be_committed_brings_the_checkpoint_back() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    assert!(copies.load(5, 0, 40));
    copies.committed(5, 1, None);
    copies.committed(5, 2, None);
    copies.committed(5, 3, Some(52));
    assert_eq!(copies.stored(), (3, Some((1_003, [53, 40]))));
    // Of one in between nobody was told.
    copies.committed(5, 4, None);
    copies.committed(5, 6, Some(70));
    assert_eq!(copies.stored(), (6, None));
    copies.committed(5, 7, Some(75));
    assert_eq!(copies.stored(), (7, None));
    // Nor does a unit of an earlier epoch.
    assert!(copies.load(6, 7, 80));
    copies.committed(6, 8, None);
    assert!(copies.of(&scope(), PARTITION).take(7));
    copies.committed(6, 9, Some(90));
    assert_eq!(copies.stored(), (8, None));
}

/// The one in between may be committed, and nobody here was told.
#[test]
fn a_unit_that_does_not_follow_the_one_before_leaves_no_checkpoint() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    assert!(copies.load(5, 7, 40));
    copies.committed(5, 9, Some(52));
    assert_eq!(copies.stored(), (9, None));
}

/// What was loaded here has its checkpoint at 100 ms.
const OLD: Millis = Millis(100 + 7 * 24 / 2 * 3_600_000);
const YOUNG: Millis = Millis(OLD.0 - 1);

#[test]
fn a_copy_of_a_partition_that_others_own_is_deleted_when_it_is_too_old_to_go_on_from() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    let sweep = |now, owned: bool| copies.sweep(now, |_, _| owned).unwrap();
    assert!(copies.load(5, 0, 40));
    assert_eq!(sweep(YOUNG, false), 0);
    // An owner without events reads what is old.
    assert_eq!(sweep(OLD, true), 0);
    let copy = copies.of(&scope(), PARTITION);
    let loading = copy.loading();
    assert_eq!(sweep(OLD, false), 0, "it is filled at this moment");
    drop(loading);
    copies.committed(5, 1, None);
    assert_eq!(copies.stored(), (1, None));
    assert_eq!(
        sweep(YOUNG, false),
        1,
        "without a checkpoint it is of no use"
    );
    assert_eq!(copies.stored(), (0, None));

    assert!(copies.load(6, 0, 40));
    assert_eq!(sweep(OLD, false), 1);
    assert_eq!(sweep(OLD, false), 0, "there is none any more");
    // A committer that was frozen since makes no whole copy of it.
    copies.committed(6, 1, Some(49));
    assert_eq!(copies.stored(), (1, None));
}

#[test]
fn a_copy_that_could_not_be_read_has_no_checkpoint() {
    let scratch = tempfile::tempdir().unwrap();
    let copies = copies(scratch.path());
    assert!(copies.load(5, 0, 40));
    copies.distrust(&scope(), PARTITION);
    copies.committed(5, 1, Some(49));
    assert_eq!(copies.stored(), (1, None));
}

#[test]
fn a_unit_that_this_process_is_known_to_have_committed_is_its_own_in_later_epochs() {
    let folder = tempfile::tempdir().unwrap();
    let copies = copies(folder.path());
    let copy = copies.of(&scope(), PARTITION);
    assert!(copies.load(1, 4, 10));
    assert!(!copy.was_lost_after(4, 1), "it was there before");
    copies.committed(1, 5, Some(12));
    assert!(!copy.was_lost_after(5, 1), "it has the partition still");
    assert!(copies.load(2, 5, 12));
    assert!(
        copy.was_lost_after(5, 2),
        "nobody has committed anything since"
    );
    assert!(copies.load(3, 6, 14));
    assert!(!copy.was_lost_after(6, 3), "another has");
    copies.committed(3, 7, None);
    assert!(!copy.was_lost_after(7, 4), "perhaps another has");
}
