//! What each event of a run is told to do: known from the seed, its key and its number in that key, so that the model of
//! millions of events is one number a key.

use serde_json::{Value, json};

use crate::random::Random;
use crate::scripted::order;

/// Of a thousand events so many do not do at once what they are told: ten fail in one way or another.
const PER_MILLE: [(u64, What); 6] = [
    (6, What::Fail),
    (1, What::Trap),
    (2, What::Park),
    (1, What::Die),
    (5, What::Timer),
    (2, What::Later),
];
/// Attempts of an event that is parked and comes back; see the manifest of `scripted`.
const PARKS_AFTER: u64 = 6;
/// A timer, or a delayed emission, is due so soon at most: some become due while nobody owns them.
const DUE_MS_MAX: u64 = 5_000;

/// What an event does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// It is handled at once.
    Plain,
    /// Its first attempt fails.
    Fail,
    /// Its first attempt traps.
    Trap,
    /// It fails until it is set aside, and is handled later.
    Park,
    /// It is a dead letter.
    Die,
    /// It sets a timer.
    Timer,
    /// It emits something later.
    Later,
}

impl What {
    /// All of them.
    pub(super) const ALL: [Self; 7] = [
        Self::Plain,
        Self::Fail,
        Self::Trap,
        Self::Park,
        Self::Die,
        Self::Timer,
        Self::Later,
    ];

    /// In a report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "handled at once",
            Self::Fail => "failed once",
            Self::Trap => "trapped once",
            Self::Park => "parked and released",
            Self::Die => "dead letters",
            Self::Timer => "timers fired",
            Self::Later => "emitted later",
        }
    }
}

/// The events of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Script {
    seed: u64,
}

impl Script {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// What the event of this number, counted from 1, does.
    pub(super) fn what(self, key: u64, number: u32) -> What {
        self.draw(key, number).0
    }

    /// The event as it is published.
    pub(super) fn event(self, key: u64, number: u32) -> String {
        let (what, mut random) = self.draw(key, number);
        let due = random.below(DUE_MS_MAX);
        let orders: Value = match what {
            What::Plain => json!({}),
            What::Fail => json!({ "fail": "transient", "attempts": 1 }),
            What::Trap => json!({ "fail": "trap", "attempts": 1 }),
            What::Park => json!({ "fail": "transient", "attempts": PARKS_AFTER }),
            What::Die => json!({ "fail": "permanent" }),
            What::Timer => json!({ "timer": format!("t-{number}"), "afterMs": due }),
            What::Later => json!({ "delayMs": due }),
        };
        order(&id(key, number), &format!("k-{key}"), &orders)
    }

    fn draw(self, key: u64, number: u32) -> (What, Random) {
        let mut random = Random::new(self.seed ^ (key << 32) ^ u64::from(number));
        let mut drawn = random.below(1_000);
        for (share, what) in PER_MILLE {
            if drawn < share {
                return (what, random);
            }
            drawn -= share;
        }
        (What::Plain, random)
    }
}

/// The name of an event: its key and its number in it.
pub(super) fn id(key: u64, number: u32) -> String {
    format!("{key}/{number}")
}

/// The key and number in an event's name.
pub(super) fn parse(id: &str) -> Option<(u64, u32)> {
    let (key, number) = id.split_once('/')?;
    Some((key.parse().ok()?, number.parse().ok()?))
}
