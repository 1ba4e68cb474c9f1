use super::*;

fn volume(clock: &Arc<Clock>) -> Volume {
    let limits = Limits {
        log_bytes_per_s: 1_000,
        log_burst_bytes: 10_000,
        ..Limits::default()
    };
    Volume::new("h".into(), Arc::clone(clock), &limits)
}

/// Ticks come every 10 ms.
fn pass(clock: &Clock, time: Duration) {
    const TICK: Duration = Duration::from_millis(10);
    (0..time.as_millis() / TICK.as_millis()).for_each(|_| clock.advance(TICK));
}

/// Lines of 100 bytes that are taken until one is not.
fn written(volume: &Volume) -> usize {
    (0..).take_while(|_| volume.takes(100 - LINE_BYTES)).count()
}

#[test]
fn a_handler_writes_its_burst_and_then_nothing_until_half_of_it_is_there_again() {
    let clock = Arc::new(Clock::default());
    let volume = volume(&clock);
    assert_eq!(written(&volume), 100);
    pass(&clock, Duration::from_millis(4_900));
    assert_eq!(written(&volume), 0);
    pass(&clock, Duration::from_millis(100));
    assert_eq!(written(&volume), 50);
    pass(&clock, Duration::from_secs(3_600));
    assert_eq!(written(&volume), 100);
}

#[test]
fn over_a_long_time_a_flood_is_what_the_rate_allows() {
    let clock = Arc::new(Clock::default());
    let volume = volume(&clock);
    let mut bytes = 0;
    for _ in 0..1_000 {
        bytes += 100 * written(&volume);
        pass(&clock, Duration::from_millis(100));
    }
    assert!(
        (90_000..=110_000).contains(&bytes),
        "{bytes} bytes in 100 s"
    );
}

#[test]
fn each_dropped_line_is_counted_once() {
    let clock = Arc::new(Clock::default());
    let volume = volume(&clock);
    let kept = (0..1_000)
        .filter(|_| volume.takes(100 - LINE_BYTES))
        .count();
    assert_eq!(volume.take_dropped(), 1_000 - kept as u64);
    assert_eq!(volume.take_dropped(), 0);
    volume.drop_line();
    assert_eq!(volume.take_dropped(), 1);
}
