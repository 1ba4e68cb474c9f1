//! Kinds of keys: the first byte of each, where they are kept, and which belong to a subscription.

use super::PARTITION_PREFIX;

/// A column family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::embedded) enum Family {
    /// Topics, subscriptions and what operators asked of them, batch headers: small, read when the store opens.
    Meta,
    /// Record batches, in blob files.
    Log,
    /// Progress, inbox blocks and letters.
    Ledger,
    /// State of sequences, read by point.
    State,
    /// Parked sequences, and their events in blob files.
    Park,
    /// Timers, by name and by due time, and the state of copies by expiry.
    Timer,
}

impl Family {
    pub(in crate::embedded) const ALL: [Self; 6] = [
        Self::Meta,
        Self::Log,
        Self::Ledger,
        Self::State,
        Self::Park,
        Self::Timer,
    ];

    pub(in crate::embedded) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Log => "log",
            Self::Ledger => "ledger",
            Self::State => "state",
            Self::Park => "park",
            Self::Timer => "timer",
        }
    }
}

/// The first byte of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::embedded) enum Kind {
    Topic = 1,
    Group = 2,
    LogStart = 3,
    BatchHeader = 4,
    Batch = 5,
    Progress = 6,
    InboxBlock = 7,
    State = 8,
    ParkedEvent = 9,
    ParkedHead = 10,
    Timer = 11,
    Due = 12,
    Letter = 13,
    Steering = 14,
    Job = 15,
    JobProgress = 16,
    Begun = 17,
    Checkpoint = 18,
    Expiry = 19,
}

impl Kind {
    pub(super) const ALL: [Self; 19] = [
        Self::Topic,
        Self::Group,
        Self::LogStart,
        Self::BatchHeader,
        Self::Batch,
        Self::Progress,
        Self::InboxBlock,
        Self::State,
        Self::ParkedEvent,
        Self::ParkedHead,
        Self::Timer,
        Self::Due,
        Self::Letter,
        Self::Steering,
        Self::Job,
        Self::JobProgress,
        Self::Begun,
        Self::Checkpoint,
        Self::Expiry,
    ];

    /// Where keys of this kind are kept.
    pub(in crate::embedded) const fn family(self) -> Family {
        match self {
            Self::Topic
            | Self::Group
            | Self::LogStart
            | Self::BatchHeader
            | Self::Steering
            | Self::Job
            | Self::JobProgress
            | Self::Begun
            | Self::Checkpoint => Family::Meta,
            Self::Batch => Family::Log,
            Self::Progress | Self::InboxBlock | Self::Letter => Family::Ledger,
            Self::State => Family::State,
            Self::ParkedEvent | Self::ParkedHead => Family::Park,
            Self::Timer | Self::Due | Self::Expiry => Family::Timer,
        }
    }

    /// What the keys of one partition of a topic or subscription begin with.
    pub(in crate::embedded) fn of_partition(
        self,
        id: u32,
        partition: u32,
    ) -> [u8; PARTITION_PREFIX] {
        let mut prefix = [0; PARTITION_PREFIX];
        prefix[0] = self as u8;
        prefix[1..5].copy_from_slice(&id.to_be_bytes());
        prefix[5..].copy_from_slice(&partition.to_be_bytes());
        prefix
    }
}

/// A kind of key that belongs to one subscription: after the kind's byte comes the subscription's number.
#[derive(Clone, Copy, Debug)]
pub(in crate::embedded) struct GroupKind {
    pub(super) kind: Kind,
    pub(in crate::embedded) family: Family,
    /// For people: what such entries are.
    pub(in crate::embedded) name: &'static str,
}

/// All of them, but for the subscription itself: what deleting a subscription deletes.
pub(in crate::embedded) const OF_GROUP: [GroupKind; 14] = [
    GroupKind::new(Kind::Progress, "progress"),
    GroupKind::new(Kind::InboxBlock, "inbox"),
    GroupKind::new(Kind::State, "state"),
    GroupKind::new(Kind::ParkedEvent, "parked events"),
    GroupKind::new(Kind::ParkedHead, "parked sequences"),
    GroupKind::new(Kind::Timer, "timers"),
    GroupKind::new(Kind::Due, "due times"),
    GroupKind::new(Kind::Letter, "letters"),
    GroupKind::new(Kind::Steering, "steering"),
    GroupKind::new(Kind::Job, "jobs"),
    GroupKind::new(Kind::JobProgress, "progress of jobs"),
    GroupKind::new(Kind::Begun, "partitions"),
    GroupKind::new(Kind::Checkpoint, "checkpoints"),
    GroupKind::new(Kind::Expiry, "expiries"),
];

impl GroupKind {
    const fn new(kind: Kind, name: &'static str) -> Self {
        Self {
            kind,
            family: kind.family(),
            name,
        }
    }

    /// What the keys of this subscription start with.
    pub(in crate::embedded) fn prefix(self, group: u32) -> [u8; 5] {
        let [a, b, c, d] = group.to_be_bytes();
        [self.kind as u8, a, b, c, d]
    }
}
