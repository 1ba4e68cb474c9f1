use super::*;

const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;

/// The host's time at the end and at its worst (ahead, behind the truth), with a wall clock that is off by `off(truth)`.
fn run(hours: i64, off: impl Fn(i64) -> i64) -> (i64, i64, i64) {
    let (mut offset, mut before) = (0, 0);
    let (mut ahead, mut behind) = (0, 0);
    for second in 1..=hours * 3_600 {
        let truth = second * 1_000;
        offset += step(truth + off(truth) - (truth + offset), 1_000);
        let now = truth + offset;
        assert!(now >= before, "time went back from {before} to {now}");
        before = now;
        (ahead, behind) = (ahead.max(offset), behind.min(offset));
    }
    (offset, ahead, behind)
}

#[test]
fn a_clock_that_is_a_day_ahead_for_an_hour_brings_nothing_forward_by_more_than_that_hour() {
    let wrong = |truth| {
        if (HOUR..2 * HOUR).contains(&truth) {
            DAY
        } else {
            0
        }
    };
    let (end, ahead, behind) = run(8, wrong);
    assert_eq!((end, behind), (0, 0));
    assert!(ahead <= HOUR, "{ahead}");
}

#[test]
fn a_clock_that_is_put_back_by_a_day_lets_nothing_wait_longer_than_twice() {
    let (end, ahead, behind) = run(100, |truth| if truth > HOUR { -DAY } else { 0 });
    assert_eq!((end, ahead), (-DAY, 0));
    assert_eq!(behind, -DAY);
    // Until it has come to that, each second was half a second: what was due in 10 s came after 20.
    assert_eq!(step(-DAY, 1_000), -500);
}

#[test]
fn a_clock_that_was_behind_is_caught_up_with_and_small_corrections_are_followed_at_once() {
    let (end, ..) = run(30, |truth| if truth > HOUR { DAY } else { 0 });
    assert_eq!(end, DAY);
    assert_eq!((step(900, 1_000), step(-900, 1_000)), (900, -900));
}

#[test]
fn time_is_unix_time() {
    let (before, now, after) = (wall(), now(), wall());
    let now = i64::try_from(now.0).unwrap();
    assert!((before - JUMP_MS..=after + JUMP_MS).contains(&now));
    follow();
}

#[test]
fn a_machine_that_is_awake_sleeps_no_longer_however_often_it_is_asked() {
    let most = || (0..1_000).map(|_| slept()).max().unwrap();
    let (before, after) = (most(), most());
    // Clocks are read in whole ms.
    assert!(
        before.abs_diff(after) <= Duration::from_millis(1),
        "{before:?}, {after:?}"
    );
}
