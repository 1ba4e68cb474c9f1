use super::*;

const SECOND: Millis = Millis(1_000);

fn job(lengths: &[usize]) -> Replay {
    let letters = lengths.iter().sum();
    Replay::new(lengths, RATE, State::Running, vec![Step::Left; letters])
}

/// All that is sent until the job waits for a fate, with time passing as it asks.
fn send_all(replay: &mut Replay, now: &mut Millis) -> Vec<usize> {
    let mut sent = Vec::new();
    loop {
        match replay.poll(*now) {
            Next::Send(letter) => {
                replay.handle_sent(letter);
                sent.push(letter);
            }
            Next::Wait(Some(at)) => {
                assert!(at > *now, "a job that waits must wait");
                *now = at;
            }
            Next::Wait(None) => return sent,
        }
    }
}

#[test]
fn a_sequence_is_replayed_in_order_one_letter_after_the_other() {
    let mut replay = job(&[3, 1]);
    let mut now = SECOND;
    assert_eq!(send_all(&mut replay, &mut now), [0, 3]);
    replay.handle_fate(0, Fate::Done);
    assert_eq!(send_all(&mut replay, &mut now), [1]);
    replay.handle_fate(1, Fate::Dropped);
    replay.handle_fate(3, Fate::Done);
    assert_eq!(send_all(&mut replay, &mut now), [2]);
    assert_eq!(replay.state(), State::Running);
    replay.handle_fate(2, Fate::Done);
    assert_eq!(replay.state(), State::Done);
    assert_eq!(replay.sequences(), (2, 2, 0));
}

#[test]
fn a_sequence_ends_with_its_first_failure_and_the_others_go_on() {
    for failure in [Fate::Dead, Fate::Missing] {
        let mut replay = job(&[3, 2]);
        let mut now = SECOND;
        assert_eq!(send_all(&mut replay, &mut now), [0, 3]);
        replay.handle_fate(0, failure);
        replay.handle_fate(3, Fate::Done);
        assert_eq!(send_all(&mut replay, &mut now), [4]);
        replay.handle_fate(4, Fate::Done);
        assert_eq!(replay.state(), State::Done, "{failure:?}");
        assert_eq!(replay.sequences(), (2, 1, 1));
        assert_eq!(replay.counts().left, 2);
    }
}

#[test]
fn the_others_follow_when_nineteen_of_the_first_twenty_sequences_have_finished() {
    let mut replay = job(&[1; 40]);
    let mut now = SECOND;
    assert_eq!(send_all(&mut replay, &mut now), (0..20).collect::<Vec<_>>());
    replay.handle_fate(7, Fate::Dead);
    for letter in (0..19).filter(|letter| *letter != 7) {
        replay.handle_fate(letter, Fate::Done);
        assert_eq!(send_all(&mut replay, &mut now), [], "after {letter}");
    }
    replay.handle_fate(19, Fate::Done);
    assert_eq!(
        send_all(&mut replay, &mut now),
        (20..40).collect::<Vec<_>>()
    );
    (20..40).for_each(|letter| replay.handle_fate(letter, Fate::Dead));
    assert_eq!(replay.state(), State::Done);
    assert_eq!(replay.counts().dead, 21);
}

#[test]
fn a_second_failure_among_the_first_twenty_leaves_the_others_as_they_are() {
    let mut replay = job(&[1; 21]);
    let mut now = SECOND;
    send_all(&mut replay, &mut now);
    replay.handle_fate(3, Fate::Dead);
    assert_eq!(replay.state(), State::Running);
    replay.handle_fate(4, Fate::Missing);
    assert_eq!(replay.state(), State::FailedCanary);
    assert_eq!(send_all(&mut replay, &mut now), []);
    // What is on its way is still told.
    assert!(!replay.is_settled());
    (0..20)
        .filter(|letter| ![3, 4].contains(letter))
        .for_each(|letter| replay.handle_fate(letter, Fate::Done));
    assert!(replay.is_settled());
    let counts = replay.counts();
    assert_eq!(
        (counts.done, counts.dead, counts.missing, counts.left),
        (18, 1, 1, 1)
    );
    assert!(!replay.resume());
}

#[test]
fn without_others_failures_stop_nothing() {
    let mut replay = job(&[1; 20]);
    let mut now = SECOND;
    send_all(&mut replay, &mut now);
    (0..20).for_each(|letter| replay.handle_fate(letter, Fate::Dead));
    assert_eq!(replay.state(), State::Done);
}

#[test]
fn letters_are_sent_at_their_rate() {
    let mut replay = job(&[1; 15]);
    let mut times = Vec::new();
    let mut now = SECOND;
    while times.len() < 15 {
        match replay.poll(now) {
            Next::Send(letter) => {
                replay.handle_sent(letter);
                times.push(now.0);
            }
            Next::Wait(at) => now = at.unwrap(),
        }
    }
    let apart: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(apart, [100; 14]);
}

#[test]
fn a_paused_job_sends_nothing_and_still_hears_what_becomes_of_letters() {
    let mut replay = job(&[2, 1]);
    let mut now = SECOND;
    assert_eq!(send_all(&mut replay, &mut now), [0, 2]);
    assert!(replay.pause());
    replay.handle_fate(0, Fate::Done);
    assert_eq!(send_all(&mut replay, &mut now), []);
    assert_eq!(replay.counts().done, 1);
    assert!(replay.resume());
    assert_eq!(send_all(&mut replay, &mut now), [1]);
    assert!(replay.cancel());
    assert!(!replay.resume() && !replay.pause());
    replay.handle_fate(1, Fate::Done);
    replay.handle_fate(2, Fate::Done);
    assert_eq!(replay.state(), State::Cancelled);
    assert!(replay.is_settled());
}

#[test]
fn a_letter_that_could_not_be_sent_is_next() {
    let mut replay = job(&[1, 1]);
    assert_eq!(replay.poll(SECOND), Next::Send(0));
    replay.handle_unsent(0);
    assert_eq!(
        replay.poll(SECOND + std::time::Duration::from_secs(1)),
        Next::Send(0)
    );
}

/// Ends letters in any order and starts the job anew from its steps after each event: what is sent, and how it ends, is
/// the same as without restarts.
#[test]
fn a_job_goes_on_after_a_restart_where_it_was() {
    for seed in 0..200_u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % bound
        };
        let lengths: Vec<usize> = (0..1 + below(30))
            .map(|_| 1 + usize::from(below(3) == 0))
            .collect();
        let mut replay = job(&lengths);
        let mut now = SECOND;
        let mut sent = Vec::new();
        loop {
            let (state, steps) = (replay.state(), replay.steps().to_vec());
            replay = Replay::new(&lengths, RATE, state, steps);
            sent.extend(send_all(&mut replay, &mut now));
            let waiting: Vec<_> = replay.waiting().collect();
            if waiting.is_empty() {
                break;
            }
            let at = usize::try_from(below(waiting.len() as u64)).unwrap();
            let fate = if below(12) == 0 {
                Fate::Dead
            } else {
                Fate::Done
            };
            replay.handle_fate(waiting[at], fate);
        }
        let mut once = sent.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(
            once.len(),
            sent.len(),
            "seed {seed}: a letter was sent twice"
        );
        let (all, finished, failed) = replay.sequences();
        match replay.state() {
            State::Done => assert_eq!(finished + failed, all, "seed {seed}"),
            State::FailedCanary => assert!(failed >= 2 && all > CANARY, "seed {seed}"),
            other @ (State::Running | State::Paused | State::Cancelled) => {
                panic!("seed {seed}: {other:?}")
            }
        }
        let mut start = 0;
        for length in lengths {
            let letters = &replay.steps()[start..start + length];
            let first_failed = letters
                .iter()
                .position(|step| *step == Step::Ended(Fate::Dead));
            if let Some(failed) = first_failed {
                assert!(
                    letters[failed + 1..].iter().all(|step| *step == Step::Left),
                    "seed {seed}"
                );
            }
            start += length;
        }
    }
}

#[test]
fn a_letter_that_was_sent_before_a_restart_is_not_sent_again_when_its_turn_comes() {
    let steps = vec![Step::Sent, Step::Sent, Step::Left];
    let mut replay = Replay::new(&[3], RATE, State::Running, steps);
    let mut now = SECOND;
    assert_eq!(send_all(&mut replay, &mut now), []);
    replay.handle_fate(0, Fate::Done);
    assert_eq!(send_all(&mut replay, &mut now), []);
    assert_eq!(replay.waiting().collect::<Vec<_>>(), [1]);
    replay.handle_fate(1, Fate::Done);
    assert_eq!(send_all(&mut replay, &mut now), [2]);
}
