//! Looks for what nobody else would notice: partitions that get nowhere, levels that are too high, and a disk that fills
//! while nobody publishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::HostStatus;
use crate::alarm::{Alarm, Site};

/// A partition that has work and does none for this long is stuck: attempts have a limit of 10 s, and retries wait
/// for less before they are set aside.
const STALL: Duration = Duration::from_secs(30);
/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Remembers how far each partition had come.
pub struct Watchdog {
    host: Arc<HostStatus>,
    /// By subscription and partition, of those that serve: its progress, and since when it is that.
    seen: HashMap<(usize, u32), (u64, Instant)>,
    /// By subscription: since when its breaker is not closed.
    tripped: HashMap<usize, Instant>,
}

impl Watchdog {
    /// Of this host.
    #[must_use]
    pub fn new(host: Arc<HostStatus>) -> Self {
        Self {
            host,
            seen: HashMap::new(),
            tripped: HashMap::new(),
        }
    }

    /// Raises and clears what only time tells.
    pub fn look(&mut self, now: Instant) {
        let host = &self.host;
        // On a cluster the disk takes nothing in.
        let stopped = || host.store.check_intake().err();
        let stopped = (!host.bus.is_shared()).then(stopped).flatten();
        host.alarms.set(Alarm::IntakeStopped, Site::Host, stopped);
        let mut before = std::mem::take(&mut self.seen);
        for (index, subscription) in host.subscriptions.iter().enumerate() {
            if subscription.is_tripped() {
                self.tripped.entry(index).or_insert(now);
            } else {
                self.tripped.remove(&index);
            }
            let tripped = self.tripped.get(&index);
            subscription.watch(tripped.map(|since| now.saturating_duration_since(*since)));
            for (partition, progress) in subscription.progress(&*host.bus) {
                // What is raised stays so, and time begins anew once it is known whether anything waits.
                let Some(waiting) = progress.waiting else {
                    continue;
                };
                let mut since = match before.remove(&(index, partition)) {
                    Some((done, since)) if done == progress.done && waiting => since,
                    Some(_) | None => now,
                };
                let still = now.saturating_duration_since(since);
                let stalled = (still >= STALL).then_some(still);
                subscription.set_stalled(partition, stalled, progress.left_open);
                if still >= STALL && progress.starved {
                    host.bus.renew(subscription.group());
                    since = now;
                }
                self.seen.insert((index, partition), (progress.done, since));
            }
        }
    }
}
