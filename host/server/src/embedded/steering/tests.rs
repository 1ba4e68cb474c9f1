use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn all() -> impl Iterator<Item = Steering> {
    BreakerCommand::ALL
        .into_iter()
        .flat_map(|breaker| [false, true].map(|paused| Steering { paused, breaker }))
}

#[test]
fn steering_round_trips() {
    for steering in all() {
        assert_eq!(decode(&encode(steering)), Ok(steering));
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let bytes: Vec<_> = all().map(encode).collect();
    assert_eq!(
        bytes,
        [
            [1, 0, 0],
            [1, 1, 0],
            [1, 0, 1],
            [1, 1, 1],
            [1, 0, 2],
            [1, 1, 2]
        ]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_steering_or_refused(mut bytes in vec(any::<u8>(), 1..6)) {
        bytes[0] = VERSION;
        let is_one = bytes.len() == 3 && bytes[1] < 2 && bytes[2] < 3;
        prop_assert_eq!(decode(&bytes).is_ok(), is_one);
    }
}
