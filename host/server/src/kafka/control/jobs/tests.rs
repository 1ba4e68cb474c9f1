use std::num::NonZeroU32;

use proptest::collection::vec;
use proptest::prelude::*;
use weir_core::identity::Hash128;
use weir_core::replay::{State, Step};
use weir_core::time::Millis;

use super::*;
use crate::jobs::Planned;
use crate::letters::Place;

/// A job of so many letters, and its plan in parts of so many bytes.
fn job(letters: usize, part_bytes: usize) -> (Plan, Progress, BTreeMap<u32, Vec<u8>>) {
    let letter = |number: usize| Planned {
        id: Hash128([u8::try_from(number % 251).unwrap(); 16]),
        place: Place {
            topic: 0,
            partition: 3,
            offset: number as u64,
        },
    };
    let plan = Plan {
        created: Millis(5),
        per_second: NonZeroU32::MIN,
        selection: "--all".to_owned(),
        sequences: (0..letters).map(|number| vec![letter(number)]).collect(),
    };
    let progress = Progress {
        state: State::Running,
        steps: vec![Step::Left; letters],
        commands: vec![0; 12],
    };
    let bytes = encode_plan(&plan);
    let parts = u32::try_from(bytes.len().div_ceil(part_bytes)).unwrap();
    let parts = (0..)
        .zip(bytes.chunks(part_bytes))
        .map(|(part, bytes)| (part, part_to_bytes(parts, bytes)))
        .collect();
    (plan, progress, parts)
}

#[test]
fn a_job_is_read_from_all_of_its_parts_and_from_no_fewer() {
    let (plan, progress, parts) = job(100, 1_000);
    assert!(parts.len() > 1 && parts.len() <= PARTS_MAX as usize);
    let bytes = encode_progress(&progress);
    assert_eq!(decode(&bytes, &parts), Some((plan, progress)));
    for missing in parts.keys() {
        let mut some = parts.clone();
        some.remove(missing);
        assert_eq!(decode(&bytes, &some), None, "without part {missing}");
    }
}

#[test]
fn a_job_whose_letters_are_not_those_of_its_progress_is_none() {
    let (_, _, parts) = job(3, 1_000);
    let (_, progress, _) = job(4, 1_000);
    assert_eq!(decode(&encode_progress(&progress), &parts), None);
}

/// A job writes how far it is once a second, and the log keeps all of that for a while.
#[test]
fn what_was_written_of_a_job_before_takes_no_room_from_the_next() {
    let (_, progress, _) = job(1_000, 1 << 20);
    let mut found = Found::default();
    let group = || "g".to_owned();
    let first = Key::Progress {
        group: group(),
        job: 1,
    };
    let often = vec![0; BYTES_MAX / 100];
    (0..200).for_each(|_| found.take("g", first.clone(), Some(&often)));
    let (plan, _, parts) = job(1_000, 1 << 20);
    for (part, bytes) in parts {
        let key = Key::Plan {
            group: group(),
            job: 2,
            part,
        };
        found.take("g", key, Some(&bytes));
    }
    let second = Key::Progress {
        group: group(),
        job: 2,
    };
    found.take("g", second, Some(&encode_progress(&progress)));
    let kept = found.kept("g");
    let plans: Vec<_> = kept
        .jobs
        .into_iter()
        .map(|job| (job.id, job.plan))
        .collect();
    assert_eq!((plans, kept.last), (vec![(2, plan)], 2));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(progress in vec(any::<u8>(), 0..40), part in vec(any::<u8>(), 0..60)) {
        let (_, right, parts) = job(2, 1_000);
        drop(decode(&progress, &parts));
        drop(decode(&encode_progress(&right), &BTreeMap::from([(0, part.clone())])));
        drop(decode(&encode_progress(&right), &BTreeMap::from([(0, part_to_bytes(1, &part))])));
    }
}
