//! Whether a completion may be what it is.

use std::sync::Arc;
use std::time::Duration;

use weir_core::emission;
use weir_core::event::{Event, Record};
use weir_core::identity::Hash128;
use weir_core::partition::Decoded;
use weir_core::time::Millis;
use weir_core::unit::{
    Completion, Fate, ItemId, Origin, Output, ParkedEvent, Position, Timer, TimerChange, TimerKey,
    TimerSlot, Unit,
};

use super::{Judged, Ledger, REPLACING, check};
use crate::bug::Bug;
use crate::handler::{BRIEF_MS, to_number};
use crate::plan::{Identity, Plan, decode, identity};
use crate::told::{Expected, Runner, Told};

/// What gets its fate, as the ledger or the log holds it.
pub(super) struct Original {
    pub(super) record: Arc<Record>,
    pub(super) origin: Origin,
    pub(super) event: Option<Arc<Event>>,
    pub(super) identity: Option<Identity>,
    pub(super) letter: Option<Hash128>,
    pub(super) refused_at_start: bool,
    /// The timer that it is.
    pub(super) timer: Option<TimerKey>,
}

impl Original {
    pub(super) fn stored(plan: &Plan, record: &Record, origin: Origin) -> Self {
        let decoded = decode(record);
        let event = match decoded {
            Decoded::Event(event) => Some(event),
            _ => None,
        };
        let identity = event.as_deref().map(identity);
        let unkeyed = plan.config.keyed_only && record.key.is_none();
        let loops = |event: &Arc<Event>| emission::hops(event) > emission::HOPS_MAX;
        Self {
            refused_at_start: unkeyed || event.as_ref().is_some_and(loops),
            record: Arc::new(record.clone()),
            origin,
            event,
            identity,
            letter: None,
            timer: None,
        }
    }

    fn parked(plan: &Plan, event: &ParkedEvent) -> Self {
        Self {
            letter: event.letter,
            ..Self::stored(plan, &event.record, event.origin.clone())
        }
    }
}

impl Ledger {
    pub(super) fn complete(
        &mut self,
        plan: &Plan,
        told: &mut Told,
        unit: &Unit,
        completion: &Completion,
        bug: Bug,
    ) -> Judged {
        let original = match completion.item {
            ItemId::Record(position) => {
                let Some(item) = plan.item(position) else {
                    return check("I12", false, || format!("{position:?} holds no record"));
                };
                let twice = self.fates.insert(position, completion.fate);
                check("I2", twice.is_none(), || {
                    format!("{position:?} is {:?} after {twice:?}", completion.fate)
                })?;
                match item.command() {
                    Some(command) if self.runs(plan, command) => {
                        self.replayed(plan, command, &item.record, completion)?
                    }
                    Some(command) => {
                        return self.obeyed(told, command, &item.record, completion);
                    }
                    None => self.record(plan, told, unit, position, completion)?,
                }
            }
            ItemId::Parked(number) => self.parked_event(plan, number, completion)?,
            ItemId::Timer(id) => self.firing(plan, told, id, unit, completion)?,
        };
        match completion.fate {
            Fate::Handled => self.handled(plan, told, &original, unit, completion),
            Fate::Dead => self.dead(plan, told, &original, completion, bug),
            Fate::Parked => self.set_aside(plan, &original, completion),
            Fate::Duplicate | Fate::Filtered | Fate::Skipped => {
                check("I2", completion.output == Output::default(), || {
                    format!(
                        "{:?} {:?} writes something",
                        completion.fate, completion.item
                    )
                })
            }
        }
    }

    fn record(
        &mut self,
        plan: &Plan,
        told: &Told,
        unit: &Unit,
        position: Position,
        completion: &Completion,
    ) -> Judged<Original> {
        let item = &plan.log[usize::from(position.topic)][&position.offset];
        let fate = completion.fate;
        check(
            "I12",
            Some(&completion.sequence) == item.sequence.as_ref(),
            || format!("{position:?} in {:?}", completion.sequence),
        )?;
        let place = plan.place(item);
        let earlier = place.and_then(|place| told.arrivals.get(&place));
        let earlier = earlier.into_iter().flatten();
        for earlier in earlier.take_while(|earlier| **earlier != completion.item) {
            let done = earlier
                .position()
                .is_none_or(|at| self.fates.contains_key(&at));
            check("I3", done, || {
                format!("{position:?} commits before {earlier:?}")
            })?;
        }
        let ran =
            matches!(fate, Fate::Handled | Fate::Dead) && !told.refused.contains(&completion.item);
        check(
            "I3",
            !ran || !self.park.contains_key(&completion.sequence),
            || format!("{position:?} is {fate:?} while its sequence is parked"),
        )?;
        if let (Some(who), Some(inbox), Fate::Handled | Fate::Dead | Fate::Parked) =
            (&item.identity, plan.config.inbox, fate)
        {
            if let Some((stream_time, staged_at)) = self.effects.get(who) {
                let reached = self.reached(plan, position);
                let old = reached.since(*stream_time) >= inbox.window
                    && unit.staged_at.since(*staged_at) >= inbox.window;
                check("I2", old, || format!("{who:?} has an effect twice"))?;
            }
            let now = (unit.stream_time, unit.staged_at);
            self.effects.insert(who.clone(), now);
        }
        Ok(Original {
            record: Arc::clone(&item.record),
            origin: Origin {
                topic: Arc::clone(&plan.config.topics[usize::from(position.topic)]),
                partition: plan.config.partition,
                offset: position.offset,
            },
            event: item.event().cloned(),
            identity: item.identity.clone(),
            letter: None,
            refused_at_start: item.refused_at_start,
            timer: None,
        })
    }

    /// The highest time that the stream of a topic may have had before this position.
    fn reached(&self, plan: &Plan, position: Position) -> Millis {
        let before = plan.log[usize::from(position.topic)].range(..position.offset);
        let records = before.map(|(_, item)| Millis(item.record.timestamp_ms));
        let ends = self.ends.get(&position.topic).into_iter().flatten();
        let ends = ends.filter(|(offset, _)| *offset <= position.offset);
        let reached = records.chain(ends.map(|(_, at)| *at)).max();
        reached.unwrap_or_default()
    }

    /// Parked events leave in order, and none of a sequence that is held.
    fn parked_event(&self, plan: &Plan, number: u64, completion: &Completion) -> Judged<Original> {
        let sequence = &completion.sequence;
        let first = self.first(sequence).filter(|first| first.number == number);
        let Some(first) = first else {
            let has = self
                .park
                .get(sequence)
                .map(|park| park.keys().collect::<Vec<_>>());
            return Err(super::Violation {
                invariant: "I3",
                message: format!("parked {number} is {:?} before {has:?}", completion.fate),
            });
        };
        let head = self.head(sequence);
        check("I3", head.is_some_and(|head| !head.held), || {
            format!(
                "parked {number} is {:?} though its sequence is held",
                completion.fate
            )
        })?;
        let parking = completion.output.parking.as_deref();
        let leave = parking.and_then(|parking| parking.leave);
        let stays = parking
            .and_then(|parking| parking.head)
            .is_some_and(|head| head.held);
        check(
            "I3",
            stays || leave == Some((number, first.bytes())),
            || format!("parked {number} leaves {parking:?}"),
        )?;
        Ok(Original::parked(plan, first))
    }

    /// A timer fires once, as it was set, and not before it is due.
    fn firing(
        &self,
        plan: &Plan,
        told: &Told,
        id: Hash128,
        unit: &Unit,
        completion: &Completion,
    ) -> Judged<Original> {
        let Some((key, timer)) = self.timer(id) else {
            return Err(super::Violation {
                invariant: "I2",
                message: format!("timer {id:?} is {:?} and not set", completion.fate),
            });
        };
        // Where the same setting was made again while it fired, it was due by the first one.
        let before = self
            .removed_timers
            .get(key)
            .filter(|before| before.id == id);
        let due = before.map_or(timer.due, |before| before.due.min(timer.due));
        check("I2", due <= unit.staged_at, || {
            format!("{key:?} fires early")
        })?;
        let refused = told.refused.contains(&completion.item);
        let ran = matches!(completion.fate, Fate::Handled | Fate::Dead) && !refused;
        let named = matches!(key.slot, TimerSlot::Named(_));
        check(
            "I3",
            !named || !ran || !self.park.contains_key(&completion.sequence),
            || {
                format!(
                    "{key:?} is {:?} while its sequence is parked",
                    completion.fate
                )
            },
        )?;
        let changes = completion.output.timers.iter();
        let of_it = changes.filter(|change| change.key == *key).count();
        check("I2", of_it == 1, || {
            format!("{key:?} is changed {of_it} times by its firing")
        })?;
        let origin = Origin {
            topic: format!("_weir.{}.ledger", plan.config.source.group).into(),
            partition: plan.config.partition,
            offset: 0,
        };
        // And so was what it carried.
        let published = completion.output.records.first();
        let was = |before: &&Timer| {
            let old = &before.out.record;
            published.is_some_and(|out| {
                out.record.value == old.value && out.record.headers.starts_with(&old.headers)
            })
        };
        let stored = before.filter(was).unwrap_or(timer);
        let mut original = Original::stored(plan, &stored.out.record, origin);
        if !named {
            original.event = None;
            original.refused_at_start = false;
        }
        original.timer = Some(key.clone());
        Ok(original)
    }

    /// What is set aside joins its sequence as it is.
    fn set_aside(&self, plan: &Plan, original: &Original, completion: &Completion) -> Judged {
        let item = completion.item;
        let output = &completion.output;
        let parking = output.parking.as_deref().cloned().unwrap_or_default();
        let park = self.park.get(&completion.sequence);
        let first = park.is_none();
        let joins = parking.join.as_ref().is_some_and(|event| {
            event.record == *original.record
                && event.origin == original.origin
                && event.letter.is_none()
                && !self.numbers.contains(&event.number)
                && park.is_none_or(|park| park.keys().all(|earlier| *earlier < event.number))
        });
        let freed: Vec<_> = original
            .timer
            .iter()
            .map(|key| TimerChange {
                key: key.clone(),
                timer: None,
            })
            .collect();
        let clean = output.records.is_empty() && output.state.is_empty() && output.letter.is_none();
        let agrees =
            plan.parks() && joins && clean && output.timers == freed && parking.leave.is_none();
        check("I5", agrees, || format!("{item:?} is parked as {output:?}"))?;
        check("I3", parking.head.is_none() || first, || {
            format!(
                "{item:?} joins {:?} and says what is next: {:?}",
                completion.sequence, parking.head
            )
        })
    }

    fn handled(
        &mut self,
        plan: &Plan,
        told: &Told,
        original: &Original,
        unit: &Unit,
        completion: &Completion,
    ) -> Judged {
        let item = completion.item;
        let output = &completion.output;
        if let Some(TimerKey {
            slot: TimerSlot::Emission(_),
            ..
        }) = original.timer
        {
            // An event that is handled again, after the window of the inbox, sets the same emission anew.
            let published = output.records.first().map(|out| out.record.header("ce_id"));
            let same =
                output.records.len() == 1 && published == Some(original.record.header("ce_id"));
            return check("I6", same, || {
                format!("{item:?} publishes {:?}", output.records)
            });
        }
        self.finish_letter(original, completion)?;
        let Some(expected) = told.expected.get(&item) else {
            return check("I4", false, || {
                format!("{item:?} commits the result of no attempt")
            });
        };
        if expected.fallback {
            check("I2", output.state.is_empty(), || {
                "the fallback writes state".into()
            })?;
            return judge_emissions(plan, original, completion, expected);
        }
        let write = |name: &str| {
            let write = output.state.iter().find(|write| write.name == name);
            to_number(write.and_then(|write| write.value.clone()))
        };
        let runner = Runner {
            epoch: write("epoch"),
            serial: write("serial"),
            version: write("version"),
        };
        let latest = told.runner.get(&item);
        let same = |one: &Runner| (one.epoch, one.serial) == (runner.epoch, runner.serial);
        check("I4", latest.is_some_and(same), || {
            format!("{item:?} commits the result of {runner:?}, not {latest:?}")
        })?;
        check(REPLACING, latest == Some(&runner), || {
            format!("{item:?} ends as {runner:?} and began as {latest:?}")
        })?;
        judge_emissions(plan, original, completion, expected)?;
        judge_timers(original, completion, expected)?;
        self.judge_state(original, unit, completion)
    }

    /// The state is what a handler would leave that runs the sequence alone.
    fn judge_state(&mut self, original: &Original, unit: &Unit, completion: &Completion) -> Judged {
        let (item, sequence) = (completion.item, &completion.sequence);
        let state = self.state.entry(sequence.clone()).or_default();
        for write in &completion.output.state {
            let ttl = (write.name == "brief").then_some(BRIEF_MS);
            check("I2", write.ttl_ms == ttl, || {
                format!("{item:?} writes {} for {:?}", write.name, write.ttl_ms)
            })?;
            if let Some(ttl) = ttl {
                let expires = unit.staged_at + Duration::from_millis(ttl);
                self.brief.insert(sequence.clone(), expires);
            }
            match &write.value {
                Some(value) => state.insert(write.name.clone(), value.clone()),
                None => state.remove(&write.name),
            };
        }
        let model = self.sequential.entry(sequence.clone()).or_default();
        if let Some(event) = &original.event {
            model.handle(event);
        }
        let number = |name: &str| to_number(state.get(name).cloned());
        let left = super::Sequential {
            count: number("count"),
            digest: number("digest"),
        };
        check("I2", left == *model, || {
            format!("{item:?} leaves {left:?}, alone it would be {model:?}")
        })?;
        check(
            "I2",
            state.contains_key("odd") == (model.count % 2 == 1),
            || format!("{item:?} left `odd` behind or lost it"),
        )?;
        let counted = model.count.to_le_bytes();
        let mut records = completion.output.records.iter();
        let agree = records.all(|out| out.record.value.as_deref() == Some(&counted[..]));
        check("I2", agree, || {
            format!("{item:?} emits a count that is not durable")
        })
    }
}

fn judge_emissions(
    plan: &Plan,
    original: &Original,
    completion: &Completion,
    expected: &Expected,
) -> Judged {
    let id = |record: &Record| {
        let id = record
            .header("ce_id")
            .map(|id| String::from_utf8_lossy(id).into_owned());
        id.unwrap_or_default()
    };
    let records = completion.output.records.iter();
    let emitted: Vec<String> = records.map(|out| id(&out.record)).collect();
    check("I6", emitted == expected.emitted, || {
        let item = completion.item;
        format!("{item:?} emits {emitted:?}, not {:?}", expected.emitted)
    })?;
    let mut delayed = Vec::new();
    for change in &completion.output.timers {
        if let (TimerSlot::Emission(_), Some(timer)) = (&change.key.slot, &change.timer) {
            delayed.push((id(&timer.out.record), timer.due));
        }
    }
    check("I6", delayed == expected.delayed, || {
        format!(
            "{:?} emits {delayed:?} later, not {:?}",
            completion.item, expected.delayed
        )
    })?;
    check(
        "I6",
        original.identity.is_some() || emitted.is_empty(),
        || format!("{} emits without an event", plan.config.emit.handler),
    )
}

/// Timers are set, replaced and cancelled as the attempt said, and nothing else but what fired.
fn judge_timers(original: &Original, completion: &Completion, expected: &Expected) -> Judged {
    let mut set = Vec::new();
    for change in &completion.output.timers {
        let TimerSlot::Named(name) = &change.key.slot else {
            continue;
        };
        let timer = change.timer.as_ref().map(|timer| (timer.id, timer.due));
        set.push((name.to_string(), timer));
    }
    let mut wanted = expected.timers.clone();
    if let Some(TimerKey {
        slot: TimerSlot::Named(name),
        ..
    }) = &original.timer
        && !wanted.iter().any(|(set, _)| **set == **name)
    {
        wanted.push((name.to_string(), None));
    }
    check("I2", set == wanted, || {
        format!("{:?} sets {set:?}, not {wanted:?}", completion.item)
    })
}
