//! Looks for what nobody else would notice: partitions that get nowhere, levels that are too high, and a disk that fills
//! while nobody publishes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::HostStatus;
use super::subscription::{Progress, SubscriptionStatus, TopicProgress};
use crate::alarm::{Alarm, Site};

/// A partition that has work and does none for this long is stuck: attempts have a limit of 10 s, and retries wait
/// for less before they are set aside.
const STALL: Duration = Duration::from_secs(30);
/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A topic that alone does not come is asked for anew by a new membership, and the others with it: no more often.
const RENEW_EVERY: Duration = Duration::from_mins(5);

/// Remembers how far each partition had come.
pub struct Watchdog {
    host: Arc<HostStatus>,
    /// By subscription and partition, of those that serve.
    seen: HashMap<(usize, u32), Seen>,
    /// By subscription: since when its breaker is not closed.
    tripped: HashMap<usize, Instant>,
    /// The same: when its membership was made anew for a single topic.
    renewed: HashMap<usize, Instant>,
}

/// How far a partition had come.
#[derive(Default)]
struct Seen {
    /// Its progress, and since when it is that.
    still: Option<(u64, Instant)>,
    topics: Vec<SeenTopic>,
}

/// How far one of its topics was read.
#[derive(Clone, Copy)]
struct SeenTopic {
    read: u64,
    /// Since when no more of it has come, or nothing waits there.
    since: Instant,
    /// Another topic was read meanwhile: there was room for this one too.
    is_passed: bool,
}

impl Seen {
    /// For how long there has been work and no progress.
    fn stand_still(&mut self, now: Instant, progress: &Progress) -> Duration {
        let waiting = progress.waiting.unwrap_or_default();
        let same = |(done, _): &(u64, Instant)| *done == progress.done && waiting;
        let (done, since) = self.still.filter(same).unwrap_or((progress.done, now));
        self.still = Some((done, since));
        now.saturating_duration_since(since)
    }

    /// The topic of which nothing has come for too long while others did, and for how long.
    fn left_out(&mut self, now: Instant, topics: &[TopicProgress]) -> Option<(usize, Duration)> {
        let before = std::mem::take(&mut self.topics);
        let has_moved = |index: usize| {
            let was = before.get(index).map(|seen| seen.read);
            was.is_some_and(|was| was != topics[index].read)
        };
        let moved: Vec<bool> = (0..topics.len()).map(has_moved).collect();
        for (index, topic) in topics.iter().enumerate() {
            let others = moved.iter().enumerate();
            let is_passed = others
                .filter(|(other, _)| *other != index)
                .any(|(_, it)| *it);
            let stays = before.get(index).filter(|_| topic.waits && !moved[index]);
            self.topics.push(SeenTopic {
                read: topic.read,
                since: stays.map_or(now, |seen| seen.since),
                is_passed: stays.is_some_and(|seen| seen.is_passed || is_passed),
            });
        }
        let still = |seen: &SeenTopic| now.saturating_duration_since(seen.since);
        let mut late = self.topics.iter().enumerate();
        let late = late.find(|(_, seen)| seen.is_passed && still(seen) >= STALL)?;
        Some((late.0, still(late.1)))
    }
}

impl Watchdog {
    /// Of this host.
    #[must_use]
    pub fn new(host: Arc<HostStatus>) -> Self {
        Self {
            host,
            seen: HashMap::new(),
            tripped: HashMap::new(),
            renewed: HashMap::new(),
        }
    }

    /// Raises and clears what only time tells.
    pub fn look(&mut self, now: Instant) {
        let host = Arc::clone(&self.host);
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
                if progress.waiting.is_none() {
                    continue;
                }
                let mut seen = before.remove(&(index, partition)).unwrap_or_default();
                let why = self.find(now, (index, subscription), &progress, &mut seen);
                subscription.set_stalled(partition, why);
                self.seen.insert((index, partition), seen);
            }
        }
    }

    /// Why a partition gets nowhere, if it does; what a new membership may mend is begun.
    fn find(
        &mut self,
        now: Instant,
        (index, subscription): (usize, &SubscriptionStatus),
        progress: &Progress,
        seen: &mut Seen,
    ) -> Option<String> {
        let bus = &self.host.bus;
        let still = seen.stand_still(now, progress);
        let left_out = seen.left_out(now, &progress.topics);
        if still >= STALL {
            if progress.starved {
                bus.renew(subscription.group());
                seen.still = None;
            }
            return Some(format!("nothing has happened for {} s", still.as_secs()));
        }
        if let Some((topic, time)) = left_out {
            let renewed = self.renewed.get(&index);
            if renewed.is_none_or(|at| now.saturating_duration_since(*at) >= RENEW_EVERY) {
                self.renewed.insert(index, now);
                bus.renew(subscription.group());
            }
            let (topic, seconds) = (&progress.topics[topic].topic, time.as_secs());
            return Some(format!(
                "nothing of {topic} has come for {seconds} s, while other topics did"
            ));
        }
        let mut open = progress
            .topics
            .iter()
            .filter_map(|topic| topic.left_open.as_ref());
        open.next().cloned()
    }
}

#[cfg(test)]
mod tests;
