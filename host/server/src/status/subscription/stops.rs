//! What keeps a subscription, or one of its partitions, from going on: who says so, and which alarm tells it.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};

use super::SubscriptionStatus;
use crate::alarm::{Alarm, Site};
use crate::bus::{FetchError, SubscribeError};
use crate::handlers::chain;
use crate::pipeline::PipelineError;
use crate::status::site_of;

/// Why partitions stopped; none is the whole subscription.
pub(super) type Stops = BTreeMap<Option<u32>, String>;

impl SubscriptionStatus {
    /// Raises an alarm of this handler, of one of the partitions that this host serves or of all.
    pub fn raise(&self, alarm: Alarm, partition: Option<u32>, detail: impl Into<String>) {
        let share = self.lock_share();
        if partition.is_none_or(|partition| share.has(partition)) {
            self.alarms.raise(alarm, self.site(partition), detail);
        }
    }

    /// Says that the condition is over.
    pub fn clear(&self, alarm: Alarm, partition: Option<u32>) {
        self.alarms.clear(alarm, &self.site(partition));
    }

    pub(super) fn site(&self, partition: Option<u32>) -> Site {
        site_of(&self.tenant, &self.handler, partition)
    }

    /// The bus does not let it join; it stays so until an operator resumes it.
    pub fn refuse(&self, error: &SubscribeError) {
        let alarm = match error {
            SubscribeError::PartitionCount { .. } => Alarm::TopicGrown,
            SubscribeError::Fixed { .. } => Alarm::SettingChanged,
            SubscribeError::UnknownTopic(_)
            | SubscribeError::Refused { .. }
            | SubscribeError::Unavailable { .. }
            | SubscribeError::Ledger(_) => Alarm::HandlerStopped,
        };
        let (error, remedy) = (chain(error), alarm.remedy(&self.site(None)));
        self.raise(alarm, None, error.clone());
        self.stops().insert(None, format!("{error}: {remedy}"));
    }

    /// A partition cannot go on; it stays so until an operator resumes it.
    pub fn stop(&self, partition: u32, reason: String) {
        self.raise(Alarm::HandlerStopped, Some(partition), reason.clone());
        self.note_stop(partition, &reason);
    }

    fn note_stop(&self, partition: u32, reason: &str) {
        let share = self.lock_share();
        if share.has(partition) {
            self.stops()
                .insert(Some(partition), format!("partition {partition}: {reason}"));
        }
    }

    /// What had stopped, a partition or the whole, begins anew.
    pub fn restart(&self, partition: Option<u32>) {
        match partition {
            Some(partition) => self.begin(partition),
            None => drop(self.stops().remove(&None)),
        }
        for alarm in [
            Alarm::PositionLost,
            Alarm::HandlerStopped,
            Alarm::TopicGrown,
            Alarm::SettingChanged,
        ] {
            self.clear(alarm, partition);
        }
    }

    /// The partitions that have stopped by themselves; none in their place: the whole of it.
    #[must_use]
    pub fn stopped(&self) -> Vec<Option<u32>> {
        let partitions = self.partitions();
        let halted = partitions
            .iter()
            .filter(|(_, status)| status.gauges.halted.is_some());
        let halted = halted.map(|(partition, _)| Some(*partition));
        let mut stopped: Vec<_> = self.stops().keys().copied().chain(halted).collect();
        stopped.sort_unstable();
        stopped.dedup();
        stopped
    }

    /// Those of them that nobody serves any more. One that has halted is served, and its positions are.
    #[must_use]
    pub fn ended(&self) -> Vec<u32> {
        self.stops().keys().copied().flatten().collect()
    }

    /// A partition ended by this error; it stays so until an operator resumes it.
    pub fn fail(&self, partition: u32, error: &PipelineError) {
        let (alarm, detail) = match error {
            PipelineError::Fetch(FetchError::OutOfRange { offset, first, .. })
                if first > offset =>
            {
                let lost = first - offset;
                (
                    Alarm::PositionLost,
                    format!("{error}: {lost} records are lost"),
                )
            }
            PipelineError::Fetch(FetchError::OutOfRange { .. }) => (
                Alarm::PositionLost,
                format!(
                    "{error}: the log ends before the position, as that of a topic that was made anew does"
                ),
            ),
            PipelineError::PositionLost { message, .. } => (Alarm::PositionLost, message.clone()),
            PipelineError::Ledger(_)
            | PipelineError::Fetch(FetchError::Store { .. })
            | PipelineError::Start { .. } => (Alarm::HandlerStopped, chain(error)),
        };
        self.raise(alarm, Some(partition), detail.clone());
        self.note_stop(partition, &detail);
    }

    pub(super) fn stops(&self) -> MutexGuard<'_, Stops> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
