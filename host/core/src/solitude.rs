//! Who may run alone: on a whole host at most one suspect of a crash is marked at a time.
//!
//! After an unclean end every partition may have events that ended the host. Two of them that run marked at once would
//! both be counted at the next end. So a partition marks one only with the host's leave, which it has from before the mark
//! is written until the ledger is known to be without it. Whoever asks meanwhile comes after those that asked before.
//!
//! Others go on beside the one that is marked, or a slow suspect would hold up every handler. So it may be counted for
//! another that ends the host for the first time, and is a suspect itself from then on. One that was counted before runs
//! in silence: nothing else runs on the host while its mark stands. That is never held against a bystander twice, and an
//! end leaves one such event behind at most.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Suspects that one partition may mark in a row while others wait: each but the first saves a commit, because its mark
/// goes with the fate of the one before.
const IN_A_ROW: u32 = 16;

/// The leave of a host, which one partition has at a time.
pub struct Solitude {
    turns: Mutex<Turns>,
    /// Attempts that run on the host.
    running: AtomicUsize,
    /// Whoever has the leave wants nothing to run beside it.
    silent: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Debug, Default)]
struct Turns {
    /// The number of the last partition that came.
    last: u64,
    holder: Option<u64>,
    waiting: VecDeque<u64>,
}

impl Solitude {
    /// `wake` is called whenever those that were refused should ask again.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            turns: Mutex::default(),
            running: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            wake: Box::new(wake),
        }
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }

    /// So many attempts less.
    fn ended(&self, count: usize) {
        let before = self.running.fetch_sub(count, Ordering::SeqCst);
        if before == count && self.is_silent() {
            (self.wake)();
        }
    }
}

/// Where one machine is all there is.
impl Default for Solitude {
    fn default() -> Self {
        Self::new(|| {})
    }
}

impl fmt::Debug for Solitude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Solitude")
            .field("turns", &self.turns)
            .field("running", &self.running)
            .field("silent", &self.silent)
            .finish_non_exhaustive()
    }
}

/// What one partition has of a host's leave. It is given back with the machine, however that ends.
#[derive(Debug)]
pub(crate) struct Leave {
    solitude: Arc<Solitude>,
    number: u64,
    held: bool,
    /// Suspects for which it was used since it was given.
    used: u32,
    /// It was refused since [`Leave::settle`].
    asked: bool,
    waits: bool,
    /// Attempts that run in this partition.
    running: usize,
}

impl Leave {
    pub(crate) fn new(solitude: Arc<Solitude>) -> Self {
        let mut turns = solitude.turns();
        turns.last += 1;
        let number = turns.last;
        drop(turns);
        Self {
            solitude,
            number,
            held: false,
            used: 0,
            asked: false,
            waits: false,
            running: 0,
        }
    }

    /// Asks to mark a suspect, which nobody else may then. Whoever is refused is woken for its turn.
    pub(crate) fn ask(&mut self) -> bool {
        let mut turns = self.solitude.turns();
        if self.held {
            let in_a_row = self.used < IN_A_ROW || turns.waiting.is_empty();
            // Those that silence holds back do not wait here.
            let more = in_a_row && !self.solitude.is_silent();
            self.used += u32::from(more);
            return more;
        }
        let next = turns
            .waiting
            .front()
            .is_none_or(|&next| next == self.number);
        if turns.holder.is_none() && next {
            turns.waiting.pop_front();
            turns.holder = Some(self.number);
            (self.held, self.waits, self.used) = (true, false, 1);
            return true;
        }
        if !self.waits {
            turns.waiting.push_back(self.number);
        }
        (self.waits, self.asked) = (true, true);
        false
    }

    /// Whether nothing else runs on the host. Nothing else starts from the first question on.
    pub(crate) fn is_silent(&self) -> bool {
        debug_assert!(self.held, "silence belongs to whoever has the leave");
        self.solitude.silent.store(true, Ordering::SeqCst);
        self.solitude.running.load(Ordering::SeqCst) == 0
    }

    /// Ends a round of questions: whoever did not ask again does not wait any more.
    pub(crate) fn settle(&mut self) {
        if self.waits && !self.asked {
            self.step_back();
        }
        self.asked = false;
    }

    /// The ledger is without a mark of this partition.
    pub(crate) fn give_back(&mut self) {
        if !self.held {
            return;
        }
        let mut turns = self.solitude.turns();
        turns.holder = None;
        let awaited = !turns.waiting.is_empty();
        drop(turns);
        self.held = false;
        let was_silent = self.solitude.silent.swap(false, Ordering::SeqCst);
        if awaited || was_silent {
            (self.solitude.wake)();
        }
    }

    fn step_back(&mut self) {
        let mut turns = self.solitude.turns();
        turns.waiting.retain(|number| *number != self.number);
        let is_free = turns.holder.is_none() && !turns.waiting.is_empty();
        drop(turns);
        self.waits = false;
        if is_free {
            (self.solitude.wake)();
        }
    }

    /// Counts an attempt that starts, unless another partition wants silence.
    pub(crate) fn start(&mut self) -> bool {
        // Asked first, or those that are refused would wake one another.
        if self.solitude.is_silent() && !self.held {
            return false;
        }
        self.solitude.running.fetch_add(1, Ordering::SeqCst);
        if self.solitude.is_silent() && !self.held {
            self.solitude.ended(1);
            return false;
        }
        self.running += 1;
        true
    }

    /// An attempt has ended, or did not start after all.
    pub(crate) fn end(&mut self) {
        self.running -= 1;
        self.solitude.ended(1);
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        if self.running > 0 {
            self.solitude.ended(self.running);
        }
        self.give_back();
        if self.waits {
            self.step_back();
        }
    }
}

#[cfg(test)]
mod tests;
