//! Who puts a member out of its group under its own id: another live host of that id, or what is left of a member that this
//! host had before.
//!
//! A cluster that stood still answers, when it goes on, what it was asked meanwhile, by members too that have been given up
//! since. Each of those comes once. Another host comes back as often as it is put out itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Put out so often ..
const TIMES: u32 = 3;
/// .. since the first of them, it is by another host: two of one id take some seconds each.
const WITHIN: Duration = Duration::from_secs(120);

/// How often members of this host were put out of each group, and since when.
#[derive(Default)]
pub(super) struct Twins(Mutex<HashMap<Arc<str>, (Instant, u32)>>);

impl Twins {
    /// Counts that a member was put out; answers whether another host has its id.
    pub(super) fn put_out(&self, group: &Arc<str>, now: Instant) -> bool {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, times) = groups.entry(Arc::clone(group)).or_insert((now, 0));
        if now.saturating_duration_since(*since) > WITHIN {
            (*since, *times) = (now, 0);
        }
        *times += 1;
        *times >= TIMES
    }
}

#[cfg(test)]
mod tests;
