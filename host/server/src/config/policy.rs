//! `[policy]`: which grants the host allows, the second of the two keys that a grant needs.

use std::collections::BTreeMap;

use super::document::Section;
use crate::names::{self, LABEL_RULE};

/// Something outside its own event that a handler may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grant {
    /// `weir:handler/state`.
    State,
    /// `weir:handler/timers`.
    Timers,
    /// `wasi:http/outgoing-handler`, to named origins.
    Http,
    /// `weir:handler/config`, named values.
    Config,
    /// `weir:handler/secrets`, named values.
    Secrets,
}

impl Grant {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::State,
        Self::Timers,
        Self::Http,
        Self::Config,
        Self::Secrets,
    ];

    /// The name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Timers => "timers",
            Self::Http => "http",
            Self::Config => "config",
            Self::Secrets => "secrets",
        }
    }

    /// Whether this release has it.
    #[must_use]
    pub fn is_offered(self) -> bool {
        match self {
            Self::State | Self::Timers => true,
            Self::Http | Self::Config | Self::Secrets => false,
        }
    }

    /// State, timers and config stay inside the host; HTTP and secrets are for the operator to allow.
    fn allowed_by_default(self) -> bool {
        match self {
            Self::State | Self::Timers | Self::Config => true,
            Self::Http | Self::Secrets => false,
        }
    }
}

/// Which grants the host allows: a manifest's grant counts only together with this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    general: BTreeMap<Grant, bool>,
    handlers: BTreeMap<String, BTreeMap<Grant, bool>>,
}

impl Policy {
    /// Whether `handler` may have `grant`: by its own entry, else the general one.
    #[must_use]
    pub fn allows(&self, handler: &str, grant: Grant) -> bool {
        let own = self.handlers.get(handler).and_then(|own| own.get(&grant));
        own.or_else(|| self.general.get(&grant))
            .copied()
            .unwrap_or(false)
    }

    /// From `[policy]`.
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let read = |section: &mut Section<'_>| {
            let written = |grant: Grant| Some((grant, section.boolean(grant.name())?));
            Grant::ALL
                .into_iter()
                .filter_map(written)
                .collect::<BTreeMap<_, _>>()
        };
        let mut policy = Self::default();
        policy.general.extend(read(&mut section));
        let by_name = section.section("handlers");
        for name in by_name.names() {
            if !names::is_label(name) {
                by_name.fault(name, format!("is no handler's name: must be {LABEL_RULE}"));
            }
            let mut own = by_name.named(name);
            policy.handlers.insert(name.to_owned(), read(&mut own));
            own.close();
        }
        section.close();
        policy
    }
}

impl Default for Policy {
    fn default() -> Self {
        let general = Grant::ALL
            .into_iter()
            .map(|grant| (grant, grant.allowed_by_default()))
            .collect();
        Self {
            general,
            handlers: BTreeMap::new(),
        }
    }
}
