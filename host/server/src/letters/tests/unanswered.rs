//! A bus that does not answer: nothing is taken for absent because of it.

use std::num::NonZeroU32;

use weir_core::replay::{State, Step};

use super::*;
use crate::bus::mute::Mute;
use crate::jobs::{Jobs, Plan, Progress};
use crate::names;
use crate::orders::KeptJob;

/// All topics.
const ALL: Option<&str> = Some("");
/// For what does happen, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A handler with a letter, and its bus.
async fn mute() -> (Fixture, Arc<Mute>) {
    let mut fixture = Fixture::new();
    fixture.die(&[Death(1, 10, "c")]).await;
    let bus = Mute::new(fixture.store.clone());
    fixture.subscription.bus = Arc::clone(&bus) as _;
    (fixture, bus)
}

async fn until(mut state: impl FnMut() -> bool) {
    let reached = async {
        while !state() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reached).await.unwrap();
}

/// Whether it says which partition of which topic was asked for.
fn names(error: &LettersError, topic: &str, partition: u32) -> bool {
    let said = error.to_string();
    matches!(error, LettersError::Unanswered(_))
        && said.contains(&format!("{topic:?} partition {partition} "))
}

#[tokio::test]
async fn a_list_of_letters_leaves_out_no_partition_that_does_not_answer() {
    let (fixture, bus) = mute().await;
    let (subscription, any) = (&fixture.subscription, Selection::default());
    let listing = find(subscription, &any, Millis(100), &page(9)).await;
    assert_eq!(listing.unwrap().letters.len(), 1);
    bus.silence(ALL);
    let error = find(subscription, &any, Millis(100), &page(9)).await;
    let topic = &subscription.deployment.dead_letter_topics[0];
    assert!(names(&error.unwrap_err(), topic, 0));
}

#[tokio::test]
async fn a_letter_is_not_missing_because_its_partition_does_not_answer() {
    let (fixture, bus) = mute().await;
    let (subscription, any) = (&fixture.subscription, Selection::default());
    let listing = find(subscription, &any, Millis(100), &page(9)).await;
    let place = listing.unwrap().letters[0].place;
    assert!(open(subscription, place).await.unwrap().is_some());
    bus.silence(ALL);
    let error = open(subscription, place).await.unwrap_err();
    let topic = &subscription.deployment.dead_letter_topics[0];
    assert!(names(&error, topic, place.partition));
    bus.silence(None);
    let gone = Place {
        offset: place.offset + 1,
        ..place
    };
    assert!(open(subscription, gone).await.unwrap().is_none());
}

#[tokio::test]
async fn nobody_has_obeyed_of_whom_it_is_not_known() {
    let (fixture, bus) = mute().await;
    let obeyed = async || wait_obeyed(&fixture.subscription, &[0], PATIENCE).await;
    assert!(obeyed().await, "nothing was commanded");
    bus.silence(ALL);
    assert!(!obeyed().await);
}

#[tokio::test]
async fn a_replay_waits_for_a_topic_that_does_not_answer_and_misses_no_letter() {
    let (fixture, bus) = mute().await;
    let Fixture {
        subscription,
        store,
        _scratch,
        ..
    } = fixture;
    let scope = subscription.deployment.scope.clone();
    let commands = names::commands_topic(&scope.group);
    store.ensure_topic(&commands, PARTITIONS).unwrap();
    let any = Selection::default();
    let found = find(&subscription, &any, Millis(100), &page(9)).await;
    let rate = NonZeroU32::new(100).unwrap();
    let job = KeptJob {
        id: 1,
        plan: Plan::new(found.unwrap().letters, Millis(100), rate, String::new()),
        progress: Progress {
            state: State::Running,
            steps: vec![Step::Left],
            commands: vec![0; PARTITIONS as usize],
        },
    };
    store.keep_job(&scope, &job, None).unwrap();

    bus.silence(Some("dlq."));
    let subscription = Arc::new(subscription);
    let jobs = Jobs::load(Arc::new(store.clone()), &[Arc::clone(&subscription)]).await;
    let jobs = Arc::new(jobs.unwrap());
    jobs.start();
    let counts = || {
        let job = jobs.of(&subscription).unwrap()[0].to_json();
        let count = |name: &str| job[name].as_u64().unwrap();
        (count("left"), count("sent"), count("missing"))
    };
    until(|| bus.refused() > 1).await;
    assert_eq!(counts(), (1, 0, 0));
    // Who sends it does not learn whether it has arrived.
    bus.silence(Some("_weir."));
    let before = bus.refused();
    until(|| bus.refused() > before + 1).await;
    assert_eq!(counts(), (0, 1, 0));
    bus.silence(None);
    assert_eq!(store.extent(&commands, 1), Some((0, 1)), "it is sent once");
    // Whoever runs them next is told nothing by a host that has stopped with them.
    jobs.close().await;
    assert!(jobs.of(&subscription).is_none());
}

/// Each reader is a client of the cluster.
#[tokio::test]
async fn who_names_a_letter_reads_no_further_than_to_that() {
    let (mut fixture, bus) = mute().await;
    let deaths: Vec<_> = (0..200_u8)
        .map(|number| Death(number, 50 + u64::from(number), "c"))
        .collect();
    fixture.die(&deaths).await;
    let read = async |letters: Vec<String>| {
        let (before, named) = (bus.readers(), !letters.is_empty());
        let selection = Selection {
            letters,
            ..Selection::default()
        };
        let all = page(1_000);
        let found = find(&fixture.subscription, &selection, Millis(1_000), &all).await;
        assert_eq!(found.unwrap().letters.len() == 1, named);
        bus.readers() - before
    };
    let last = Hash128([199; 16]).to_uuid();
    assert_eq!(read(vec![last.clone(), last]).await, PARTITIONS);
    assert!(read(Vec::new()).await > PARTITIONS);
}
