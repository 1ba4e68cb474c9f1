//! Where a publication of a file stands, kept beside the file for `--resume`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::CliError;

/// What identifies a file: a changed one must not be resumed in its middle.
const HEAD_BYTES: u64 = 64 << 10;

/// The state file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    format: u32,
    topic: String,
    file_bytes: u64,
    file_head_blake3: String,
    events_acknowledged: u64,
}

const FORMAT: u32 = 1;

/// Remembers how many events of a file the host has acknowledged.
pub(super) struct Resume {
    path: PathBuf,
    mark: Mark,
}

impl Resume {
    /// Finds the mark of an earlier run, or starts at the first event.
    pub(super) fn open(input: &Path, topic: &str, path: Option<&Path>) -> Result<Self, CliError> {
        let path = path.map_or_else(|| beside(input), Path::to_owned);
        let (file_bytes, file_head_blake3) = identify(input).map_err(|source| CliError::File {
            what: format!("read {}", input.display()),
            source,
        })?;
        let fresh = Mark {
            format: FORMAT,
            topic: topic.to_owned(),
            file_bytes,
            file_head_blake3,
            events_acknowledged: 0,
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, mark: fresh });
            }
            Err(source) => {
                return Err(CliError::File {
                    what: format!("read {}", path.display()),
                    source,
                });
            }
        };
        let refuse = |what: &str| {
            let (path, input) = (path.display(), input.display());
            CliError::Usage(format!(
                "{path} {what}: delete it to publish {input} from its start"
            ))
        };
        let mark: Mark = serde_json::from_slice(&text)
            .map_err(|error| refuse(&format!("is not a mark of `weir publish` ({error})")))?;
        if mark.format != FORMAT {
            return Err(refuse("was written by another version"));
        }
        if (mark.file_bytes, &mark.file_head_blake3) != (fresh.file_bytes, &fresh.file_head_blake3)
        {
            return Err(refuse("belongs to another file, or the file has changed"));
        }
        if mark.topic != topic {
            return Err(refuse(&format!("belongs to the topic {:?}", mark.topic)));
        }
        Ok(Self { path, mark })
    }

    /// How many events are done.
    pub(super) fn acknowledged(&self) -> u64 {
        self.mark.events_acknowledged
    }

    /// Notes that so many events are done. Replaces the file as a whole, so that a kill leaves the old mark or the new.
    pub(super) fn acknowledge(&mut self, events: u64) -> Result<(), CliError> {
        self.mark.events_acknowledged = events;
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

fn identify(input: &Path) -> io::Result<(u64, String)> {
    let file = File::open(input)?;
    let bytes = file.metadata()?.len();
    let mut head = Vec::new();
    file.take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((bytes, blake3::hash(&head).to_hex().to_string()))
}

#[cfg(test)]
mod tests;
