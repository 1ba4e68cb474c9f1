//! Places where tests end the process by SIGKILL, or make the store fail.
//!
//! The variable `WEIR_FAIL_POINT` names one place and at which passage of it to act: `store-synced:3`; `attempt:ID` is
//! every attempt with the event of that id; `checkpoints-old` and `command-late` are no places but how things are. Only programs with debug
//! assertions look at it; in a release every function here is empty, so that no environment can make a host fail.
//! That is why it is no feature of the crate: cargo would build the store and the Wasm runtime anew for it.

/// A place in the way of an event where a crash differs from one at the place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    /// The store is open and nothing runs yet.
    StoreOpened,
    /// The committer has taken what waited and written nothing.
    GroupTaken,
    /// The journal has the batch and was not synced.
    StoreWritten,
    /// The journal is synced, and its mark is not moved.
    StoreSynced,
    /// The batch is durable, and neither readers nor callers know.
    GroupDurable,
    /// Readers see it, and callers were not answered.
    GroupVisible,
    /// Callers were answered.
    GroupAnswered,
    /// The bus has taken the events of a request that was not answered.
    RequestDurable,
    /// An attempt has ended, and its outcome was not taken.
    AttemptEnded,
    /// A unit of work is committed, and its partition does not know.
    UnitCommitted,
    /// The disk does not answer, for ever.
    SyncHangs,
    /// A unit of work is committed, and its partition never hears of it.
    UnitUnanswered,
    /// The host has slept for as long as its local copies of ledgers may be read on.
    CheckpointsOld,
    /// An operator's command is written when another one has come before it.
    CommandLate,
    /// A partition was given to this host, and no record of its first topic will come.
    ReaderStarves,
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::Point;

    impl Point {
        const ALL: [Self; 15] = [
            Self::StoreOpened,
            Self::GroupTaken,
            Self::StoreWritten,
            Self::StoreSynced,
            Self::GroupDurable,
            Self::GroupVisible,
            Self::GroupAnswered,
            Self::RequestDurable,
            Self::AttemptEnded,
            Self::UnitCommitted,
            Self::SyncHangs,
            Self::UnitUnanswered,
            Self::CheckpointsOld,
            Self::CommandLate,
            Self::ReaderStarves,
        ];

        fn name(self) -> &'static str {
            match self {
                Self::StoreOpened => "store-opened",
                Self::GroupTaken => "group-taken",
                Self::StoreWritten => "store-written",
                Self::StoreSynced => "store-synced",
                Self::GroupDurable => "group-durable",
                Self::GroupVisible => "group-visible",
                Self::GroupAnswered => "group-answered",
                Self::RequestDurable => "request-durable",
                Self::AttemptEnded => "attempt-ended",
                Self::UnitCommitted => "unit-committed",
                Self::SyncHangs => "sync-hangs",
                Self::UnitUnanswered => "unit-unanswered",
                Self::CheckpointsOld => "checkpoints-old",
                Self::CommandLate => "command-late",
                Self::ReaderStarves => "reader-starves",
            }
        }
    }

    enum Armed {
        Place {
            point: Point,
            /// Passages until it acts.
            left: AtomicU64,
        },
        /// An attempt of the event with this id.
        Attempt(String),
    }

    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();

    fn read() -> Option<Armed> {
        let text = crate::config::fail_point()?;
        let (name, passage) = text.split_once(':').unwrap_or((&text, "1"));
        if name == "attempt" {
            tracing::warn!(text, "a test has set a fail point");
            return Some(Armed::Attempt(passage.to_owned()));
        }
        let point = Point::ALL.into_iter().find(|point| point.name() == name);
        let (Some(point), Ok(passage)) = (point, passage.parse()) else {
            tracing::error!(text, "there is no such fail point");
            return None;
        };
        tracing::warn!(text, "a test has set a fail point");
        Some(Armed::Place {
            point,
            left: AtomicU64::new(passage),
        })
    }

    /// Whether the process is to fail here, now.
    pub(crate) fn fails(point: Point) -> bool {
        let armed = ARMED.get_or_init(read).as_ref();
        armed.is_some_and(|armed| match armed {
            Armed::Place { point: at, left } => {
                *at == point && left.fetch_sub(1, Ordering::Relaxed) == 1
            }
            Armed::Attempt(_) => false,
        })
    }

    /// Whether this is so, as often as it is asked.
    pub(crate) fn holds(point: Point) -> bool {
        let armed = ARMED.get_or_init(read).as_ref();
        matches!(armed, Some(Armed::Place { point: at, .. }) if *at == point)
    }

    /// Ends the process when a test asked for it by an attempt with the event of this id.
    pub(crate) fn attempt(id: &str) {
        let armed = ARMED.get_or_init(read).as_ref();
        if matches!(armed, Some(Armed::Attempt(guilty)) if guilty == id) {
            kill();
        }
    }

    /// Lets the thread that comes here when a test asked for it stay for ever.
    pub(crate) fn hang(point: Point) {
        if fails(point) {
            tracing::warn!(?point, "a test has let a thread hang");
            loop {
                std::thread::park();
            }
        }
    }

    /// Ends the process here when a test asked for it.
    pub(crate) fn pass(point: Point) {
        if fails(point) {
            kill();
        }
    }

    /// As SIGKILL from outside: nothing is flushed, and what the system's pages hold stays.
    pub(crate) fn kill() -> ! {
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)
            .expect("a process may kill itself");
        loop {
            std::thread::park();
        }
    }
}

#[cfg(debug_assertions)]
pub(crate) use armed::{attempt, fails, hang, holds, kill, pass};

#[cfg(not(debug_assertions))]
pub(crate) fn fails(_point: Point) -> bool {
    false
}

#[cfg(not(debug_assertions))]
pub(crate) fn holds(_point: Point) -> bool {
    false
}

#[cfg(not(debug_assertions))]
pub(crate) fn kill() -> ! {
    std::process::abort()
}

#[cfg(not(debug_assertions))]
pub(crate) fn pass(_point: Point) {}

#[cfg(not(debug_assertions))]
pub(crate) fn attempt(_id: &str) {}

#[cfg(not(debug_assertions))]
pub(crate) fn hang(_point: Point) {}
