//! `[grants]`: what the handler may use beyond its event.

use crate::config::document::Section;
use crate::config::{Config, Grant};

/// What a handler may use beyond its event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// State of its sequences.
    pub state: bool,
    /// Timers of its sequences.
    pub timers: bool,
    /// Origins that it may call, such as `https://psp.example.com`.
    pub http: Vec<String>,
    /// Names of configuration values.
    pub config: Vec<String>,
    /// Names of secrets.
    pub secrets: Vec<String>,
}

impl Grants {
    /// Whether the manifest asks for this.
    #[must_use]
    pub fn asks(&self, grant: Grant) -> bool {
        match grant {
            Grant::State => self.state,
            Grant::Timers => self.timers,
            Grant::Http => !self.http.is_empty(),
            Grant::Config => !self.config.is_empty(),
            Grant::Secrets => !self.secrets.is_empty(),
        }
    }
}

pub(super) fn read(mut section: Section<'_>, config: &Config, handler: &str) -> Grants {
    let mut grants = Grants {
        state: section.boolean("state").unwrap_or(false),
        timers: section.boolean("timers").unwrap_or(false),
        ..Grants::default()
    };
    let mut list = |key, into: &mut Vec<String>| {
        *into = section
            .texts(key)
            .unwrap_or_default()
            .into_iter()
            .map(str::to_owned)
            .collect();
    };
    list("http", &mut grants.http);
    list("config", &mut grants.config);
    list("secrets", &mut grants.secrets);
    for (index, origin) in grants.http.iter().enumerate() {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        if !host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', '*'])) {
            let message = format!(
                "is {origin:?}: must be an origin without a path, as in \"https://psp.example.com\""
            );
            section.fault(&format!("http[{index}]"), message);
        }
    }
    for grant in Grant::ALL {
        let name = grant.name();
        if !grants.asks(grant) {
            continue;
        }
        if !grant.is_offered() {
            section.fault(name, "is not in this release: remove it");
        } else if !config.policy.allows(handler, grant) {
            let message = format!(
                "is not allowed by the host's policy: set {name} = true under [policy] or \
                 [policy.handlers.{handler}] in the host's config, or remove it here"
            );
            section.fault(name, message);
        }
    }
    section.close();
    grants
}
