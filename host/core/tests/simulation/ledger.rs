//! The simulated ledger. It keeps everything that was ever committed, so that each unit can be judged when it comes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use weir_core::identity::emission_id;
use weir_core::partition::StagedState;
use weir_core::time::Millis;
use weir_core::unit::{
    Completion, Cursor, Fate, InboxBlock, OpenAttempts, Position, Restore, SequenceKey, Unit,
};

use crate::plan::{Identity, Item, Plan, mix};
use crate::run::Bug;

/// An invariant that does not hold.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) message: String,
}

pub(crate) type Judged<T = ()> = Result<T, Violation>;

pub(crate) fn check(
    invariant: &'static str,
    holds: bool,
    message: impl FnOnce() -> String,
) -> Judged {
    if holds {
        return Ok(());
    }
    Err(Violation {
        invariant,
        message: message(),
    })
}

/// What a handler that runs each sequence alone, in order and once, would have left behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sequential {
    count: u64,
    digest: u64,
}

impl Sequential {
    fn handle(&mut self, position: Position) {
        self.count += 1;
        self.digest = next_digest(self.digest, position);
    }
}

pub(crate) fn next_digest(digest: u64, position: Position) -> u64 {
    mix(digest ^ mix(position.offset << 16 | u64::from(position.topic)))
}

/// What the machine under test has been told in its epoch; judges units together with what is durable.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) epoch: u64,
    /// Keyed records in the order of their arrival.
    pub(crate) arrivals: BTreeMap<SequenceKey, Vec<Position>>,
    /// Counted failures of open events.
    pub(crate) counted: BTreeMap<Position, u32>,
    /// Epoch and serial of the latest attempt of each event.
    pub(crate) runner: BTreeMap<Position, (u64, u64)>,
}

#[derive(Default)]
pub(crate) struct Ledger {
    number: u64,
    cursors: Vec<Cursor>,
    open: Vec<OpenAttempts>,
    inbox: BTreeMap<u64, InboxBlock>,
    stream_time: Millis,
    state: BTreeMap<SequenceKey, BTreeMap<String, Bytes>>,
    pub(crate) fates: BTreeMap<Position, Fate>,
    /// Stream time and wall clock of the unit that gave an identity its first fate.
    effects: BTreeMap<Identity, (Millis, Millis)>,
    sequential: BTreeMap<SequenceKey, Sequential>,
}

impl Ledger {
    pub(crate) fn restore(&self) -> Restore {
        Restore {
            unit: self.number,
            cursors: self.cursors.clone(),
            open: self.open.clone(),
            inbox: self.inbox.values().cloned().collect(),
            stream_time: self.stream_time,
        }
    }

    pub(crate) fn open(&self) -> &[OpenAttempts] {
        &self.open
    }

    /// What a handler reads: staged writes over durable ones.
    pub(crate) fn read(
        &self,
        staged: &StagedState,
        sequence: &SequenceKey,
        name: &str,
    ) -> Option<Bytes> {
        staged.get(name).unwrap_or_else(|| {
            let state = self.state.get(sequence)?;
            state.get(name).cloned()
        })
    }

    /// Judges a unit, then makes it durable.
    pub(crate) fn commit(&mut self, plan: &Plan, told: &Told, unit: &Unit, bug: Bug) -> Judged {
        check("I5", unit.number == self.number + 1, || {
            format!("unit {} after unit {}", unit.number, self.number)
        })?;
        check("I4", unit.epoch == told.epoch, || {
            format!("unit of epoch {} in {}", unit.epoch, told.epoch)
        })?;
        let whole = unit.completions.len();
        let applied = if bug == Bug::HalfUnit {
            whole.div_ceil(2)
        } else {
            whole
        };
        for completion in &unit.completions[..applied] {
            self.complete(plan, told, unit, completion, bug)?;
        }
        self.number = unit.number;
        self.cursors.clone_from(&unit.cursors);
        self.open.clone_from(&unit.open);
        self.stream_time = unit.stream_time;
        self.commit_inbox(unit);
        self.judge_cursors(plan)
    }

    fn commit_inbox(&mut self, unit: &Unit) {
        for expired in &unit.expired_blocks {
            self.inbox.remove(expired);
        }
        let ids: Vec<_> = unit
            .completions
            .iter()
            .filter_map(|completion| completion.mark)
            .collect();
        if !ids.is_empty() {
            let block = InboxBlock {
                unit: unit.number,
                stream_time: unit.stream_time,
                staged_at: unit.staged_at,
                ids,
            };
            self.inbox.insert(unit.number, block);
        }
    }

    fn complete(
        &mut self,
        plan: &Plan,
        told: &Told,
        unit: &Unit,
        completion: &Completion,
        bug: Bug,
    ) -> Judged {
        let position = completion.position;
        let Some(item) = plan.item(position) else {
            return check("I12", false, || format!("{position:?} holds no record"));
        };
        check("I12", completion.sequence == item.sequence, || {
            format!("{position:?} in {:?}", completion.sequence)
        })?;
        let earlier = told.arrivals.get(&item.sequence).into_iter().flatten();
        for earlier in earlier.take_while(|earlier| **earlier != position) {
            check("I3", self.fates.contains_key(earlier), || {
                format!("{position:?} commits before {earlier:?}")
            })?;
        }
        let fate = completion.fate;
        let twice = self.fates.insert(position, fate);
        check("I2", twice.is_none(), || {
            format!("{position:?} is {fate:?} after {twice:?}")
        })?;
        self.judge_identity(plan, unit, item, fate)?;
        match fate {
            Fate::Handled => self.handled(plan, told, item, completion)?,
            Fate::Dead => judge_letter(plan, told, item, completion, bug)?,
            Fate::Duplicate | Fate::Filtered | Fate::Skipped | Fate::Parked => {
                check("I2", completion.output == Default::default(), || {
                    format!("{fate:?} {position:?} writes something")
                })?;
            }
        }
        Ok(())
    }

    /// An identity has one fate with an effect, as long as its mark is in the window.
    fn judge_identity(&mut self, plan: &Plan, unit: &Unit, item: &Item, fate: Fate) -> Judged {
        let (Some(identity), Some(inbox)) = (&item.identity, plan.config.inbox) else {
            return Ok(());
        };
        let seen = self.effects.get(identity).copied();
        if !matches!(fate, Fate::Handled | Fate::Dead) {
            return Ok(());
        }
        if let Some((stream_time, staged_at)) = seen {
            let old = unit.stream_time.since(stream_time) >= inbox.window
                && unit.staged_at.since(staged_at) >= inbox.window;
            check("I2", old, || format!("{identity:?} has an effect twice"))?;
        }
        self.effects
            .insert(identity.clone(), (unit.stream_time, unit.staged_at));
        Ok(())
    }

    fn handled(
        &mut self,
        plan: &Plan,
        told: &Told,
        item: &Item,
        completion: &Completion,
    ) -> Judged {
        let position = item.position;
        let state = self.state.entry(item.sequence.clone()).or_default();
        for write in &completion.output.state {
            match &write.value {
                Some(value) => state.insert(write.name.clone(), value.clone()),
                None => state.remove(&write.name),
            };
        }
        let model = self.sequential.entry(item.sequence.clone()).or_default();
        model.handle(position);
        let number = |name: &str| {
            let bytes = state.get(name).and_then(|value| value.first_chunk::<8>());
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let left = Sequential {
            count: number("count"),
            digest: number("digest"),
        };
        let runner = (number("epoch"), number("serial"));
        check("I4", told.runner.get(&position) == Some(&runner), || {
            format!(
                "{position:?} commits the result of {runner:?}, not {:?}",
                told.runner.get(&position)
            )
        })?;
        check("I2", left == *model, || {
            format!("{position:?} leaves {left:?}, alone it would be {model:?}")
        })?;
        check(
            "I2",
            state.contains_key("odd") == (model.count % 2 == 1),
            || format!("{position:?} left `odd` behind or lost it"),
        )?;
        let Some((tenant, source, id)) = &item.identity else {
            return check("I12", false, || format!("{position:?} is no event"));
        };
        let handler = &plan.config.emit.handler;
        let expected: Vec<String> = (0..item.emissions)
            .map(|index| emission_id(tenant, handler, source, id, index))
            .collect();
        let emitted: Vec<String> = completion
            .output
            .records
            .iter()
            .filter_map(|out| out.record.header("ce_id"))
            .map(|id| String::from_utf8_lossy(id).into_owned())
            .collect();
        check("I6", emitted == expected, || {
            format!("{position:?} emits {emitted:?}, not {expected:?}")
        })?;
        let counted = model.count.to_le_bytes();
        let data_agree = completion
            .output
            .records
            .iter()
            .all(|out| out.record.value.as_deref() == Some(&counted[..]));
        check("I2", data_agree, || {
            format!("{position:?} emits a count that is not durable")
        })
    }

    /// What a cursor calls completed has a fate, or never held a record.
    fn judge_cursors(&self, plan: &Plan) -> Judged {
        for item in plan.items() {
            let Position { topic, offset } = item.position;
            let cursor = &self.cursors[usize::from(topic)];
            let passed = offset < cursor.frontier
                || cursor
                    .completed
                    .iter()
                    .any(|range| (range.0..range.1).contains(&offset));
            let has_fate = self.fates.contains_key(&item.position);
            check("I1", has_fate || !passed, || {
                format!("the cursor passes {:?}, which has no fate", item.position)
            })?;
            check("I5", passed || !has_fate, || {
                format!("{:?} has a fate, and the cursor is open", item.position)
            })?;
        }
        Ok(())
    }

    /// Exactly the counted failures of events that stay open are in a unit when it is handed out.
    pub(crate) fn judge_attempts(&self, told: &Told, unit: &Unit) -> Judged {
        let given: BTreeMap<_, _> = unit
            .open
            .iter()
            .map(|open| (open.position, open.attempts))
            .collect();
        let mut counted = told.counted.clone();
        counted.retain(|_, attempts| *attempts > 0);
        for completion in &unit.completions {
            counted.remove(&completion.position);
        }
        check("I7", given == counted, || {
            format!(
                "unit {} holds attempts {given:?}, counted {counted:?}",
                unit.number
            )
        })
    }

    /// At the end: every record has a fate that fits it, and every identity an effect.
    pub(crate) fn judge_end(&self, plan: &Plan) -> Judged {
        let mut duplicates = BTreeSet::new();
        let mut settled = BTreeSet::new();
        for item in plan.items() {
            let position = item.position;
            let Some(fate) = self.fates.get(&position) else {
                return check("I1", false, || format!("{position:?} has no fate"));
            };
            match fate {
                Fate::Duplicate => duplicates.insert(item.identity.clone()),
                Fate::Handled | Fate::Dead => settled.insert(item.identity.clone()),
                Fate::Filtered | Fate::Skipped | Fate::Parked => false,
            };
        }
        settled.extend(plan.compacted.iter().cloned());
        let lost: Vec<_> = duplicates.difference(&settled).collect();
        check("I1", lost.is_empty(), || {
            format!("{lost:?} are duplicates of nothing")
        })
    }
}

/// A dead letter is the record itself, and died of a counted attempt or before any.
fn judge_letter(
    plan: &Plan,
    told: &Told,
    item: &Item,
    completion: &Completion,
    bug: Bug,
) -> Judged {
    let position = item.position;
    let [letter] = completion.output.records.as_slice() else {
        return check("I8", false, || format!("{position:?} has no single letter"));
    };
    let mut record = letter.record.clone();
    if bug == Bug::ChangedLetter {
        record.value = record.value.map(|value| value.slice(..value.len() / 2));
    }
    let topic = &plan.config.dead_letter_topics[usize::from(position.topic)];
    let same = letter.topic == *topic
        && letter.partition == Some(plan.config.partition)
        && record.key == item.record.key
        && record.value == item.record.value
        && record.headers.starts_with(&item.record.headers);
    check("I8", same, || {
        format!("the letter of {position:?} is not its record")
    })?;
    let added = |name: &str| {
        let own = record.headers[item.record.headers.len()..].iter();
        own.filter(|(n, _)| n == name)
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect::<Vec<_>>()
            .join(",")
    };
    let class = added("weir.dlq.class");
    let counted = told.counted.get(&position).copied().unwrap_or(0);
    check(
        "I7",
        added("weir.dlq.attempts") == counted.to_string(),
        || {
            format!(
                "the letter of {position:?} says {} attempts, counted {counted}",
                added("weir.dlq.attempts")
            )
        },
    )?;
    let before_any = matches!(class.as_str(), "poison" | "unkeyed");
    check("I7", before_any || counted > 0, || {
        format!("{position:?} died without an attempt: {class}")
    })?;
    let expected = item.identity.is_none() || item.refused_at_start;
    check(
        "I7",
        class != "unavailable" && before_any == expected,
        || format!("{position:?} died of {class}"),
    )
}
