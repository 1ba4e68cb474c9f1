//! What is read of an event and what is made of it: by this handler, and natively by the loop that it is compared with on
//! Kafka (`host/server/examples/kafka_rate`).

use serde::{Deserialize, Serialize};

/// With the rest of it, data of 600 bytes.
const NOTE_BYTES_MAX: usize = 550;

/// The data of an event.
#[derive(Deserialize)]
pub(crate) struct Orders {
    /// So many attempts fail.
    #[serde(default)]
    pub(crate) attempts: u32,
    /// Is repeated, as far as it goes into an emission of the usual size.
    #[serde(default)]
    note: String,
}

/// What was done.
#[derive(Serialize)]
pub(crate) struct Deed<'a> {
    id: &'a str,
    attempt: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    note: &'a str,
}

impl Orders {
    /// What this attempt does of them.
    pub(crate) fn done<'a>(&'a self, id: &'a str, attempt: u32) -> Deed<'a> {
        let note = self.note.get(..NOTE_BYTES_MAX).unwrap_or(&self.note);
        Deed { id, attempt, note }
    }
}
