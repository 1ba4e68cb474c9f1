//! Silence: of the events that may have ended the host, one that was counted before runs while nothing else does.
//!
//! After an unclean end every partition runs its suspects after a mark, and a single mark that the next owner finds counts.
//! Partitions do so beside one another, or one slow handler would hold up all others after every end. So a suspect may be
//! counted for another that ends the host while its mark stands, once: whoever was counted before is marked only in
//! silence. That is never held against a bystander twice, and three are needed to die.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The silence of a host, which one of its partitions has at a time.
pub struct Solitude {
    /// The number of the last partition that came.
    last: AtomicU64,
    /// The number of the partition that wants nothing to run beside its suspect; 0 for none.
    silent: AtomicU64,
    /// By partition, what runs on the host.
    running: Mutex<Vec<Arc<Running>>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Attempts that run in one partition, which writes it for each: on a cache line of its own, or all threads would wait for one
/// another's.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Running(AtomicUsize);

impl Solitude {
    /// `wake` is called whenever those that were refused should ask again.
    #[must_use]
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            last: AtomicU64::new(0),
            silent: AtomicU64::new(0),
            running: Mutex::default(),
            wake: Box::new(wake),
        }
    }

    fn running(&self) -> MutexGuard<'_, Vec<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_quiet(&self) -> bool {
        let running = self.running();
        running.iter().all(|one| one.0.load(Ordering::SeqCst) == 0)
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
            .field("running", &self.running())
            .field("silent", &self.silent)
            .finish_non_exhaustive()
    }
}

/// One partition's part in a host's silence. It ends with the machine, however that ends.
#[derive(Debug)]
pub(crate) struct Quiet {
    solitude: Arc<Solitude>,
    /// Above 0, and no other partition's.
    number: u64,
    /// Attempts that run in this partition, as the others see them.
    running: Arc<Running>,
    /// The same, as it knows itself.
    count: usize,
}

impl Quiet {
    pub(crate) fn new(solitude: Arc<Solitude>) -> Self {
        let number = solitude.last.fetch_add(1, Ordering::Relaxed) + 1;
        let running = Arc::<Running>::default();
        solitude.running().push(Arc::clone(&running));
        Self {
            solitude,
            number,
            running,
            count: 0,
        }
    }

    /// Whether nothing else runs on the host. Nothing else starts from the first question on, unless another partition has
    /// asked before; then this one is woken when that is over.
    pub(crate) fn is_silent(&self) -> bool {
        let silent = &self.solitude.silent;
        match silent.compare_exchange(0, self.number, Ordering::SeqCst, Ordering::SeqCst) {
            Err(another) if another != self.number => false,
            Ok(_) | Err(_) => self.solitude.is_quiet(),
        }
    }

    /// Whether any partition wants silence, this one or another.
    pub(crate) fn is_wanted(&self) -> bool {
        self.solitude.silent.load(Ordering::SeqCst) != 0
    }

    /// Whether this partition has it, or waits for what runs to end.
    pub(crate) fn has_silence(&self) -> bool {
        self.solitude.silent.load(Ordering::SeqCst) == self.number
    }

    fn is_hushed(&self) -> bool {
        let silent = self.solitude.silent.load(Ordering::SeqCst);
        silent != 0 && silent != self.number
    }

    /// Wants no silence any more.
    pub(crate) fn end_silence(&self) {
        // Asked for every event, and nobody else can have it end.
        if !self.has_silence() {
            return;
        }
        let silent = &self.solitude.silent;
        let ended = silent.compare_exchange(self.number, 0, Ordering::SeqCst, Ordering::SeqCst);
        if ended.is_ok() {
            (self.solitude.wake)();
        }
    }

    /// Counts an attempt that starts, unless another partition wants silence.
    pub(crate) fn start(&mut self) -> bool {
        // Asked first, or those that are refused would wake one another.
        if self.is_hushed() {
            return false;
        }
        // Whoever wants silence says so before he looks here: one of both sees the other.
        self.tell(self.count + 1);
        if self.is_hushed() {
            self.end();
            return false;
        }
        true
    }

    /// An attempt has ended, or did not start after all.
    pub(crate) fn end(&mut self) {
        self.tell(self.count - 1);
        self.wake_if_idle();
    }

    fn tell(&mut self, count: usize) {
        self.count = count;
        self.running.0.store(count, Ordering::SeqCst);
    }

    /// Whoever wants silence waits for the last of all partitions, and asks again after each.
    fn wake_if_idle(&self) {
        if self.count == 0 && self.is_wanted() {
            (self.solitude.wake)();
        }
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let mut running = self.solitude.running();
        running.retain(|one| !Arc::ptr_eq(one, &self.running));
        drop(running);
        if std::mem::take(&mut self.count) > 0 {
            self.wake_if_idle();
        }
        self.end_silence();
    }
}

#[cfg(test)]
mod tests;
