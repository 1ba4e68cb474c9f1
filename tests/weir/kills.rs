//! SIGKILL at random moments and at every step of a commit: nothing lost, nothing doubled, every customer's purchases in order (I1, I2, I3, I5, I6).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_tests::chaos;
use weir_tests::publisher::Publisher;
use weir_tests::purchases::{self, INVOICES, NOTIFICATIONS, PAYMENTS, Totals, dollars};
use weir_tests::random::Random;
use weir_tests::wait;

use crate::fixture::{SETTLE, Scratch, cdnow, root};

const KILLS: usize = 5;
/// A kill falls this long after an acknowledgement at most: long enough to hit every step of a batch.
const DELAY_MICROS_MAX: u64 = 20_000;

/// Names a seed to repeat the kills of an earlier run.
const SEED: &str = "WEIR_TEST_SEED";

#[test]
fn sample_published_twice_through_five_kills_comes_to_the_right_totals() {
    let lines = purchases::lines(&purchases::sample(root())).unwrap();
    let right = purchases::totals(&lines).unwrap();
    survive(lines, &right, 32);
}

/// The public CDNOW purchase log. The figures were computed from its text by other programs.
#[test]
fn cdnow_log_published_twice_through_five_kills_comes_to_the_right_totals() {
    let Some(file) = cdnow("the full CDNOW log") else {
        return;
    };
    let lines = purchases::lines(&file).unwrap();
    let right = purchases::totals(&lines).unwrap();
    assert_eq!((right.events, right.customers.len()), (69_659, 23_570));
    assert_eq!(dollars(right.cents()), "2,500,315.63");
    let best = [
        ("07592", 1_399_093, 201),
        ("14048", 897_633, 217),
        ("07983", 697_307, 149),
        ("19339", 655_270, 56),
        ("07931", 649_718, 62),
    ];
    assert_eq!(right.best(), best);
    survive(lines, &right, 256);
}

/// The same that `cargo xtask chaos` does, with fewer kills: half of them at each place of a commit, half at any moment.
#[test]
fn twenty_kills_at_every_commit_boundary_leave_each_accepted_event_one_effect() {
    let scratch = Scratch::new(&chaos::HANDLERS, "");
    let seed = seed();
    eprintln!("{SEED}={seed}");
    let report = chaos::run(&scratch.place, 20, seed, |_, _, _| {}).unwrap();
    eprintln!("{report}");
    for place in chaos::PLACES {
        assert_eq!(report.kills().get(place), Some(&1), "{place}");
    }
    assert!(report.accepted() > 100, "{}", report.accepted());
    for (what, count) in report.fulfilled() {
        assert!(count > 0, "{what}");
    }
}

/// Publishes `lines` twice, kills the host in between, and compares what both handlers emitted.
fn survive(mut lines: Vec<String>, right: &Totals, batch: usize) {
    lines.extend_from_within(..);
    let seed = seed();
    eprintln!("{SEED}={seed}");
    let mut random = Random::new(seed);
    let mut moments: Vec<_> = (0..KILLS)
        .map(|_| random.below(lines.len() as u64 * 9 / 10))
        .collect();
    moments.sort_unstable();

    let (scratch, mut host) = Scratch::with_purchases();
    let publisher = Publisher::spawn(scratch.place.client(), INVOICES, Arc::new(lines), batch);
    for moment in moments {
        publisher
            .wait_for(usize::try_from(moment).unwrap())
            .unwrap();
        wait::pause(Duration::from_micros(random.below(DELAY_MICROS_MAX)));
        host.kill().unwrap();
        host = scratch.place.start().unwrap();
    }
    publisher.finish().unwrap();
    let client = host.client();
    client.settle(SETTLE).unwrap();

    // A batch that was durable but not acknowledged is published again, so there may be more, never fewer.
    assert!(client.records(INVOICES).unwrap() >= right.events * 2);
    for topic in [PAYMENTS, NOTIFICATIONS] {
        let emitted = purchases::emitted(client, topic).unwrap();
        assert_eq!(emitted.best(), right.best(), "{topic}");
        assert!(
            emitted == *right,
            "{topic}: {} events, {} cents",
            emitted.events,
            emitted.cents()
        );
    }
    let ended = host.drain().unwrap();
    assert!(ended.success(), "{ended}: {}", scratch.place.end_of_log());
}

#[expect(
    clippy::disallowed_methods,
    reason = "a person repeats the kills of an earlier run by it"
)]
fn seed() -> u64 {
    let given = std::env::var(SEED).ok().map(|seed| seed.parse().unwrap());
    given.unwrap_or_else(|| {
        SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap()
            .subsec_nanos()
            .into()
    })
}
