//! The interfaces that a component imports, over the attempt that runs on this thread.

use std::cell::RefCell;

use super::{LogLine, Settings, sequence::Sequence};

/// One running attempt.
pub(crate) struct Attempt {
    number: u32,
    key: Option<Vec<u8>>,
    /// Identifies the event in idempotency keys and in settings of timers.
    event: String,
    settings: Settings,
    /// Settings of timers so far.
    timers_set: u32,
    pub(crate) sequence: Sequence,
    pub(crate) log: Vec<LogLine>,
}

thread_local! {
    static ATTEMPT: RefCell<Option<Attempt>> = const { RefCell::new(None) };
}

impl Attempt {
    pub(crate) fn new(
        number: u32,
        key: Option<Vec<u8>>,
        event: String,
        sequence: Sequence,
        settings: Settings,
    ) -> Self {
        Self {
            number,
            key,
            event,
            settings,
            timers_set: 0,
            sequence,
            log: Vec::new(),
        }
    }

    /// Calls the handler with this attempt behind its imports, and gives back what became of both.
    pub(crate) fn run<R>(self, handler: impl FnOnce() -> R) -> (R, Self) {
        ATTEMPT.set(Some(self));
        let result = handler();
        (
            result,
            ATTEMPT
                .take()
                .expect("only this function takes the attempt away"),
        )
    }

    /// State and timers of the event's key.
    fn sequence(&mut self) -> &mut Sequence {
        assert!(
            self.key.is_some(),
            "an event without a key has no state and no timers, and the host makes it a dead letter: give it one with \
             weir_sdk::testing::Input::key",
        );
        &mut self.sequence
    }
}

fn with<R>(read: impl FnOnce(&mut Attempt) -> R) -> R {
    ATTEMPT.with_borrow_mut(|attempt| {
        read(
            attempt.as_mut().expect(
                "outside of a component, call the handler through weir_sdk::testing::Harness",
            ),
        )
    })
}

pub(crate) mod context {
    use super::with;

    /// The host's default limit on the wall time of an attempt.
    const WALL_TIME_MS: u64 = 10_000;

    pub(crate) fn attempt() -> u32 {
        with(|attempt| attempt.number)
    }

    pub(crate) fn remaining_ms() -> u64 {
        WALL_TIME_MS
    }

    pub(crate) fn now_ms() -> u64 {
        with(|attempt| attempt.settings.now_ms)
    }

    pub(crate) fn tenant() -> Option<String> {
        Some("default".into())
    }

    pub(crate) fn topic() -> String {
        "test".into()
    }

    pub(crate) fn partition() -> u32 {
        0
    }

    pub(crate) fn position() -> u64 {
        0
    }

    pub(crate) fn key() -> Option<Vec<u8>> {
        with(|attempt| attempt.key.clone())
    }

    pub(crate) fn idempotency_key(label: &str) -> String {
        with(|attempt| format!("{}/{label}", attempt.event))
    }
}

pub(crate) mod log {
    use super::{LogLine, with};
    use crate::log::Level;

    pub(crate) fn write(level: Level, message: &str, fields: &[(String, String)]) {
        let level = match level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        };
        with(|attempt| {
            attempt.log.push(LogLine {
                level,
                message: message.into(),
                fields: fields.to_vec(),
            })
        });
    }
}

pub(crate) mod state {
    use super::with;

    pub(crate) fn get(name: &str) -> Option<Vec<u8>> {
        with(|attempt| attempt.sequence().get(name).map(Into::into))
    }

    pub(crate) fn set(name: &str, value: &[u8], ttl_ms: Option<u64>) {
        with(|attempt| {
            // The commit follows at the same time, which is what a time to live counts from.
            let now_ms = attempt.settings.now_ms;
            let expires_ms = ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms));
            attempt.sequence().set(name, value, expires_ms);
        });
    }

    pub(crate) fn remove(name: &str) {
        with(|attempt| attempt.sequence().remove(name));
    }

    pub(crate) fn names() -> Vec<String> {
        with(|attempt| attempt.sequence().names())
    }
}

pub(crate) mod timers {
    use super::{super::sequence::Setting, with};

    pub(crate) fn set_after(name: &str, after_ms: u64, data: Option<&[u8]>) {
        set_at(
            name,
            super::context::now_ms().saturating_add(after_ms),
            data,
        );
    }

    pub(crate) fn set_at(name: &str, unix_ms: u64, data: Option<&[u8]>) {
        with(|attempt| {
            let setting = Setting {
                due_ms: unix_ms,
                id: format!("{}/{name}/{}", attempt.event, attempt.timers_set),
                data: data.map(Into::into),
                attempts: 0,
            };
            attempt.timers_set += 1;
            attempt.sequence().timers.insert(name.into(), setting);
        });
    }

    pub(crate) fn cancel(name: &str) {
        with(|attempt| attempt.sequence().timers.remove(name));
    }
}

pub(crate) mod config {
    use super::with;

    pub(crate) fn get(name: &str) -> Option<String> {
        with(|attempt| attempt.settings.config.get(name).cloned())
    }
}

pub(crate) mod secrets {
    use super::with;

    pub(crate) fn get(name: &str) -> Option<String> {
        with(|attempt| attempt.settings.secrets.get(name).cloned())
    }
}
