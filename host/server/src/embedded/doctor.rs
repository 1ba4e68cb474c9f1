//! What is wrong with a store that does not open, what is left of it, and how to go on with that.
//!
//! The store itself is only read. What can be had of it is tried out on a copy beside it, in which tables and blob files
//! are links: the damaged journal ends there where the damage begins, so that what is left is what the store held at one
//! moment, every unit of work whole. A damaged table has no such moment: which units it held, nothing tells.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use weir_core::inbox;
use weir_core::time::Millis;

use super::batch::BatchHeader;
use super::catalog::Catalog;
use super::journal::{self, Damage};
use super::key::{Family, Key};
use super::mark::{self, Acknowledged};
use super::restore;
use super::store::{Store, StoreError};
use crate::clock;
use crate::data_dir::copy;
use crate::handlers::chain;

/// Where what is left is tried out, beside the store.
const TRIAL: &str = "store.trial";
/// A record that no checksum fits: RocksDB stops there and knows that something is missing.
const STOP: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 1, 0, 1, 0];

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, or the store as a whole.
    pub file: PathBuf,
    /// From which byte on, where that is known.
    pub at: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// What was acknowledged and is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Changes of the store; none: the mark that counts them is damaged too.
    pub writes: Option<u64>,
    /// When the newest event came that is left, Unix time in ms.
    pub kept_until_ms: Option<u64>,
    /// When the last was acknowledged, Unix time in ms.
    pub acknowledged_until_ms: Option<u64>,
}

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing is wrong.
    Sound,
    /// With what is left, which is the store of an earlier moment.
    CanGoOn,
    /// Only with a backup.
    Restore,
}

/// What was found in a store.
#[derive(Clone, Debug, Serialize)]
pub struct Examination {
    /// All that is wrong.
    pub findings: Vec<Finding>,
    /// What going on with the rest costs; none: nothing, or it cannot be done.
    pub loss: Option<Loss>,
    /// How to go on.
    pub verdict: Verdict,
    /// Where the damaged store lies, after its loss was accepted.
    pub kept: Option<PathBuf>,
}

/// The store could not be examined.
#[derive(Debug, thiserror::Error)]
#[error("{what} {path}")]
pub struct ExamineError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Examines the store in `path`, which nobody has open. Reads all of it. With `accept_loss` a store that can go on takes
/// the place of the damaged one, which is kept.
pub fn examine(path: &Path, accept_loss: bool) -> Result<Examination, ExamineError> {
    let error = |what, path: &Path| {
        let path = path.to_owned();
        move |source| ExamineError { what, path, source }
    };
    let mut examination = Examination {
        findings: Vec::new(),
        loss: None,
        verdict: Verdict::Sound,
        kept: None,
    };
    let seen = examination.look(path).map_err(error("read", path))?;
    if examination.verdict == Verdict::Restore {
        return Ok(examination);
    }
    let trial = path.with_file_name(TRIAL);
    remove(&trial).map_err(error("remove", &trial))?;
    make_trial(path, &trial, seen.end.as_ref()).map_err(error("copy the store to", &trial))?;
    match try_out(&trial) {
        Ok(left) => examination.judge(path, seen, &left),
        Err(what) => examination.give_up(path, what),
    }
    if accept_loss && examination.verdict == Verdict::CanGoOn {
        let kept = swap(path, &trial).map_err(error("put what is left in the place of", path))?;
        examination.kept = Some(kept);
    }
    remove(&trial).map_err(error("remove", &trial))?;
    Ok(examination)
}

/// What is seen of a store from outside.
#[derive(Default)]
struct Seen {
    acknowledged: Option<Acknowledged>,
    /// Where the journal is to end.
    end: Option<Damage>,
    /// It is damaged there only if anything that was acknowledged is missing then.
    is_suspect: bool,
}

/// What is in a store that opens.
struct Left {
    sequence: u64,
    newest: Option<Millis>,
}

impl Examination {
    fn find(&mut self, file: &Path, at: Option<u64>, what: String) {
        self.findings.push(Finding {
            file: file.to_owned(),
            at,
            what,
        });
    }

    fn give_up(&mut self, store: &Path, what: String) {
        self.find(store, None, what);
        self.verdict = Verdict::Restore;
    }

    /// Looks at what can be seen without RocksDB.
    fn look(&mut self, store: &Path) -> io::Result<Seen> {
        let mut seen = Seen::default();
        match mark::read(store) {
            Ok(acknowledged) => seen.acknowledged = acknowledged,
            Err(error) => self.find(&store.join(mark::NAME), None, chain(&error)),
        }
        let current = store.join("CURRENT");
        if !current.try_exists()? {
            self.find(&current, None, "it is gone".to_owned());
            self.verdict = Verdict::Restore;
            return Ok(seen);
        }
        if let Some(Damage { file, at, what }) = journal::manifest(store)? {
            self.find(&file, Some(at), what);
            self.verdict = Verdict::Restore;
        }
        let journals = journal::journals(store)?;
        if let Some(Damage { file, at, what }) = &journals.damage {
            self.find(file, Some(*at), what.clone());
        }
        seen.is_suspect = journals.damage.is_none();
        seen.end = journals.damage.or(journals.suspect);
        Ok(seen)
    }

    fn judge(&mut self, store: &Path, seen: Seen, left: &Left) {
        let acknowledged = seen.acknowledged;
        let missing = acknowledged.map(|mark| mark.sequence.saturating_sub(left.sequence));
        if let Some(Damage { file, at, what }) = seen.end.filter(|_| seen.is_suspect)
            && missing != Some(0)
        {
            self.find(&file, Some(at), what);
        }
        if let Some(missing @ 1..) = missing
            && self.findings.is_empty()
        {
            let what =
                format!("{missing} acknowledged writes are missing at the end of the journal");
            self.find(store, None, what);
        }
        if self.findings.is_empty() {
            return;
        }
        self.verdict = Verdict::CanGoOn;
        self.loss = Some(Loss {
            writes: missing,
            kept_until_ms: left.newest.map(|at| at.0),
            acknowledged_until_ms: acknowledged.map(|mark| mark.at.0),
        });
    }
}

fn make_trial(store: &Path, trial: &Path, cut: Option<&Damage>) -> io::Result<()> {
    copy::store(store, trial)?;
    remove_file(&trial.join(mark::NAME))?;
    let Some(cut) = cut else {
        return Ok(());
    };
    let name = cut.file.file_name().unwrap_or_default();
    let mut journal = File::options().write(true).open(trial.join(name))?;
    journal.set_len(cut.at)?;
    journal.seek(SeekFrom::End(0))?;
    journal.write_all(&STOP)?;
    journal.sync_all()
}

/// Opens what is left and reads all of it, as the host does and as nobody does; answers what is wrong otherwise.
fn try_out(trial: &Path) -> Result<Left, String> {
    let told = |error: StoreError| chain(&error);
    let store = Store::open_until_damage(trial).map_err(told)?;
    let sequence = store.sequence();
    let read = |error: super::store::ReadError| chain(&error);
    let catalog = Catalog::load(&store).map_err(read)?;
    let mut newest = None;
    for family in Family::ALL {
        let mut wrong = None;
        let passed = store.read_through(family, |key, value| match Key::decode(key) {
            Ok(Key::BatchHeader { .. }) => {
                let at = BatchHeader::decode(value)
                    .ok()
                    .map(|header| Millis(header.newest_ms));
                newest = newest.max(at);
            }
            Ok(_) => {}
            Err(error) => wrong = Some(chain(&error)),
        });
        passed.map_err(|error| format!("{}: {error}", family.name()))?;
        if let Some(wrong) = wrong {
            return Err(format!("{}: {wrong}", family.name()));
        }
    }
    for (group, partitions) in catalog.groups() {
        for partition in 0..partitions {
            restore::restore(
                &store,
                &catalog,
                &group,
                partition,
                inbox::Config::default(),
            )
            .map_err(read)?;
        }
    }
    Ok(Left { sequence, newest })
}

/// What is left takes the place of the store, which is kept beside it under a name with the time.
fn swap(store: &Path, trial: &Path) -> io::Result<PathBuf> {
    let kept = store.with_file_name(format!("store.damaged-{}", clock::now().0));
    fs::rename(store, &kept)?;
    fs::rename(trial, store)?;
    if let Some(folder) = store.parent() {
        copy::sync_dir(folder)?;
    }
    Ok(kept)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn remove_file(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
