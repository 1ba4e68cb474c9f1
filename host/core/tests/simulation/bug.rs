//! What the shell or the ledger does wrong in a run, one at a time, to prove that the checks would notice.

use crate::ledger::REPLACING;

/// A planted bug. None of them is in the machine: each perturbs what goes in or comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    None,
    /// The ledger applies half of a unit's events, and all of its cursors.
    HalfUnit,
    /// The shell acknowledges a unit that never becomes durable.
    EarlyAcknowledgement,
    /// Handlers do not see staged writes.
    ForgottenStagedReads,
    /// A handler that runs again after a withdrawal still sees what was withdrawn.
    WithdrawnState,
    /// An outcome of an earlier attempt is passed on under the name of the running one.
    StaleOutcome,
    /// A new owner starts with an empty inbox.
    ForgottenInbox,
    /// The inbox is asked on arrival, when the fate of an earlier event with that id is not known.
    EarlyInbox,
    /// A new owner drops inbox marks that are old on the wall clock alone.
    OneClockInbox,
    /// What the time of one topic's stream is counts for the others.
    OneStream,
    /// The ledger does not know an id that is not in memory.
    DeafLedger,
    /// A record is passed over.
    DroppedRecord,
    /// A dead letter is cut.
    ChangedLetter,
    /// A crash is taken for one of the event that happened to run.
    CountedCrash,
    /// A new owner does not see that an event was running alone.
    ForgottenMark,
    /// A crash is counted for one of those that were marked together.
    CountedGroup,
    /// A new owner does not see that events were marked together.
    ForgottenGroup,
    /// A new owner does not see how far attempts may have started.
    ForgottenLease,
    /// Records are read though the machine has no capacity.
    IgnoredCapacity,
    /// Ids of emissions differ from attempt to attempt.
    UnstableIds,
    /// The second emission takes the id of the first.
    ReusedIndex,
    /// A new owner forgets the counted attempts.
    ForgottenAttempts,
    /// Topics are read in descending order.
    Reordered,
    /// The cursor passes an event that runs, because a later one has its fate.
    PassedRunning,
    /// A new owner forgets that a sequence is parked.
    ForgottenPark,
    /// A new owner forgets that a sequence is held.
    ForgottenHold,
    /// The last event of a parked sequence is tried first.
    ReplayOutOfOrder,
    /// Attempts start while the breaker is open.
    IgnoredBreaker,
    /// Time that the breaker was open counts for the age of events.
    AgeWhileOpen,
    /// What an aborted unit would have done to timers is done.
    LostTimer,
    /// A timer that was cancelled is still read.
    CancelledTimer,
    /// Timers are due a second early.
    EarlyTimer,
    /// Nobody knows what became of a letter.
    ForgottenLetter,
    /// State that has expired is still read.
    EternalState,
    /// Attempts start faster than the rate allows.
    IgnoredRate,
    /// A first open position may wait for an hour.
    LongSpan,
    /// Events are ordered by key, whatever was asked for.
    IgnoredOrdering,
    /// A partition takes memory as if it were alone on its host.
    GreedyPartition,
    /// An attempt that runs while its component is replaced ends on the new one.
    SwappedMidway,
    /// A new owner begins with the component that was there first.
    ForgottenSwap,
    /// What runs while its component is replaced is dropped and never ends.
    DroppedBySwap,
    /// Ids of emissions depend on the version.
    VersionedIds,
    /// A dead letter names the component that serves, not the one whose attempt it died of.
    LetterOfAnother,
}

impl Bug {
    /// All of them, and the invariants by which they may be noticed.
    pub(crate) const ALL: [(Self, &'static [&'static str]); 42] = [
        (Self::HalfUnit, &["I1"]),
        (Self::EarlyAcknowledgement, &["I1", "I5"]),
        (Self::ForgottenStagedReads, &["I2"]),
        (Self::WithdrawnState, &["I2"]),
        (Self::StaleOutcome, &["I4"]),
        (Self::ForgottenInbox, &["I2"]),
        (Self::EarlyInbox, &["I2"]),
        (Self::OneClockInbox, &["I2"]),
        (Self::OneStream, &["I2"]),
        (Self::DeafLedger, &["I2"]),
        (Self::DroppedRecord, &["I1"]),
        (Self::ChangedLetter, &["I8"]),
        (Self::CountedCrash, &["I7"]),
        (Self::ForgottenMark, &["I7"]),
        (Self::CountedGroup, &["I7"]),
        (Self::ForgottenGroup, &["I7"]),
        (Self::ForgottenLease, &["I7"]),
        (Self::IgnoredCapacity, &["I10"]),
        (Self::UnstableIds, &["I6"]),
        (Self::ReusedIndex, &["I6"]),
        (Self::ForgottenAttempts, &["I7"]),
        (Self::Reordered, &["I1", "I3"]),
        (Self::PassedRunning, &["I1"]),
        (Self::ForgottenPark, &["I3", "I5"]),
        (Self::ForgottenHold, &["I3"]),
        (Self::ReplayOutOfOrder, &["I3"]),
        (Self::IgnoredBreaker, &["I7"]),
        (Self::AgeWhileOpen, &["I7"]),
        (Self::LostTimer, &["I2"]),
        (Self::CancelledTimer, &["I2"]),
        (Self::EarlyTimer, &["I2"]),
        (Self::ForgottenLetter, &["I2"]),
        (Self::EternalState, &["I2"]),
        (Self::IgnoredRate, &["I10"]),
        (Self::LongSpan, &["I10"]),
        (Self::IgnoredOrdering, &["I3"]),
        (Self::GreedyPartition, &["I10"]),
        (Self::SwappedMidway, &[REPLACING]),
        (Self::ForgottenSwap, &[REPLACING]),
        (Self::DroppedBySwap, &["I1"]),
        (Self::VersionedIds, &["I6"]),
        (Self::LetterOfAnother, &[REPLACING]),
    ];
}
