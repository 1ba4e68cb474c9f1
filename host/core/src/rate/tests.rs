use proptest::prelude::*;

use super::*;

fn rate(per_second: u32, burst: u32) -> Rate {
    let some = |n| NonZeroU32::new(n).unwrap();
    Rate::new(some(per_second), some(burst))
}

/// Tokens that can be taken at once.
fn drain(rate: &mut Rate, now: Millis) -> u32 {
    (0..).find(|_| rate.take(now).is_err()).unwrap()
}

#[test]
fn a_full_bucket_gives_its_burst_and_then_one_token_at_a_time() {
    let mut rate = rate(10, 5);
    let now = Millis(1_000_000);
    assert_eq!(drain(&mut rate, now), 5);
    assert_eq!(rate.take(now), Err(Millis(1_000_100)));
    assert_eq!(drain(&mut rate, Millis(1_000_100)), 1);
    assert_eq!(drain(&mut rate, Millis(1_000_400)), 3);
    assert_eq!(drain(&mut rate, Millis(9_000_000)), 5);
}

#[test]
fn a_refusal_takes_no_token() {
    let mut rate = rate(10, 1);
    assert_eq!(rate.take(Millis(0)), Ok(()));
    for now in 0..100 {
        assert_eq!(rate.take(Millis(now)), Err(Millis(100)));
    }
    assert_eq!(rate.take(Millis(100)), Ok(()));
}

#[test]
fn a_rate_above_one_a_millisecond_is_reached_with_any_burst() {
    let mut rate = rate(30_000, 1);
    let taken: u32 = (0..1_000).map(|now| drain(&mut rate, Millis(now))).sum();
    assert!((29_990..30_100).contains(&taken), "{taken}");
}

#[test]
fn a_clock_that_goes_back_costs_the_burst_and_not_the_time_until_then() {
    let mut rate = rate(10, 5);
    assert_eq!(rate.take(Millis(3_600_000)), Ok(()));
    assert_eq!(rate.take(Millis(0)), Err(Millis(100)));
    assert_eq!(rate.take(Millis(100)), Ok(()));
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let mut rate = rate(1, u32::MAX);
    assert_eq!(rate.take(Millis(0)), Ok(()));
    assert_eq!(rate.take(Millis(u64::MAX)), Ok(()));
    let _ = rate.take(Millis(u64::MAX));
    let _ = rate.take(Millis(0));
}

proptest! {
    /// The definition of a token bucket: no span gives more than what it brings and the burst.
    #[test]
    fn no_span_gives_more_than_its_tokens_and_the_burst(
        per_second in 1_u32..1_000,
        burst in 1_u32..50,
        steps in proptest::collection::vec(0_u64..200, 1..200),
    ) {
        let mut rate = rate(per_second, burst);
        let mut now = 0;
        let mut taken = Vec::new();
        for step in steps {
            now += step;
            if rate.take(Millis(now)).is_ok() {
                taken.push(now);
            }
        }
        for (first, from) in taken.iter().enumerate() {
            for (last, to) in taken.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u64;
                let brought = (to - from) * u64::from(per_second) / 1_000 + 1;
                prop_assert!(count <= brought + u64::from(burst), "{count} in {} ms", to - from);
            }
        }
    }

    #[test]
    fn a_token_is_there_at_the_instant_that_a_refusal_names_and_not_before(
        per_second in 1_u32..5_000,
        burst in 1_u32..50,
        start in 0_u64..10_000,
    ) {
        let mut rate = rate(per_second, burst);
        let now = Millis(start);
        drain(&mut rate, now);
        let at = rate.take(now).unwrap_err();
        prop_assert!(at > now);
        prop_assert!(rate.clone().take(Millis(at.0 - 1)).is_err());
        prop_assert!(rate.take(at).is_ok());
    }
}
