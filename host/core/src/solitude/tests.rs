use super::*;

fn host() -> (Arc<Solitude>, Arc<AtomicUsize>) {
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    let solitude = Solitude::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    (Arc::new(solitude), woken)
}

fn leave(host: &Arc<Solitude>) -> Leave {
    Leave::new(Arc::clone(host))
}

#[test]
fn one_partition_has_the_leave_and_the_others_come_in_the_order_in_which_they_asked() {
    let (host, woken) = host();
    let (mut a, mut b, mut c) = (leave(&host), leave(&host), leave(&host));
    assert!(a.ask());
    assert!(!c.ask() && !b.ask());
    a.settle();
    assert!(!b.ask() && !c.ask(), "the mark stands");
    a.give_back();
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert!(!a.ask(), "it comes after those that wait");
    assert!(!b.ask(), "c was first");
    assert!(c.ask());
}

#[test]
fn a_partition_does_not_keep_the_leave_for_ever_while_another_waits() {
    let (host, _) = host();
    let (mut a, mut b) = (leave(&host), leave(&host));
    assert!((0..10 * IN_A_ROW).all(|_| a.ask()), "nobody waits");
    a.give_back();
    assert!(a.ask());
    assert!(!b.ask());
    let in_a_row = 1 + (0..10 * IN_A_ROW).take_while(|_| a.ask()).count();
    assert_eq!(in_a_row, IN_A_ROW as usize);
    a.give_back();
    assert!(b.ask());
}

#[test]
fn whoever_does_not_ask_again_or_ends_keeps_nobody_waiting() {
    let (host, woken) = host();
    let (mut a, mut b, mut c) = (leave(&host), leave(&host), leave(&host));
    assert!(a.ask());
    assert!(!b.ask() && !c.ask());
    b.settle();
    b.settle();
    drop(a);
    assert!(woken.load(Ordering::Relaxed) > 0);
    assert!(!b.ask());
    assert!(c.ask(), "b stepped back and asked again");
    c.settle();
    drop(c);
    assert!(b.ask());
}

#[test]
fn in_silence_nothing_starts_and_what_runs_is_waited_for() {
    let (host, woken) = host();
    let (mut a, mut b) = (leave(&host), leave(&host));
    assert!(b.start());
    assert!(a.ask());
    assert!(!a.is_silent());
    assert!(!b.start());
    assert_eq!(woken.load(Ordering::Relaxed), 0);
    b.end();
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert!(a.is_silent());
    assert!(a.start() && !b.start());
    a.end();
    a.give_back();
    assert!(b.start(), "it is over with the leave");
}

#[test]
fn a_partition_that_ends_with_attempts_keeps_nobody_from_silence() {
    let (host, _) = host();
    let (mut a, mut b) = (leave(&host), leave(&host));
    assert!(b.start() && b.start());
    assert!(a.ask());
    assert!(!a.is_silent());
    drop(b);
    assert!(a.is_silent());
}
