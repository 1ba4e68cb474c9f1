//! The simulated handler: what an event does is decided by its identity, so that every attempt of it wants the same.

use std::time::Duration;

use bytes::Bytes;
use weir_core::event::{
    Effects, Emission, Event, Failure, FailureKind, Outcome, StateWrite, TimerSet, TimerWrite,
};
use weir_core::partition::{TIMER_NAME, TIMER_TYPE};
use weir_core::time::Millis;

use crate::rng::mix;
use crate::told::Runner;

/// How long the value `brief` is kept.
pub(crate) const BRIEF_MS: u64 = 60_000;

/// How the handler takes an event, on every attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Temper {
    /// Succeeds, and fails now and then while faults are on.
    Steady,
    /// Fails while faults are on.
    Flaky,
    /// Finds something down while faults are on.
    Down,
    /// Fails for good.
    Permanent,
    /// Traps on every attempt.
    Traps,
    /// Returns an emission that nobody granted.
    Invalid,
    /// Ends the host.
    Killer,
}

/// What a handler does with an event.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) temper: Temper,
    pub(crate) emissions: u32,
    /// Of the last emission.
    pub(crate) delay: Option<Duration>,
    /// Timers by name: set to fire after this long and so often again, or cancelled.
    timers: Vec<(String, Option<(Duration, u8)>)>,
}

/// What a number decides between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) salt: u64,
    pub(crate) timers: bool,
    pub(crate) killers: bool,
}

impl Script {
    pub(crate) fn new(habits: Habits, event: &Event) -> Self {
        let dice = mix(habits.salt ^ digest_of(event));
        let share = |place: u32, bound: u64| mix(dice ^ u64::from(place)) % bound;
        let fires = event.ty == TIMER_TYPE;
        let temper = match share(1, 100) {
            0..4 => Temper::Permanent,
            4..7 => Temper::Traps,
            7..9 if !fires => Temper::Invalid,
            9..17 => Temper::Flaky,
            17..21 => Temper::Down,
            21..23 if habits.killers => Temper::Killer,
            _ => Temper::Steady,
        };
        let emissions = u32::try_from(share(2, 4)).unwrap_or(0);
        let after = |place| {
            Duration::from_millis(
                [20, 2_000, 900_000, 20_000_000][usize::try_from(share(place, 4)).unwrap_or(0)],
            )
        };
        let mut timers = Vec::new();
        if habits.timers {
            match share(3, 100) {
                0..22 => timers.push(("a".to_owned(), Some((after(4), 2)))),
                22..30 => timers.push(("b".to_owned(), Some((after(4), 0)))),
                30..42 => timers.push(("a".to_owned(), None)),
                42..48 => {
                    timers.push(("b".to_owned(), None));
                    timers.push(("a".to_owned(), Some((after(5), 1))));
                }
                _ => {}
            }
            let left = event.data.as_ref().and_then(|data| data.first().copied());
            if let (true, Some(name), Some(left @ 1..)) = (fires, event.extension(TIMER_NAME), left)
            {
                timers = vec![(name.to_owned(), Some((after(6), left - 1)))];
            }
        }
        Self {
            temper,
            emissions: if temper == Temper::Invalid {
                emissions.max(1)
            } else {
                emissions
            },
            delay: (habits.timers && share(7, 4) == 0).then(|| after(8)),
            timers,
        }
    }

    /// What a successful attempt wants to change, and who says so.
    pub(crate) fn effects(
        &self,
        event: &Event,
        read: Read,
        runner: Runner,
        now: Millis,
    ) -> Effects {
        let count = read.count + 1;
        let digest = next_digest(read.digest, event);
        let odd = (count % 2 == 1).then(|| Bytes::from_static(b"odd"));
        let timers = self
            .timers
            .iter()
            .zip(0..)
            .map(|((name, set), call)| TimerWrite {
                name: name.clone(),
                call,
                set: set.map(|(after, left)| TimerSet {
                    due: now + after,
                    data: Some(Bytes::copy_from_slice(&[left])),
                }),
            });
        Effects {
            emissions: self.emissions(&number(count)),
            state: vec![
                write("count", Some(number(count))),
                write("digest", Some(number(digest))),
                write("odd", odd),
                StateWrite {
                    ttl_ms: Some(BRIEF_MS),
                    ..write("brief", Some(number(count)))
                },
                write("epoch", Some(number(runner.epoch))),
                write("serial", Some(number(runner.serial))),
                write("version", Some(number(runner.version))),
            ],
            timers: timers.collect(),
        }
    }

    /// What the fallback emits: it has neither state nor timers.
    pub(crate) fn fallback_effects(&self) -> Effects {
        let mut emissions = self.emissions(&Bytes::new());
        for emission in &mut emissions {
            emission.delay_ms = None;
            emission.topic = None;
        }
        Effects {
            emissions,
            ..Effects::default()
        }
    }

    fn emissions(&self, data: &Bytes) -> Vec<Emission> {
        let mut emissions: Vec<_> = (0..self.emissions)
            .map(|_| Emission {
                ty: "Counted".into(),
                topic: (self.temper == Temper::Invalid).then(|| "elsewhere".into()),
                data: Some(data.clone()),
                ..Emission::default()
            })
            .collect();
        if let (Some(last), Some(delay)) = (emissions.last_mut(), self.delay) {
            last.delay_ms = u64::try_from(delay.as_millis()).ok();
        }
        emissions
    }
}

/// What an attempt reads of its sequence.
#[derive(Clone, Copy, Default)]
pub(crate) struct Read {
    count: u64,
    digest: u64,
    /// The value that expires, if it is there.
    pub(crate) brief: Option<u64>,
}

impl Read {
    pub(crate) fn new(get: impl Fn(&str) -> Option<Bytes>) -> Self {
        Self {
            count: to_number(get("count")),
            digest: to_number(get("digest")),
            brief: get("brief").map(|value| to_number(Some(value))),
        }
    }
}

/// The first eight bytes as a number, zero without them.
pub(crate) fn to_number(bytes: Option<Bytes>) -> u64 {
    let head = bytes.as_ref().and_then(|bytes| bytes.first_chunk::<8>());
    head.map_or(0, |head| u64::from_le_bytes(*head))
}

/// The order of a sequence in a number.
pub(crate) fn next_digest(digest: u64, event: &Event) -> u64 {
    mix(digest ^ digest_of(event))
}

fn digest_of(event: &Event) -> u64 {
    let text = event.source.bytes().chain([0]).chain(event.id.bytes());
    text.fold(17, |sum, byte| mix(sum ^ u64::from(byte)))
}

pub(crate) fn failure(kind: FailureKind, retry_after_ms: Option<u64>) -> Outcome {
    Outcome::Failed(Failure {
        kind,
        code: "simulated".into(),
        message: "as the seed wants it".into(),
        retry_after_ms,
        backtrace: None,
    })
}

/// For the trace.
pub(crate) fn name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done(effects) => format!(
            "done, {} emissions, {} timers",
            effects.emissions.len(),
            effects.timers.len()
        ),
        Outcome::Failed(failure) => format!("{:?}", failure.kind),
    }
}

fn number(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_le_bytes())
}

fn write(name: &str, value: Option<Bytes>) -> StateWrite {
    StateWrite {
        name: name.into(),
        value,
        ttl_ms: None,
    }
}
