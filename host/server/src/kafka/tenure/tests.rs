use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(60);

#[test]
fn what_is_revoked_is_not_owned_and_comes_back_in_a_later_epoch() {
    let tenure = Tenure::default();
    let (first, other) = (tenure.assign(0), tenure.assign(1));
    assert!(tenure.owns(0, first) && tenure.owns(1, other));
    assert!(!tenure.owns(0, other), "the epoch of another partition");
    tenure.end(&[0]);
    assert!(!tenure.owns(0, first) && tenure.epoch(0).is_none());
    assert_eq!(tenure.epoch(1), Some(other));
    let again = tenure.assign(0);
    assert!(again > first && again > other);
    assert!(tenure.owns(0, again) && !tenure.owns(0, first));
}

#[test]
fn an_end_of_all_says_whether_there_was_any() {
    let tenure = Tenure::default();
    assert!(!tenure.end_all());
    let epoch = tenure.assign(0);
    assert!(tenure.end_all() && !tenure.owns(0, epoch));
    assert!(!tenure.is_idle(), "its reader is still at work");
    assert!(!tenure.end_all());
}

#[test]
fn a_wait_ends_with_the_last_reader_of_what_is_waited_for() {
    let tenure = Tenure::default();
    let [before, _other] = [0, 1].map(|partition| tenure.assign(partition));
    tenure.end(&[0]);
    // What is left of an earlier epoch counts too.
    let after = tenure.assign(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            tenure.release(0, before);
            tenure.release(0, after);
        });
        assert!(tenure.wait_released(&[0], LONG));
    });
    assert!(!tenure.is_idle(), "the other is read on");
}

#[test]
fn who_waits_until_nothing_runs_is_told_by_the_last_reader() {
    let tenure = Tenure::default();
    let epochs = [0, 1].map(|partition| (partition, tenure.assign(partition)));
    std::thread::scope(|scope| {
        scope.spawn(|| epochs.map(|(partition, epoch)| tenure.release(partition, epoch)));
        tenure.wait_idle();
    });
    assert!(tenure.is_idle());
}

#[test]
fn a_deadline_answers_that_it_is_not_over() {
    let tenure = Tenure::default();
    let epoch = tenure.assign(0);
    let soon = Duration::from_millis(1);
    assert!(!tenure.wait_released(&[1, 0], soon));
    assert!(tenure.wait_released(&[1], soon), "nobody reads that one");
    tenure.release(0, epoch);
    assert!(tenure.wait_released(&[1, 0], Duration::ZERO));
    assert!(!tenure.wait_ended(soon));
    let started = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| tenure.note_ended());
        assert!(tenure.wait_ended(LONG));
    });
    assert!(started.elapsed() < LONG);
}
