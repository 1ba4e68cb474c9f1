//! What a unit says of the parked sequences and of open attempts, against what follows from its completions.

use std::collections::BTreeMap;

use weir_core::unit::{Fate, ItemId, SequenceKey, Unit};

use super::{Judged, Ledger, check};
use crate::told::Told;

impl Ledger {
    /// Exactly the counted failures of events that stay open are in a unit when it is handed out.
    pub(crate) fn judge_attempts(&self, told: &Told, unit: &Unit) -> Judged {
        // Attempts of a timer that was cancelled or replaced are forgotten when somebody asks for it.
        let counts = |item: &ItemId| match item {
            ItemId::Record(_) => true,
            ItemId::Parked(_) => false,
            ItemId::Timer(id) => self.timer(*id).is_some(),
        };
        let open = unit.open.iter().filter(|open| counts(&open.item));
        let open = open.map(|open| (open.item, open.attempts.counted));
        let given: BTreeMap<_, _> = open.filter(|(_, counted)| *counted > 0).collect();
        let mut counted = told.counted.clone();
        counted.retain(|item, counted| *counted > 0 && counts(item));
        for completion in &unit.completions {
            counted.remove(&completion.item);
        }
        check("I7", given == counted, || {
            format!(
                "unit {} holds attempts {given:?}, counted {counted:?}",
                unit.number
            )
        })?;
        for open in &unit.open {
            let found = self.crashes(open.item);
            check("I7", open.attempts.crashes as usize <= found, || {
                format!(
                    "{:?} has {} crashes, found {found}",
                    open.item, open.attempts.crashes
                )
            })?;
        }
        for (sequence, after) in &unit.heads {
            let Some(after) = after else { continue };
            let expected = self.head_attempts(told, unit, sequence);
            let counted = after.head.attempts.counted;
            // The last attempt of one that dies of it becomes durable with its fate.
            let dies = counted + 1 == expected
                && told
                    .dying
                    .iter()
                    .any(|item| matches!(item, ItemId::Parked(_)));
            check("I7", counted == expected || dies, || {
                let head = after.head;
                format!("the head {head:?} of {sequence:?} was counted {expected} times")
            })?;
        }
        Ok(())
    }

    /// Counted attempts of the event that is the first of a sequence after this unit.
    fn head_attempts(&self, told: &Told, unit: &Unit, sequence: &SequenceKey) -> u32 {
        let counted = |item: ItemId| told.counted.get(&item).copied().unwrap_or(0);
        let mut events: BTreeMap<u64, u32> = BTreeMap::new();
        for (at, number) in self
            .park
            .get(sequence)
            .into_iter()
            .flat_map(BTreeMap::keys)
            .enumerate()
        {
            let attempts = if at == 0 {
                counted(ItemId::Parked(*number))
            } else {
                0
            };
            events.insert(*number, attempts);
        }
        for done in unit
            .completions
            .iter()
            .filter(|done| done.sequence == *sequence)
        {
            if let (ItemId::Parked(number), Fate::Dead) = (done.item, done.fate) {
                // Held where it is.
                events.entry(number).and_modify(|counted| *counted = 0);
            }
            let Some(parking) = &done.output.parking else {
                continue;
            };
            if let Some((number, _)) = parking.leave {
                events.remove(&number);
            }
            if let Some(event) = &parking.join {
                let first =
                    events.is_empty() && done.fate == Fate::Parked && parking.head.is_some();
                events.insert(event.number, if first { counted(done.item) } else { 0 });
            }
        }
        events.values().next().copied().unwrap_or(0)
    }

    /// The stored heads are those of the stored events.
    pub(super) fn judge_heads(&self, unit: &Unit) -> Judged {
        for (sequence, parked) in &self.heads {
            let events = self
                .park
                .get(sequence)
                .into_iter()
                .flat_map(BTreeMap::values);
            let count = events.clone().count() as u64;
            let bytes: u64 = events.map(|event| event.record.bytes() as u64).sum();
            let agrees = count > 0 && (parked.count, parked.bytes) == (count, bytes);
            check("I5", agrees, || {
                format!("{sequence:?} says {parked:?}, has {count} events of {bytes} bytes")
            })?;
        }
        for sequence in self.park.keys() {
            check("I5", self.heads.contains_key(sequence), || {
                format!(
                    "{sequence:?} is parked and unit {} does not say so",
                    unit.number
                )
            })?;
            let held = self
                .letters
                .values()
                .any(|letter| letter.holds.as_ref() == Some(sequence));
            let head = self.heads[sequence].head;
            check("I3", head.held == held, || {
                format!("{sequence:?} is held: {held}, and its head is {head:?}")
            })?;
        }
        for parking in unit
            .completions
            .iter()
            .filter_map(|done| done.output.parking.as_ref())
        {
            let number = parking.join.as_ref().map_or(0, |event| event.number);
            check(
                "I3",
                number < unit.next_parked || parking.join.is_none(),
                || format!("number {number} is given again"),
            )?;
        }
        Ok(())
    }
}
