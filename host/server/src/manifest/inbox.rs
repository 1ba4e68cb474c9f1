//! `[inbox]`: whether repeats of an event are dropped, and what tells an event from others.

use super::Field;
use crate::config::document::Section;

/// Whether there is an inbox, which is the default where one can be `kept`, and the field that has the key which a
/// producer gives to what must happen once.
pub(super) fn read(mut section: Section<'_>, kept: bool) -> (bool, Option<Field>) {
    let enabled = section.boolean("enabled");
    let written = section.text("key");
    let key = written.and_then(Field::parse);
    match (written, &key) {
        (Some(text), None) => {
            section.fault("key", format!("is {text:?}: must be {}", Field::RULE));
        }
        (Some(_), Some(_)) if enabled == Some(false) => {
            section.fault(
                "key",
                "is not used without an inbox: remove it, or remove enabled = false",
            );
        }
        (Some(_) | None, _) => {}
    }
    section.close();
    (enabled.unwrap_or(kept), key)
}
