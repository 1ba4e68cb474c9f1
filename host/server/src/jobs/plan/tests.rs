use super::*;
use crate::letters::tests::found;

/// A letter by (identity, sequence, offset of its event, when it died).
fn dead((id, sequence, offset, dead_at): (u8, Option<&str>, u64, u64)) -> Found {
    Found {
        dead_at: Millis(dead_at),
        ..found(id, 0, sequence, offset)
    }
}

fn check(letters: &[(u8, Option<&str>, u64, u64)], planned: &[&[u8]]) {
    let letters: Vec<_> = letters.iter().copied().map(dead).collect();
    let plan = Plan::new(letters, Millis(0), NonZeroU32::MIN, String::new());
    let ids: Vec<Vec<u8>> = plan
        .sequences
        .iter()
        .map(|letters| letters.iter().map(|one| one.id.0[0]).collect())
        .collect();
    assert_eq!(ids, planned);
}

#[test]
fn letters_of_a_sequence_are_replayed_as_their_events_stood() {
    check(&[(1, Some("a"), 5, 10), (2, Some("a"), 6, 11)], &[&[1, 2]]);
    // The first one has died again since.
    check(&[(2, Some("a"), 6, 11), (1, Some("a"), 5, 90)], &[&[1, 2]]);
}

#[test]
fn sequences_are_replayed_in_the_order_of_their_deaths() {
    let letters = [
        (1, Some("b"), 5, 10),
        (2, Some("a"), 6, 11),
        (3, Some("b"), 7, 12),
    ];
    check(&letters, &[&[1, 3], &[2]]);
}

#[test]
fn letters_without_a_key_are_sequences_of_their_own() {
    check(&[(2, None, 5, 10), (1, None, 6, 11)], &[&[2], &[1]]);
}

#[test]
fn letters_of_one_key_in_two_partitions_are_two_sequences() {
    let mut other = dead((2, Some("a"), 6, 11));
    other.place.partition = 1;
    let letters = vec![dead((1, Some("a"), 5, 10)), other];
    let plan = Plan::new(letters, Millis(0), NonZeroU32::MIN, String::new());
    assert_eq!(plan.lengths(), [1, 1]);
}
