//! From a record to a running attempt: what is asked of an item before it starts.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;

use super::claims::Claim;
use super::{
    Action, Attempt, AttemptId, DEFAULT_TENANT, Decoded, Entry, Load, Ordering, Partition, Runner,
    Stage, Work,
};
use crate::binding::ATTRIBUTE_BYTES_MAX;
use crate::breaker::{Permit, Ticket, Trial};
use crate::dead_letter;
use crate::emission;
use crate::event::{Event, Record};
use crate::gate::Pass;
use crate::identity::{Hash128, inbox_key_mark, inbox_mark};
use crate::time::Millis;
use crate::unit::{Fate, ItemId, Origin, Output, Position, SequenceKey};

/// Crashes of the host in which an event ran alone before it is taken for the cause.
pub(super) const CRASHES_MAX: u32 = 3;
/// How many ready items are looked through for one that the gate lets pass: probes come from different sequences.
const GATE_SCAN_MAX: usize = 16;
/// What follows from looking at a ready item.
pub(super) enum Step {
    /// This is to be done.
    Act(Action),
    /// Look at the next one.
    Next,
    /// The gate does not let this one pass; another may.
    Refused(Option<Millis>),
    /// Nothing starts before a unit is committed.
    Wait,
}

impl Partition {
    /// Takes in a record. Per topic, records come in ascending order; a redelivered one is dropped here (L0).
    pub fn handle_record(
        &mut self,
        now: Millis,
        position: Position,
        record: Arc<Record>,
        decoded: Decoded,
    ) {
        let item = ItemId::Record(position);
        let progress = &mut self.progress[usize::from(position.topic)];
        // What was completed by an earlier owner counts for the span too, or each owner would widen it.
        if progress.admit(position.offset) {
            self.forget_absent(position);
        }
        let progress = &self.progress[usize::from(position.topic)];
        if progress.is_completed(position.offset) || self.entries.contains_key(&item) {
            self.counters.redelivered += 1;
            return;
        }
        if self.config.commands != Some(position.topic) {
            let time = Millis(record.timestamp_ms.min(now.0));
            self.stream_time = self.stream_time.max(time);
            self.streams[usize::from(position.topic)].note(time);
        }

        let (event, verdict) = match decoded {
            Decoded::Event(event) => (Some(event), None),
            Decoded::Filtered => (None, Some(Ok(Fate::Filtered))),
            Decoded::Skipped => (None, Some(Ok(Fate::Skipped))),
            Decoded::Poison { code, message } => {
                let cause = dead_letter::Cause::poison(code, message);
                (None, Some(Err(cause)))
            }
            Decoded::Command { command, letter } => {
                return self.admit_command(now, item, record, command, letter);
            }
        };
        self.admit_record(now, item, record, event);
        match verdict {
            Some(Ok(fate)) => self.stage(now, item, fate, Output::default()),
            Some(Err(cause)) => self.die(now, item, cause),
            None => {}
        }
    }

    /// No record lies before this position that was not taken in. At the end of a topic nothing else would show that: its
    /// position would stay before what retention takes.
    pub fn handle_passed(&mut self, now: Millis, position: Position) {
        if self.progress[usize::from(position.topic)].pass(position.offset) {
            self.forget_absent(position);
            self.commits.changed(now);
        }
    }

    /// Records that are not there any more before this position were never given a fate.
    fn forget_absent(&mut self, before: Position) {
        let progress = &self.progress[usize::from(before.topic)];
        let left = |at: Position| at.topic == before.topic && at.offset < before.offset;
        let gone = |item: &ItemId| {
            item.position()
                .is_some_and(|at| left(at) && progress.is_completed(at.offset))
        };
        self.tallies.retain(|item, _| !gone(item));
    }

    /// What no handler sees is a sequence of its own.
    fn admit_record(
        &mut self,
        now: Millis,
        item: ItemId,
        record: Arc<Record>,
        event: Option<Arc<Event>>,
    ) {
        let tenant = event.as_deref().and_then(tenant_of);
        let tenant = tenant.map_or_else(|| Arc::clone(&self.default_tenant), Arc::from);
        let key = event.as_ref().and_then(|event| event.key(&record));
        let sequence = self.sequence(&tenant, key, item);
        let mark = event
            .as_ref()
            .filter(|_| self.config.inbox.is_some())
            .and_then(|event| self.mark(&tenant, event));
        let waits = event.is_some();
        let entry = Entry {
            sequence,
            tenant,
            bytes: record.bytes(),
            written: 0,
            record,
            event,
            mark,
            admitted: now,
            work: Work::Record,
            stage: Stage::Queued,
        };
        self.admit(item, entry, waits);
    }

    /// What the inbox knows an event by; none of one that it cannot know again.
    fn mark(&self, tenant: &str, event: &Event) -> Option<Hash128> {
        let group = &self.config.source.group;
        let own = self.config.inbox_key.as_ref();
        match own.and_then(|own| own.of(event)) {
            Some(key) if !key.is_empty() => Some(inbox_key_mark(group, tenant, &key)),
            Some(_) | None => (!event.is_named_by_place)
                .then(|| inbox_mark(group, tenant, &event.source, &event.id)),
        }
    }

    /// The sequence of a key; without one, and where keys have no order, an event is a sequence of its own.
    pub(super) fn sequence(
        &self,
        tenant: &Arc<str>,
        key: Option<&Bytes>,
        item: ItemId,
    ) -> SequenceKey {
        match key {
            Some(key) if self.config.ordering != Ordering::None => SequenceKey::Keyed {
                tenant: Arc::clone(tenant),
                key: key.clone(),
            },
            Some(_) | None => SequenceKey::Alone(item),
        }
    }

    /// Puts an item into its lane; at its head it is ready, unless it is about to get its fate at once.
    pub(super) fn admit(&mut self, item: ItemId, entry: Entry, waits: bool) {
        self.memory.take(entry.bytes);
        let head = if entry.has_lane() {
            let lane = self.lanes.of(&entry.sequence);
            lane.push(item);
            lane.is_head(item)
        } else {
            true
        };
        self.entries.insert(item, entry);
        if head && waits {
            self.make_ready(item);
        }
    }

    /// Starts the next ready item, unless it has a fate without an attempt or something stands in its way.
    pub(super) fn poll_start(&mut self, now: Millis, gate: &mut dyn Pass) -> Option<Action> {
        self.gate_until = None;
        self.held_back = false;
        let started = self.start_marked(now, gate);
        let started = started.or_else(|| self.start_ready(now, gate));
        started.or_else(|| {
            // Whoever may be marked together has come together.
            self.mark_waiting(now);
            self.start_marked(now, gate)
        })
    }

    fn start_ready(&mut self, now: Millis, gate: &mut dyn Pass) -> Option<Action> {
        let mut refused = 0;
        while !self.draining
            && self.halted.is_none()
            && self.running < self.config.limits.running_max
            && !self.suspects.run_apart()
        {
            let item = self.ready.pop_front()?;
            self.waiting -= 1;
            match self.consider(now, gate, item) {
                Step::Act(action) => return Some(action),
                Step::Next => {}
                Step::Refused(until) => {
                    self.held_back = true;
                    self.ready.push_back(item);
                    self.waiting += 1;
                    self.gate_until = match (self.gate_until, until) {
                        (Some(a), Some(b)) => Some(a.min(b)),
                        (a, b) => a.or(b),
                    };
                    refused += 1;
                    if refused >= self.ready.len().min(GATE_SCAN_MAX) {
                        return None;
                    }
                }
                Step::Wait => {
                    self.ready.push_front(item);
                    self.waiting += 1;
                    return None;
                }
            }
        }
        None
    }

    /// The inbox is asked here and not on arrival: only when an event is about to start are the fates of all earlier
    /// events of its sequence known.
    fn consider(&mut self, now: Millis, gate: &mut dyn Pass, item: ItemId) -> Step {
        let Some(entry) = self.entries.get_mut(&item) else {
            return Step::Next;
        };
        if !matches!(entry.stage, Stage::Ready) {
            return Step::Next;
        }
        let lane = self.lanes.get(&entry.sequence);
        if entry.has_lane() && !lane.is_some_and(|lane| lane.is_head(item)) {
            // A withdrawn event went before it, which may change what it is to find.
            entry.stage = Stage::Queued;
            if matches!(entry.work, Work::Timer(_)) {
                entry.event = None;
            }
            return Step::Next;
        }
        match &entry.work {
            Work::Command(command, _) => {
                // It asks the ledger, so it waits until the ledger knows everything about its sequence.
                let settled = lane.is_some_and(super::Lane::is_settled);
                if !settled || self.park.is_busy(&entry.sequence) {
                    entry.stage = Stage::Queued;
                    return Step::Next;
                }
                let load = Load::Letter(item, command.letter, entry.sequence.clone());
                entry.stage = Stage::Loading;
                return Step::Act(Action::Load(load));
            }
            // It stays in the ledger while its sequence is parked: what goes before it may cancel it.
            Work::Timer(_) if self.park.contains(&entry.sequence) => {
                self.timers.sleep(&entry.sequence);
                self.forget_unfated(item);
                return Step::Next;
            }
            Work::Timer(key) | Work::Emission(key) if entry.event.is_none() => {
                // Nothing wakes an emission again, which stands in no lane.
                if entry.has_lane() && lane.is_some_and(|lane| lane.changes_timer(key)) {
                    // Cancelled or replaced by an earlier event of its sequence, if that commits.
                    entry.stage = Stage::Queued;
                    return Step::Next;
                }
                let load = Load::Timer(item, key.clone());
                entry.stage = Stage::Loading;
                return Step::Act(Action::Load(load));
            }
            Work::Record
            | Work::Parked(_)
            | Work::Timer(_)
            | Work::Emission(_)
            | Work::Replay(_) => {}
        }
        let (mark, has_lane) = (entry.mark, entry.has_lane());
        match mark.map_or(Claim::Free, |mark| self.claim(mark, item)) {
            Claim::Free if has_lane && self.follows_parked(item) => self.park(now, item, None),
            Claim::Free => return self.admit_attempt(now, gate, item),
            Claim::Seen => self.stage(now, item, Fate::Duplicate, Output::default()),
            Claim::Unknown(load) => {
                if let Some(entry) = self.entries.get_mut(&item) {
                    entry.stage = Stage::Loading;
                }
                return Step::Act(Action::Load(load));
            }
            Claim::InFlight => {
                if let Some(entry) = self.entries.get_mut(&item) {
                    entry.stage = Stage::AwaitsId;
                }
            }
        }
        Step::Next
    }

    fn follows_parked(&self, item: ItemId) -> bool {
        self.entries
            .get(&item)
            .is_some_and(|entry| self.park.contains(&entry.sequence))
    }

    /// The last questions before an attempt: may it be made at all, is the ledger ready for a crash, does the gate let
    /// it pass.
    fn admit_attempt(&mut self, now: Millis, gate: &mut dyn Pass, item: ItemId) -> Step {
        if let Some(cause) = self.refusal(item) {
            self.die(now, item, cause);
            return Step::Next;
        }
        if !self.commits.allows(item) {
            self.commits.ask_for_lease(now);
            return Step::Wait;
        }
        if self.waits_for_mark(item) {
            return Step::Next;
        }
        let due = self.entries.get(&item).map_or(now, |entry| entry.admitted);
        if self.suspects.contains(item, due) {
            return self.join_suspects(now, gate, item);
        }
        // Whatever runs while a mark stands may end the host in its place.
        let is_free = self.suspects.waiting().next().is_none() && !self.commits.is_marked();
        if !is_free || !self.quiet.start() {
            return Step::Wait;
        }
        match self.permit(now, gate, item) {
            Ok(ticket) => self.start(item, ticket),
            Err(step) => {
                self.quiet.end();
                step
            }
        }
    }

    /// Asks the gate: the ticket, none for the fallback, or what follows without one.
    pub(super) fn permit(
        &mut self,
        now: Millis,
        gate: &mut dyn Pass,
        item: ItemId,
    ) -> Result<Option<Ticket>, Step> {
        let trial = Trial {
            sequence: self.entries.get(&item).map_or(0, voice),
            again: self.attempts(item).failures > 0,
        };
        match gate.permit(now, trial) {
            Permit::Go(ticket) => Ok(Some(ticket)),
            Permit::Fallback if self.config.fallback.is_some() => Ok(None),
            Permit::Park if self.sets_aside() => {
                self.set_aside(now, item);
                Err(Step::Next)
            }
            Permit::Wait(until) => Err(Step::Refused(until)),
            Permit::Park | Permit::Fallback => Err(Step::Refused(None)),
        }
    }

    /// Why an event must not be attempted at all. It is asked of the holder of the id alone: a repeat is no second letter.
    fn refusal(&self, item: ItemId) -> Option<dead_letter::Cause> {
        let entry = self.entries.get(&item)?;
        let crashes = self.attempts(item).crashes;
        let key = entry.key();
        let key_bytes = key.map_or(0, Bytes::len);
        let (class, code, message) = if crashes >= CRASHES_MAX {
            let message = format!("the host ended {crashes} times while this event ran alone");
            ("crash", "crash-suspect", message)
        } else if self.config.keyed_only && key.is_none() {
            let message = "a handler with state or timers needs a record key";
            ("unkeyed", "unkeyed", message.to_owned())
        } else if self.config.keyed_only && key_bytes > ATTRIBUTE_BYTES_MAX {
            let message = format!(
                "the record key has {key_bytes} bytes; a handler with state or timers takes {ATTRIBUTE_BYTES_MAX}, because \
                 each of their entries repeats it"
            );
            ("key-too-large", "key-too-large", message)
        } else if emission::hops(entry.event.as_deref()?) > emission::HOPS_MAX {
            let message = format!("passed more than {} handlers", emission::HOPS_MAX);
            ("poison", "hop-limit", message)
        } else {
            return None;
        };
        let stage = dead_letter::Stage::Host;
        let attempts = self.attempts(item);
        Some(dead_letter::Cause::new(
            stage,
            class,
            code.into(),
            message,
            &attempts,
        ))
    }

    pub(super) fn start(&mut self, item: ItemId, ticket: Option<Ticket>) -> Step {
        let number = self.attempts(item).counted + 1;
        let origin = self.origin(item);
        let found = self.entries.get_mut(&item);
        let found = found.and_then(|entry| Some((entry.event.clone()?, entry)));
        let Some((event, entry)) = found else {
            self.quiet.end();
            return Step::Next;
        };
        self.serial += 1;
        let serial = self.serial;
        entry.stage = Stage::Running(Runner { serial, ticket });
        self.running += 1;
        self.counters.attempts += 1;
        self.suspects.started(item, entry.admitted);
        let lane = self.lanes.get(&entry.sequence);
        Step::Act(Action::Attempt(Box::new(Attempt {
            id: AttemptId {
                epoch: self.epoch,
                item,
                serial,
            },
            number,
            event,
            record: Arc::clone(&entry.record),
            origin,
            tenant: Arc::clone(&entry.tenant),
            sequence: entry.sequence.clone(),
            staged: lane.map_or_else(Default::default, |lane| lane.staged_state(&entry.sequence)),
            fallback: ticket.is_none(),
        })))
    }

    /// Where an item stood, in the bus's own words. A timer stood in the ledger.
    pub(super) fn origin(&self, item: ItemId) -> Origin {
        let earlier = match self.entries.get(&item).map(|entry| &entry.work) {
            Some(Work::Parked(parked)) => Some(parked.origin.clone()),
            Some(Work::Replay(command)) => Some(command.origin.clone()),
            _ => None,
        };
        earlier.unwrap_or_else(|| Origin {
            topic: match item {
                ItemId::Record(position) => {
                    Arc::clone(&self.config.topics[usize::from(position.topic)])
                }
                ItemId::Parked(_) | ItemId::Timer(_) => self.ledger_topic().into(),
            },
            partition: self.config.partition,
            offset: item.position().map_or(0, |position| position.offset),
        })
    }

    /// Where timers stand.
    pub(super) fn ledger_topic(&self) -> String {
        timers_topic(&self.config.source.group)
    }
}

/// The topic of the origin of what stood in none, the timers of a group: nobody else writes it, whatever the bus.
#[must_use]
pub fn timers_topic(group: &str) -> String {
    format!("_weir.{group}.ledger")
}

/// Owner of an event.
#[must_use]
pub fn tenant(event: Option<&Event>) -> Arc<str> {
    event.and_then(tenant_of).unwrap_or(DEFAULT_TENANT).into()
}

/// The one that an event names.
fn tenant_of(event: &Event) -> Option<&str> {
    event.extension("tenantid")
}

/// Whose evidence to the breaker an event is: its key's, also where keys have no order, so that one bad key opens
/// nothing.
pub(super) fn voice(entry: &Entry) -> u64 {
    let mut hasher = DefaultHasher::new();
    match entry.key() {
        Some(key) => (&entry.tenant, key).hash(&mut hasher),
        None => entry.sequence.hash(&mut hasher),
    }
    hasher.finish()
}
