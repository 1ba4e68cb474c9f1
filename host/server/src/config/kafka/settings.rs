//! `[kafka.settings]`: what librdkafka is told beside what the host itself says.

use std::collections::BTreeMap;
use std::fmt;

use super::ours;
use crate::config::document::Section;

/// What a producer may hold that is not sent.
const QUEUED_KIB: &str = "queue.buffering.max.kbytes";
/// How the connection is made, and by what a client proves who it is.
const PROTOCOL: &str = "security.protocol";
const MECHANISMS: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];
const PASSWORD: &str = "sasl.password";
/// What is read from disk: relative paths start at the file's folder, as all others of it do.
const PATHS: &[&str] = &[
    CA_PATH,
    "ssl.certificate.location",
    "ssl.crl.location",
    "ssl.key.location",
    "ssl.keystore.location",
];
const CA_PATH: &str = "ssl.ca.location";
/// What librdkafka looks for by itself, where that is its path.
const PROBE: &str = "probe";

/// Settings of librdkafka, by name; no log shows a value, since passwords are among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// What this one is set to.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(settings: I) -> Self {
        Self(settings.into_iter().collect())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The password that is in a file of its own, so that the configuration can be shown to others.
pub(super) fn read_password(section: &mut Section<'_>) -> Option<String> {
    const KEY: &str = "password_file";
    let file = section.text(KEY)?;
    let text = section.read_file(KEY, file)?;
    Some(text.trim_end_matches(['\r', '\n']).to_owned())
}

pub(super) fn read(
    section: &Section<'_>,
    letter_bytes: usize,
    password: Option<String>,
) -> Settings {
    let mut settings = BTreeMap::new();
    for name in section.names() {
        if let Some(why) = ours::refusal(name) {
            section.fault(name, format!("cannot be set: {why}"));
        } else if let Some(value) = read_one(section, name, letter_bytes) {
            settings.insert(name.to_owned(), value);
        }
    }
    if let Some(password) = password
        && settings.insert(PASSWORD.to_owned(), password).is_some()
    {
        section.fault(
            PASSWORD,
            "kafka.password_file has it too: remove one of them",
        );
    }
    check_sasl(section, &settings);
    Settings(settings)
}

fn read_one(section: &Section<'_>, name: &str, letter_bytes: usize) -> Option<String> {
    if section.free_value(name)?.is_table() {
        let message = format!(
            "is a TOML table: librdkafka's names have dots, and stand in quotes as in \"{name}.name\" = \"value\""
        );
        section.fault(name, message);
        return None;
    }
    let value = section.free_text(name)?;
    if name == QUEUED_KIB {
        check_queued(section, value, letter_bytes);
    }
    if !PATHS.contains(&name) || (name == CA_PATH && value == PROBE) {
        return Some(value.to_owned());
    }
    let path = section.resolve(value);
    if !path.exists() {
        section.fault(name, format!("there is no file {}", path.display()));
    }
    Some(path.to_string_lossy().into_owned())
}

/// A record for which there is no room in an empty queue is never sent. What is no number librdkafka refuses.
fn check_queued(section: &Section<'_>, kib: &str, letter_bytes: usize) {
    let needed = letter_bytes.div_ceil(1 << 10);
    if kib.trim().parse::<usize>().is_ok_and(|kib| kib < needed) {
        let message = format!(
            "is {kib}: the largest record (kafka.letter_bytes, {letter_bytes} bytes) has to fit, write {needed} or more"
        );
        section.fault(QUEUED_KIB, message);
    }
}

/// librdkafka's own default is Kerberos, which is not built in; what it then says asks for another build of it.
fn check_sasl(section: &Section<'_>, settings: &BTreeMap<String, String>) {
    let is_sasl = |protocol: &String| protocol.to_ascii_lowercase().starts_with("sasl_");
    let has_mechanism = MECHANISMS.iter().any(|name| settings.contains_key(*name));
    if settings.get(PROTOCOL).is_some_and(is_sasl) && !has_mechanism {
        let message = "needs a mechanism: write \"sasl.mechanism\" = \"SCRAM-SHA-512\", \"SCRAM-SHA-256\" or \"PLAIN\"";
        section.fault(PROTOCOL, message);
    }
}
