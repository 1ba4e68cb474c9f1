//! Alarms that follow from what the partitions and the gate say of themselves.

use std::time::Duration;

use weir_core::partition::{Counts, Gauges};

use super::SubscriptionStatus;
use crate::alarm::Alarm;
use crate::clock;

/// So many parked sequences of a subscription are no longer single bad keys.
const SEQUENCES_MAX: u64 = 10_000;
/// A key with so many events behind a failing one falls far behind.
const SEQUENCE_EVENTS_MAX: u64 = 1_000;
/// The longest that the breaker waits between two probes: whoever is down for longer is not restarting.
const OPEN_MAX: Duration = Duration::from_secs(300);

impl SubscriptionStatus {
    /// Raises and clears what the levels say. `open_for`: how long the breaker has not been closed, as far as a rule
    /// opened it and not an operator.
    pub(in crate::status) fn watch(&self, open_for: Option<Duration>) {
        let gauges: Vec<(u32, Gauges)> = self
            .partitions()
            .iter()
            .map(|(partition, status)| (*partition, status.gauges.clone()))
            .collect();
        for (partition, gauges) in &gauges {
            self.watch_partition(*partition, gauges);
        }
        let parked = total(gauges.iter().map(|(_, gauges)| gauges.parked));
        let Counts {
            sequences,
            held,
            events,
            bytes,
            ..
        } = parked;
        let is_full = gauges.iter().any(|(_, gauges)| gauges.park_full);
        let gate = self.gate.status(clock::now());
        let details = [
            (
                Alarm::ParkStorageFull,
                is_full.then(|| format!("{events} parked events take {bytes} bytes")),
            ),
            (
                Alarm::SequencesParked,
                (sequences >= SEQUENCES_MAX)
                    .then(|| format!("{sequences} sequences are parked, with {events} events")),
            ),
            (
                Alarm::SequencesHeld,
                (held > 0).then(|| format!("{held} sequences are held")),
            ),
            (Alarm::Flood, gate.reason().filter(|_| gate.is_flood())),
            (
                Alarm::BreakerOpen,
                // A flood has its own alarm.
                open_for
                    .filter(|time| *time >= OPEN_MAX && !gate.is_flood())
                    .and_then(|time| Some((time, gate.reason()?)))
                    .map(|(time, reason)| format!("not closed for {} s: {reason}", time.as_secs())),
            ),
        ];
        for (alarm, detail) in details {
            self.alarms.set(alarm, self.site(None), detail);
        }
    }

    fn watch_partition(&self, partition: u32, gauges: &Gauges) {
        let longest = gauges.parked.longest;
        let details = [
            (
                Alarm::DeadLetterStopped,
                gauges
                    .halted
                    .as_ref()
                    .or(gauges.letter_refused.as_ref())
                    .cloned(),
            ),
            (
                Alarm::SequenceLong,
                (longest >= SEQUENCE_EVENTS_MAX)
                    .then(|| format!("the longest parked sequence has {longest} events")),
            ),
            (
                Alarm::InboxShort,
                gauges
                    .inbox_cut
                    .map(|age| format!("ids are kept for {} s", age.as_secs())),
            ),
        ];
        for (alarm, detail) in details {
            self.alarms.set(alarm, self.site(Some(partition)), detail);
        }
    }

    /// Whether a rule opened the breaker and it has not closed since.
    pub(in crate::status) fn is_tripped(&self) -> bool {
        self.gate.status(clock::now()).cause.is_some()
    }
}

/// All partitions together.
pub(super) fn total(counts: impl Iterator<Item = Counts>) -> Counts {
    counts.fold(Counts::default(), |a, b| Counts {
        sequences: a.sequences + b.sequences,
        held: a.held + b.held,
        events: a.events + b.events,
        bytes: a.bytes + b.bytes,
        longest: a.longest.max(b.longest),
    })
}
