use proptest::prelude::*;

use super::*;

const AGE_MAX: Duration = Duration::from_secs(10);

fn checkpoint() -> Checkpoint {
    Checkpoint {
        at: Millis(0x0102_0304_0506_0708),
        logs: [
            Reached { topic: 7, next: 40 },
            Reached {
                topic: u128::MAX,
                next: 0,
            },
        ],
    }
}

fn found() -> [Extent; 2] {
    [
        Extent {
            topic: 7,
            first: 3,
            end: 41,
        },
        Extent {
            topic: u128::MAX,
            first: 0,
            end: 0,
        },
    ]
}

#[test]
fn the_stored_form_is_what_earlier_versions_have_written() {
    let mut bytes = vec![2, 8, 7, 6, 5, 4, 3, 2, 1];
    bytes.extend([7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([40, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([255; 16]);
    bytes.extend([0; 8]);
    assert_eq!(checkpoint().encode(), bytes);
    assert_eq!(Checkpoint::decode(&bytes), Ok(checkpoint()));
    bytes.push(0);
    assert!(Checkpoint::decode(&bytes).is_err());
    assert!(Checkpoint::decode(&[3]).is_err());
}

/// What has expired in such a copy would stay in the changelog.
#[test]
fn a_checkpoint_of_a_copy_that_does_not_say_when_its_state_expires_is_none() {
    let mut bytes = checkpoint().encode();
    bytes[0] = 1;
    assert!(Checkpoint::decode(&bytes).is_err());
}

#[test]
fn a_checkpoint_counts_while_it_is_young_of_the_same_topics_and_within_them() {
    let kept = checkpoint();
    let flaw = |change: fn(&mut [Extent; 2]), age_ms: i64| {
        let mut found = found();
        change(&mut found);
        let now = Millis(kept.at.0.checked_add_signed(age_ms).unwrap());
        kept.flaw(found, now, AGE_MAX)
    };
    assert_eq!(flaw(|_| (), 0), None);
    assert_eq!(flaw(|_| (), 9_999), None);
    assert_eq!(flaw(|_| (), 10_000), Some(Flaw::Old));
    // Nobody knows how old it is.
    assert_eq!(flaw(|_| (), -1), Some(Flaw::Old));
    assert_eq!(flaw(|found| found[0].first = 40, 0), None);
    assert_eq!(flaw(|found| found[0].first = 41, 0), Some(Flaw::Outside));
    assert_eq!(flaw(|found| found[0].end = 40, 0), None);
    assert_eq!(flaw(|found| found[0].end = 39, 0), Some(Flaw::Outside));
    assert_eq!(flaw(|found| found[0].topic = 8, 0), Some(Flaw::OtherTopic));
    assert_eq!(flaw(|found| found[1].topic = 8, 0), Some(Flaw::OtherTopic));
}

#[test]
fn a_unit_moves_it_behind_its_last_entries_and_never_back() {
    let kept = checkpoint();
    let later = Millis(kept.at.0 + 5);
    let after = kept.after(later, [Some(44), None]);
    let next = after.logs.map(|log| log.next);
    assert_eq!((after.at, next), (later, [45, 0]));
    // What a broker did not say where it stands is read again.
    let after = after.after(later, [None, Some(0)]);
    let next = after.logs.map(|log| log.next);
    assert_eq!(next, [45, 1]);
    assert_eq!(after.after(later, [Some(9), None]), after);
}

proptest! {
    #[test]
    fn what_is_stored_comes_back(at: u64, topics: [u128; 2], nexts: [u64; 2]) {
        let reached = |index: usize| Reached { topic: topics[index], next: nexts[index] };
        let kept = Checkpoint { at: Millis(at), logs: [reached(0), reached(1)] };
        prop_assert_eq!(Checkpoint::decode(&kept.encode()), Ok(kept));
    }
}
