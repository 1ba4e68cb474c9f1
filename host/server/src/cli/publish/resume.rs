//! Where a publication of a file stands, kept beside the file for `--resume`.
//!
//! The mark knows the events that were acknowledged by their bytes. What comes after them may change between two runs:
//! a bad line is corrected, more are appended.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::CliError;

/// The state file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    format: u32,
    topic: String,
    events_acknowledged: u64,
    /// Of their bytes, each with its length before it.
    events_blake3: String,
}

const FORMAT: u32 = 2;

/// Remembers which events of a file the host has acknowledged.
pub(super) struct Resume {
    input: PathBuf,
    path: PathBuf,
    mark: Mark,
    /// Of the events before the next one.
    events: blake3::Hasher,
}

impl Resume {
    /// Finds the mark of an earlier run, or starts at the first event.
    pub(super) fn open(input: &Path, topic: &str, path: Option<&Path>) -> Result<Self, CliError> {
        let path = path.map_or_else(|| beside(input), Path::to_owned);
        let mut resume = Self {
            input: input.to_owned(),
            path: path.clone(),
            mark: Mark {
                format: FORMAT,
                topic: topic.to_owned(),
                events_acknowledged: 0,
                events_blake3: String::new(),
            },
            events: blake3::Hasher::new(),
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(resume),
            Err(source) => {
                return Err(CliError::File {
                    what: format!("read {}", path.display()),
                    source,
                });
            }
        };
        let mark: Mark = serde_json::from_slice(&text).map_err(|error| {
            resume.refuse(&format!("is not a mark of `weir publish` ({error})"))
        })?;
        if mark.format != FORMAT {
            return Err(resume.refuse("was written by another version"));
        }
        if mark.topic != topic {
            return Err(resume.refuse(&format!("belongs to the topic {:?}", mark.topic)));
        }
        resume.mark = mark;
        Ok(resume)
    }

    /// Notes the bytes of the next event of the file.
    pub(super) fn pass(&mut self, event: &[u8]) {
        self.events.update(&(event.len() as u64).to_le_bytes());
        self.events.update(event);
    }

    /// Whether the events that were passed are those that were acknowledged.
    ///
    /// # Errors
    /// They are others: the file must not be resumed in its middle.
    pub(super) fn check(&self) -> Result<(), CliError> {
        if self.mark.events_acknowledged == 0 || self.mark.events_blake3 == self.digest() {
            Ok(())
        } else {
            Err(self
                .refuse("belongs to another file, or what was published of this one has changed"))
        }
    }

    fn digest(&self) -> String {
        self.events.finalize().to_hex().to_string()
    }

    fn refuse(&self, what: &str) -> CliError {
        let (path, input) = (self.path.display(), self.input.display());
        CliError::Usage(format!(
            "{path} {what}: delete it to publish {input} from its start"
        ))
    }

    /// How many events are done.
    pub(super) fn acknowledged(&self) -> u64 {
        self.mark.events_acknowledged
    }

    /// Notes that so many events, all that were passed, are done. Replaces the file as a whole, so that a kill leaves
    /// the old mark or the new.
    pub(super) fn acknowledge(&mut self, events: u64) -> Result<(), CliError> {
        self.mark.events_acknowledged = events;
        self.mark.events_blake3 = self.digest();
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let text = serde_json::to_vec(&self.mark).map_err(io::Error::from);
        text.and_then(|text| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &self.path))
            .map_err(|source| CliError::File {
                what: format!("write {}", self.path.display()),
                source,
            })
    }
}

fn beside(input: &Path) -> PathBuf {
    let mut path = input.as_os_str().to_owned();
    path.push(".weir-resume");
    PathBuf::from(path)
}

#[cfg(test)]
mod tests;
