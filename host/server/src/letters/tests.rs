mod selecting;
mod unanswered;

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;
use weir_core::dead_letter::{Cause, Deceased, Source, Stage};
use weir_core::unit::{
    Attempts, CommitResult, Completion, Fate, Head, ItemId, Output, ParkedSequence, SequenceKey,
    Unit,
};

use super::*;
use crate::alarm::Alarms;
use crate::bus::Bus;
use crate::config::Config;
use crate::embedded::{Embedded, EmbeddedConfig};
use crate::fleet::Fleet;
use crate::handlers::{Deployment, Handlers};
use crate::ledger::Scope;
use crate::manifest::{self, Manifest};
use crate::pipeline::Memory;
use crate::status::SubscriptionStatus;

/// A letter of a sequence by what tells it from others: identity, partition, sequence, and the offset of its event.
pub(crate) fn found(id: u8, partition: u32, sequence: Option<&str>, offset: u64) -> Found {
    Found {
        id: Hash128([id; 16]),
        place: Place {
            topic: 0,
            partition,
            offset,
        },
        origin: Origin {
            topic: "t".into(),
            partition,
            offset,
        },
        key: None,
        sequence: sequence.map(str::to_owned),
        class: String::new(),
        code: String::new(),
        message: String::new(),
        attempts: 1,
        replays: 0,
        dead_at: Millis(0),
        held: None,
        status: Status::Dead,
    }
}

const PARTITIONS: u32 = 3;

/// A handler without letters, and nothing that runs.
struct Fixture {
    subscription: Subscription,
    store: Embedded,
    /// Units by partition.
    units: [u64; PARTITIONS as usize],
    _scratch: TempDir,
}

/// A record of a letter: its number, when it died, of which code.
#[derive(Clone, Copy, Debug)]
struct Death(u8, u64, &'static str);

impl Fixture {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path();
        let text = "name = \"count\"\nversion = \"1.2.0\"\ncomponent = \"count.wasm\"\n\
                    [subscribe]\ntopics = [\"public.orders.v1\"]\n";
        std::fs::write(folder.join("count.wasm"), "").unwrap();
        std::fs::write(folder.join(manifest::FILE), text).unwrap();
        let config = Config::default();
        let deployment = Deployment::new(Manifest::load(folder, &config).unwrap(), &config);
        let settings = EmbeddedConfig {
            disk_reserve: Some(0),
            ..EmbeddedConfig::default()
        };
        let store = Embedded::open(&folder.join("store"), settings).unwrap();
        let topics = deployment.scope.topics.iter();
        for topic in topics.chain(deployment.dead_letter_topics.iter()) {
            store.ensure_topic(topic, PARTITIONS).unwrap();
        }
        let gate = Arc::new(deployment.gate());
        let alarms = Arc::new(Alarms::default());
        let status = SubscriptionStatus::new(
            deployment.clone(),
            "",
            PARTITIONS,
            Arc::clone(&gate),
            alarms,
        );
        let subscription = Subscription {
            deployment,
            handlers: Arc::new(Handlers::default()),
            bus: Arc::new(store.clone()),
            ledger: Arc::new(store.clone()),
            fleet: Arc::new(Fleet::Single),
            gate,
            status: Arc::new(status),
            resumed: tokio::sync::watch::Sender::new(0),
            replacing: tokio::sync::Mutex::default(),
            memory: Arc::new(Memory::new(1 << 20, 1)),
            solitude: Arc::default(),
        };
        Self {
            subscription,
            store,
            units: [0; PARTITIONS as usize],
            _scratch: scratch,
        }
    }

    /// What dies stands in the partition that its number says, and each death is a commit.
    async fn die(&mut self, deaths: &[Death]) {
        for death in deaths {
            self.commit(*death, LetterStatus::Dead).await;
        }
    }

    /// Writes a letter's record with its status, or the status alone.
    async fn commit(&mut self, Death(number, dead_at, code): Death, status: LetterStatus) {
        let deployment = &self.subscription.deployment;
        let scope = &deployment.scope;
        let id = Hash128([number; 16]).as_uuid();
        let origin = Origin {
            topic: Arc::clone(&scope.topics[0]),
            partition: u32::from(number) % PARTITIONS,
            offset: number.into(),
        };
        let deceased = Deceased {
            record: &Record::default(),
            origin: &origin,
            letter: id,
            replays: 0,
            held: false,
            sequence: None,
            traceparent: None,
        };
        let attempts = Attempts::default();
        let (code, message) = (code.to_owned(), String::new());
        let cause = Cause::new(Stage::Handler, "permanent", code, message, &attempts);
        let topic = Arc::clone(&deployment.dead_letter_topics[0]);
        let (source, at) = (source(scope), Millis(dead_at));
        let record = dead_letter::to_record(topic, usize::MAX, &source, deceased, &cause, at);
        let record = record.unwrap();
        let unit = &mut self.units[origin.partition as usize];
        *unit += 1;
        let item = ItemId::Record(Position {
            topic: 0,
            offset: *unit,
        });
        let died = status == LetterStatus::Dead;
        let completion = Completion {
            item,
            sequence: SequenceKey::Alone(item),
            fate: Fate::Dead,
            mark: None,
            output: Output {
                records: died.then_some(record).into_iter().collect(),
                letter: Some((id, status)),
                ..Output::default()
            },
        };
        let unit = Unit {
            number: *unit,
            completions: vec![Arc::new(completion)],
            cursors: scope
                .topics
                .iter()
                .map(|_| weir_core::unit::Cursor::default())
                .collect(),
            ..Unit::default()
        };
        // Statuses lie with the partition of the letter.
        let result = self
            .subscription
            .ledger
            .commit(scope, origin.partition, unit)
            .await;
        assert_eq!(result, CommitResult::Committed);
    }

    /// An event with this key dies in partition 0 and holds its sequence, as many others are held there.
    async fn hold(&mut self, key: &'static str, others: u64) -> Hash128 {
        let scope = &self.subscription.deployment.scope;
        let record = event(key);
        let position = Position {
            topic: 0,
            offset: 0,
        };
        let origin = Origin {
            topic: Arc::clone(&scope.topics[0]),
            partition: 0,
            offset: position.offset,
        };
        let letter = dead_letter::letter_id(&scope.group, &origin, record.timestamp_ms);
        let sequence = |key: Bytes| SequenceKey::Keyed {
            tenant: "default".into(),
            key,
        };
        let own = sequence(Bytes::from_static(key.as_bytes()));
        let deceased = Deceased {
            record: &record,
            origin: &origin,
            letter,
            replays: 0,
            held: true,
            sequence: Some(&own),
            traceparent: None,
        };
        let (code, attempts) = ("c".to_owned(), Attempts::default());
        let cause = Cause::new(Stage::Handler, "permanent", code, String::new(), &attempts);
        let topic = Arc::clone(&self.subscription.deployment.dead_letter_topics[0]);
        let (source, at) = (source(scope), Millis(10));
        let record = dead_letter::to_record(topic, usize::MAX, &source, deceased, &cause, at);
        let item = ItemId::Record(position);
        let completion = Completion {
            item,
            sequence: own.clone(),
            fate: Fate::Dead,
            mark: None,
            output: Output {
                records: vec![record.unwrap()],
                letter: Some((letter, LetterStatus::Dead)),
                ..Output::default()
            },
        };
        let held = |letter| ParkedSequence {
            count: 1,
            bytes: 1,
            head: Head {
                letter: Some(letter),
                held: true,
                ..fresh_head()
            },
        };
        let others = (0..others).map(|number| {
            let key = Bytes::copy_from_slice(&number.to_be_bytes());
            (sequence(key), Some(held(Hash128([0; 16]))))
        });
        let heads = others.chain([(own, Some(held(letter)))]).collect();
        self.units[0] += 1;
        let unit = Unit {
            number: self.units[0],
            completions: vec![Arc::new(completion)],
            cursors: vec![weir_core::unit::Cursor::default(); scope.topics.len()],
            heads,
            ..Unit::default()
        };
        let result = self.subscription.ledger.commit(scope, 0, unit).await;
        assert_eq!(result, CommitResult::Committed);
        letter
    }

    /// All pages of a list, the last one first: numbers of letters.
    async fn pages(&self, selection: &Selection, page: Page) -> Vec<Vec<u8>> {
        let (mut pages, mut page) = (Vec::new(), page);
        loop {
            let listing = find(&self.subscription, selection, Millis(100), &page).await;
            let Listing { letters, next } = listing.unwrap();
            pages.push(letters.iter().map(|found| found.id.0[0]).collect());
            let Some(next) = next else {
                return pages;
            };
            let told = next.to_string().parse().unwrap();
            assert_eq!(next, told);
            page.before = Some(told);
        }
    }
}

fn source(scope: &Scope) -> Source {
    Source {
        group: Arc::clone(&scope.group),
        handler: "count".into(),
        version: "1.2.0".into(),
        digest: "".into(),
    }
}

fn fresh_head() -> Head {
    Head {
        due: Millis(0),
        attempts: Attempts::default(),
        letter: None,
        held: false,
    }
}

/// An event with this key.
fn event(key: &'static str) -> Record {
    let attributes = [
        ("ce_specversion", "1.0"),
        ("ce_id", "1"),
        ("ce_source", "/s"),
        ("ce_type", "t"),
    ];
    let headers =
        attributes.map(|(name, value)| (name.into(), Some(Bytes::from_static(value.as_bytes()))));
    Record {
        key: Some(Bytes::from_static(key.as_bytes())),
        value: Some(Bytes::from_static(b"{}")),
        headers: headers.into(),
        ..Record::default()
    }
}

fn page(letters_max: usize) -> Page {
    Page::of(letters_max)
}

#[tokio::test]
async fn a_list_begins_with_the_letters_that_died_last_in_any_partition() {
    let mut fixture = Fixture::new();
    fixture
        .die(&[1, 2, 3, 4, 5, 6, 7].map(|number| Death(number, 10 + u64::from(number), "c")))
        .await;
    let any = Selection::default();
    assert_eq!(
        fixture.pages(&any, page(3)).await,
        [vec![5, 6, 7], vec![2, 3, 4], vec![1]]
    );
    assert_eq!(
        fixture.pages(&any, page(9)).await,
        [vec![1, 2, 3, 4, 5, 6, 7]]
    );
    // Nothing more is looked at than was asked for.
    let one = Page {
        records_max: 2,
        ..page(9)
    };
    let listing = find(&fixture.subscription, &any, Millis(100), &one)
        .await
        .unwrap();
    assert_eq!((listing.letters.len(), listing.next.is_some()), (2, true));
}

#[tokio::test]
async fn a_letter_is_listed_once_by_its_latest_record() {
    let mut fixture = Fixture::new();
    fixture
        .die(&[
            Death(1, 10, "c"),
            Death(2, 11, "c"),
            Death(4, 12, "c"),
            Death(1, 13, "d"),
        ])
        .await;
    let any = Selection::default();
    assert_eq!(fixture.pages(&any, page(9)).await, [[2, 4, 1]]);
    // On whatever page its earlier record would be.
    assert_eq!(fixture.pages(&any, page(1)).await.concat(), [1, 4, 2]);
    let code = |code: &str| Selection {
        code: Some(code.to_owned()),
        ..Selection::default()
    };
    // It died of something else the second time.
    assert_eq!(fixture.pages(&code("c"), page(9)).await, [[2, 4]]);
    assert_eq!(fixture.pages(&code("c"), page(1)).await.concat(), [4, 2]);
    fixture.commit(Death(1, 0, ""), LetterStatus::Dropped).await;
    let dropped = Selection {
        status: Some(Status::Dropped),
        ..Selection::default()
    };
    assert_eq!(fixture.pages(&dropped, page(9)).await, [[1]]);
}

#[tokio::test]
async fn a_letter_that_holds_its_sequence_is_found_among_any_number_whatever_the_manifest_says_by_now()
 {
    let mut fixture = Fixture::new();
    assert_eq!(
        fixture.subscription.deployment.manifest.on_dead,
        weir_core::partition::OnDead::Release
    );
    // Its key comes after those of the others.
    let letter = fixture.hold("\u{10ffff}", 10_001).await;
    let held = Selection {
        status: Some(Status::Held),
        ..Selection::default()
    };
    let listing = find(&fixture.subscription, &held, Millis(100), &page(9)).await;
    let found: Vec<_> = listing.unwrap().letters.iter().map(|one| one.id).collect();
    assert_eq!(found, [letter]);
}

#[tokio::test]
async fn a_list_of_the_last_minutes_ends_with_them() {
    let mut fixture = Fixture::new();
    fixture
        .die(&[
            Death(1, 10, "c"),
            Death(2, 60_000, "c"),
            Death(3, 70_000, "c"),
        ])
        .await;
    let recent = Selection {
        within_s: Some(20),
        ..Selection::default()
    };
    let listing = find(&fixture.subscription, &recent, Millis(75_000), &page(9)).await;
    let listing = listing.unwrap();
    assert_eq!((listing.letters.len(), listing.next), (2, None));
}

#[tokio::test]
async fn a_list_that_goes_on_where_no_list_ended_is_refused() {
    let fixture = Fixture::new();
    for text in ["", "x", "1.2.", "-1"] {
        assert!(text.parse::<Cursor>().is_err(), "{text:?}");
    }
    let elsewhere = Page {
        before: Some("1.2".parse().unwrap()),
        ..page(9)
    };
    let any = Selection::default();
    let error = find(&fixture.subscription, &any, Millis(0), &elsewhere).await;
    assert!(matches!(error, Err(LettersError::Cursor(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn pages_of_any_size_hold_every_letter_once(
        numbers in prop::collection::vec(0..40_u8, 0..120),
        size in 1..50_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut fixture = Fixture::new();
            let deaths: Vec<_> = (10..).zip(&numbers).map(|(at, number)| Death(*number, at, "c")).collect();
            fixture.die(&deaths).await;
            let pages = fixture.pages(&Selection::default(), page(size)).await;
            let found: Vec<u8> = pages.into_iter().flat_map(|page| page.into_iter().rev()).collect();
            let mut latest: Vec<u8> = Vec::new();
            for number in numbers.iter().rev() {
                if !latest.contains(number) {
                    latest.push(*number);
                }
            }
            assert_eq!(found, latest);
        });
    }
}
