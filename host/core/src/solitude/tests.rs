use super::*;

fn host() -> (Arc<Solitude>, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let solitude = Solitude::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (Arc::new(solitude), woken)
}

fn two(host: &Arc<Solitude>) -> (Quiet, Quiet) {
    (Quiet::new(Arc::clone(host)), Quiet::new(Arc::clone(host)))
}

#[test]
fn in_silence_nothing_starts_and_what_runs_is_waited_for() {
    let (host, woken) = host();
    let (mut a, mut b) = two(&host);
    assert!(b.start());
    assert!(!a.is_silent());
    assert!(!b.start());
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    b.end();
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert!(a.is_silent());
    assert!(a.start() && !b.start());
    a.end();
    a.end_silence();
    assert!(b.start());
}

#[test]
fn of_two_that_want_silence_one_has_it_until_it_is_over() {
    let (host, woken) = host();
    let (mut a, mut b) = two(&host);
    assert!(a.is_silent() && !b.is_silent());
    assert!(b.is_hushed() && !a.is_hushed());
    b.end_silence();
    assert!(a.start() && !b.start(), "it is not b's to end");
    a.end();
    let before = woken.load(Ordering::Relaxed);
    a.end_silence();
    assert!(woken.load(Ordering::Relaxed) > before);
    assert!(b.is_silent() && b.start());
}

#[test]
fn a_partition_that_ends_keeps_nobody_from_silence() {
    let (host, woken) = host();
    let (a, mut b) = two(&host);
    assert!(b.start() && b.start());
    assert!(!a.is_silent());
    drop(b);
    assert!(a.is_silent());
    let (_, mut c) = two(&host);
    assert!(!c.start());
    let before = woken.load(Ordering::Relaxed);
    drop(a);
    assert!(woken.load(Ordering::Relaxed) > before);
    assert!(c.start());
}
