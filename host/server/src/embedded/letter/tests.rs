use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

const ALL: [LetterStatus; 4] = [
    LetterStatus::Dead,
    LetterStatus::Replaying,
    LetterStatus::Done,
    LetterStatus::Dropped,
];

fn letter(status: LetterStatus, since: u64, died: Option<u64>) -> StoredLetter {
    StoredLetter {
        status,
        since: Millis(since),
        died: died.map(Millis),
    }
}

fn encode(letter: StoredLetter) -> Vec<u8> {
    let mut out = Vec::new();
    letter.encode_into(&mut out);
    out
}

proptest! {
    #[test]
    fn letters_round_trip(
        status in prop::sample::select(&ALL[..]),
        since: u64,
        died in option::of(any::<u64>()),
    ) {
        let letter = letter(status, since, died);
        prop_assert_eq!(StoredLetter::decode(&encode(letter)), Ok(letter));
    }

    #[test]
    fn any_bytes_are_a_letter_or_refused(version in 0..4_u8, mut bytes in vec(any::<u8>(), 2..21)) {
        bytes[0] = version;
        let length = match version {
            1 => Some(10),
            2 => match bytes.get(10) {
                Some(0) => Some(11),
                Some(1) => Some(19),
                _ => None,
            },
            _ => None,
        };
        let is_one = length == Some(bytes.len()) && bytes[1] < 4;
        prop_assert_eq!(StoredLetter::decode(&bytes).is_ok(), is_one);
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    for (status, byte) in ALL.into_iter().zip(0..) {
        let bytes = [1, byte, 5, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(StoredLetter::decode(&bytes), Ok(letter(status, 5, None)));
    }
}

#[test]
fn version_2_is_what_is_on_disks_already() {
    assert_eq!(
        encode(letter(LetterStatus::Done, 5, Some(3))),
        [2, 2, 5, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        encode(letter(LetterStatus::Dead, 5, None)),
        [2, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0]
    );
}
