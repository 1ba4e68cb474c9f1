//! What has happened in a partition, counted.

use crate::event::FailureKind;

/// Counters since the start of the assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records by fate, in the order of [`Fate::ALL`]; committed ones only.
    pub fates: [u64; 6],
    /// Parked events and timers by fate, likewise: they have a fate of their own after their record has one.
    pub later: [u64; 6],
    /// Handled ones whose effects are the fallback's.
    pub fallback: u64,
    /// Commands of the operator that were obeyed or found moot.
    pub commands: u64,
    /// Attempts started.
    pub attempts: u64,
    /// Attempts that failed, in the order of [`FailureKind::ALL`]; output that nobody takes is a permanent failure.
    pub failures: [u64; 5],
    /// Records that a bus delivered again.
    pub redelivered: u64,
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        let Self {
            fates,
            later,
            fallback,
            commands,
            attempts,
            failures,
            redelivered,
        } = self;
        let add = |all: &mut [u64], more: &[u64]| {
            for (one, more) in all.iter_mut().zip(more) {
                *one += more;
            }
        };
        add(fates, &other.fates);
        add(later, &other.later);
        add(failures, &other.failures);
        *fallback += other.fallback;
        *commands += other.commands;
        *attempts += other.attempts;
        *redelivered += other.redelivered;
    }
}

impl Counters {
    /// Counts an attempt that failed.
    pub(super) fn fail(&mut self, kind: FailureKind) {
        self.failures[kind as usize] += 1;
    }
}
