use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const ALL: [LetterStatus; 4] = [
    LetterStatus::Dead,
    LetterStatus::Replaying,
    LetterStatus::Done,
    LetterStatus::Dropped,
];

fn encode(status: LetterStatus, since: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_into(&mut out, status, Millis(since));
    out
}

proptest! {
    #[test]
    fn letters_round_trip(status in prop::sample::select(&ALL[..]), since: u64) {
        prop_assert_eq!(decode(&encode(status, since)), Ok((status, Millis(since))));
    }

    #[test]
    fn any_bytes_are_a_letter_or_refused(mut bytes in vec(any::<u8>(), 2..14)) {
        bytes[0] = VERSION;
        prop_assert_eq!(decode(&bytes).is_ok(), bytes.len() == 10 && bytes[1] < 4);
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let bytes = ALL.map(|status| encode(status, 5)[..2].to_vec());
    assert_eq!(bytes, [[1, 0], [1, 1], [1, 2], [1, 3]]);
    assert_eq!(
        encode(LetterStatus::Dead, 5),
        [1, 0, 5, 0, 0, 0, 0, 0, 0, 0]
    );
}
