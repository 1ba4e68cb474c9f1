use super::*;

#[test]
fn a_late_tick_counts_as_one() {
    let clock = Clock::default();
    clock.advance(Duration::from_millis(30));
    assert_eq!(clock.now(), Duration::from_millis(30));
    clock.advance(Duration::from_secs(3_600));
    assert_eq!(clock.now(), Duration::from_millis(40));
}
