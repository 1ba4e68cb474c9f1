use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const STEPS: [Step; 6] = [
    Step::Left,
    Step::Sent,
    Step::Ended(Fate::Done),
    Step::Ended(Fate::Dropped),
    Step::Ended(Fate::Dead),
    Step::Ended(Fate::Missing),
];
const STATES: [State; 5] = [
    State::Running,
    State::Paused,
    State::Cancelled,
    State::Done,
    State::FailedCanary,
];

fn any_planned() -> impl Strategy<Value = Planned> {
    (any::<[u8; 16]>(), any::<(u16, u32, u64)>()).prop_map(|(id, (topic, partition, offset))| {
        Planned {
            id: Hash128(id),
            place: Place {
                topic,
                partition,
                offset,
            },
        }
    })
}

proptest! {
    #[test]
    fn plans_round_trip(created: u64, rate in 1..u32::MAX, selection in ".{0,9}", sequences in vec(vec(any_planned(), 1..4), 0..4)) {
        let plan = Plan {
            created: Millis(created),
            per_second: NonZeroU32::new(rate).unwrap(),
            selection,
            sequences,
        };
        prop_assert_eq!(decode_plan(&encode_plan(&plan)), Ok(plan));
    }

    #[test]
    fn progress_round_trips(state in prop::sample::select(&STATES[..]), steps in vec(prop::sample::select(&STEPS[..]), 0..9), commands: Vec<u64>) {
        let progress = Progress { state, steps, commands };
        prop_assert_eq!(decode_progress(&encode_progress(&progress)), Ok(progress));
    }

    #[test]
    fn any_bytes_are_a_job_or_refused(mut bytes in vec(any::<u8>(), 1..60)) {
        bytes[0] = VERSION;
        if let Ok(progress) = decode_progress(&bytes) {
            prop_assert!(progress.steps.len() < bytes.len());
        }
        if let Ok(plan) = decode_plan(&bytes) {
            prop_assert!(plan.sequences.len() < bytes.len());
        }
    }
}

#[test]
fn version_1_is_what_is_on_disks_already() {
    let plan = Plan {
        created: Millis(5),
        per_second: NonZeroU32::new(10).unwrap(),
        selection: "all".to_owned(),
        sequences: vec![vec![Planned {
            id: Hash128([7; 16]),
            place: Place {
                topic: 1,
                partition: 2,
                offset: 300,
            },
        }]],
    };
    let head = [
        1, 5, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 3, b'a', b'l', b'l', 1, 1, 1, 2, 0xac, 2,
    ];
    assert_eq!(encode_plan(&plan), [&head[..], &[7; 16]].concat());
    let progress = Progress {
        state: State::FailedCanary,
        steps: STEPS.to_vec(),
        commands: vec![0, 300],
    };
    assert_eq!(
        encode_progress(&progress),
        [1, 4, 6, 0, 1, 2, 3, 4, 5, 2, 0, 0xac, 2]
    );
}
