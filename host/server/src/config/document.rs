//! Reads a TOML file key by key and collects every fault instead of stopping at the first.
//!
//! serde stops at the first error, and a person who fixes a file wants them all. A [`Section`] knows which keys were
//! asked for, so that what is left over is an unknown key, answered with the nearest known one.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::faults::{Fault, Faults};

/// A file, and what was found wrong with it so far.
pub(crate) struct Document {
    file: PathBuf,
    table: Table,
    faults: RefCell<Vec<Fault>>,
}

/// A table of a document; an absent one reads as empty.
pub(crate) struct Section<'d> {
    document: &'d Document,
    table: Option<&'d Table>,
    path: String,
    asked: Vec<&'static str>,
    /// Keys that are a fault already.
    refused: Vec<&'static str>,
}

impl Document {
    /// Parses the text of `file`.
    pub(crate) fn parse(file: &Path, text: &str) -> Result<Self, Faults> {
        let table = text.parse::<Table>().map_err(|error| {
            let line = error
                .span()
                .map(|span| 1 + text[..span.start].matches('\n').count());
            let key = line.map_or_else(String::new, |line| format!("line {line}"));
            let message = format!("not valid TOML: {}", error.message().replace('\n', ", "));
            Faults(vec![Fault {
                file: file.to_owned(),
                key,
                message,
            }])
        })?;
        Ok(Self {
            file: file.to_owned(),
            table,
            faults: RefCell::default(),
        })
    }

    /// Reads and parses `file`.
    pub(crate) fn load(file: &Path) -> Result<Self, Faults> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| Faults::of_file(file, format!("cannot be read: {error}")))?;
        Self::parse(file, &text)
    }

    /// The top of the document.
    pub(crate) fn root(&self) -> Section<'_> {
        Section {
            document: self,
            table: Some(&self.table),
            path: String::new(),
            asked: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// A path that the file names: relative ones start at the file's own folder.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }

    /// The file.
    pub(crate) fn file(&self) -> &Path {
        &self.file
    }

    /// What was found wrong with it.
    pub(crate) fn faults(self) -> Faults {
        Faults(self.faults.into_inner())
    }
}

impl<'d> Section<'d> {
    /// Reports a fault of `key` in this section.
    pub(crate) fn fault(&self, key: &str, message: impl Into<String>) {
        let fault = Fault {
            file: self.document.file.clone(),
            key: self.path_of(key),
            message: message.into(),
        };
        self.document.faults.borrow_mut().push(fault);
    }

    /// Whether the file has this section.
    pub(crate) fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// A path that the file names: relative ones start at the file's own folder.
    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.document.resolve(path)
    }

    /// The names in this section, for tables whose keys are free.
    pub(crate) fn names(&self) -> Vec<&'d str> {
        self.table
            .map_or_else(Vec::new, |table| table.keys().map(String::as_str).collect())
    }

    /// Any value.
    pub(crate) fn value(&mut self, key: &'static str) -> Option<&'d Value> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.table.and_then(|table| table.get(key))
    }

    /// Refuses a key that the design has and this release has not: nobody is told of it who did not write it.
    pub(crate) fn refuse(&mut self, key: &'static str, message: &str) {
        if self.table.is_some_and(|table| table.contains_key(key)) {
            self.fault(key, message);
            self.refused.push(key);
        }
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &'static str) -> Option<&'d str> {
        let value = self.value(key)?;
        value
            .as_str()
            .or_else(|| self.wrong_type(key, value, "a text in quotes"))
    }

    /// What is in the file that this key names.
    pub(crate) fn read_file(&self, key: &str, file: &str) -> Option<String> {
        let path = self.resolve(file);
        std::fs::read_to_string(&path)
            .inspect_err(|error| {
                self.fault(key, format!("{} cannot be read: {error}", path.display()));
            })
            .ok()
    }

    /// Any value of a section whose keys are free.
    pub(crate) fn free_value(&self, name: &str) -> Option<&'d Value> {
        self.table?.get(name)
    }

    /// A text of a section whose keys are free.
    pub(crate) fn free_text(&self, name: &str) -> Option<&'d str> {
        let value = self.free_value(name)?;
        value
            .as_str()
            .or_else(|| self.wrong_type(name, value, "a text in quotes"))
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, key: &'static str, example: &str) -> Option<&'d str> {
        if self.value(key).is_none() {
            self.fault(key, format!("is missing: write {key} = {example}"));
        }
        self.text(key)
    }

    /// true or false.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let value = self.value(key)?;
        value
            .as_bool()
            .or_else(|| self.wrong_type(key, value, "true or false"))
    }

    /// A number within bounds.
    pub(crate) fn number(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        self.number_in(key, value, &range)
    }

    /// A list of numbers within bounds.
    pub(crate) fn numbers(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<Vec<u64>> {
        let value = self.value(key)?;
        let list = value
            .as_array()
            .or_else(|| self.wrong_type(key, value, "a list of numbers"))?;
        let name = |index: usize| format!("{key}[{index}]");
        list.iter()
            .enumerate()
            .map(|(index, value)| self.number_in(&name(index), value, &range))
            .collect()
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &'static str) -> Option<Vec<&'d str>> {
        let value = self.value(key)?;
        let list = value
            .as_array()
            .or_else(|| self.wrong_type(key, value, "a list of texts"))?;
        let text = |(index, value): (usize, &'d Value)| {
            value
                .as_str()
                .or_else(|| self.wrong_type(&format!("{key}[{index}]"), value, "a text in quotes"))
        };
        list.iter().enumerate().map(text).collect()
    }

    /// A table; absent reads as empty.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'d> {
        let value = self.value(key);
        self.nested(key, value)
    }

    /// A table of a section whose keys are free.
    pub(crate) fn named(&self, name: &str) -> Section<'d> {
        self.nested(name, self.table.and_then(|table| table.get(name)))
    }

    /// A list of tables.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<Section<'d>> {
        let Some(value) = self.value(key) else {
            return Vec::new();
        };
        let Some(list) = value.as_array() else {
            self.wrong_type::<()>(key, value, "a list of tables");
            return Vec::new();
        };
        list.iter()
            .enumerate()
            .map(|(index, value)| self.nested(&format!("{key}[{index}]"), Some(value)))
            .collect()
    }

    /// Ends the reading: what nobody asked for is unknown.
    pub(crate) fn close(self) {
        for name in self.names() {
            if !self.asked.contains(&name) && !self.refused.contains(&name) {
                self.fault(
                    name,
                    format!("is not a known key: {}", nearest(name, &self.asked)),
                );
            }
        }
    }

    fn nested(&self, key: &str, value: Option<&'d Value>) -> Section<'d> {
        let table = value.and_then(|value| {
            value
                .as_table()
                .or_else(|| self.wrong_type(key, value, "a table"))
        });
        Section {
            document: self.document,
            table,
            path: self.path_of(key),
            asked: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn number_in(&self, key: &str, value: &Value, range: &RangeInclusive<u64>) -> Option<u64> {
        let (low, high) = (range.start(), range.end());
        let Some(number) = value.as_integer() else {
            return self.wrong_type(key, value, &format!("a whole number from {low} to {high}"));
        };
        match u64::try_from(number) {
            Ok(number) if range.contains(&number) => Some(number),
            Ok(_) | Err(_) => {
                self.fault(key, format!("is {number}: must be from {low} to {high}"));
                None
            }
        }
    }

    fn wrong_type<T>(&self, key: &str, value: &Value, wanted: &str) -> Option<T> {
        self.fault(
            key,
            format!("is a TOML {}: must be {wanted}", value.type_str()),
        );
        None
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }
}

/// `did you mean ..` when a known name is near, else all of them.
pub(crate) fn nearest(name: &str, known: &[&str]) -> String {
    /// Two names further apart than this share little but chance.
    const SIMILARITY_MIN: f64 = 0.75;
    let best = known
        .iter()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN);
    match best {
        Some((_, known)) => format!("did you mean `{known}`?"),
        None => format!("known are {}", known.join(", ")),
    }
}
