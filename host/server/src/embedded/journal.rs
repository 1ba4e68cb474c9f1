//! The store's journals and its manifest, read without RocksDB: whether they are whole, torn at their end as by a crash,
//! or damaged.
//!
//! RocksDB takes a record that runs over the end of its file for one that a crash cut off, and a block of zeros for
//! nothing. Both are also what damage looks like: one bit in the length of a record hides it and all that follow in its
//! block, and a hole of zeros hides what was in it. Here a record whose checksum holds for another length is damaged and
//! not torn, zeros are nothing only where nothing follows, and the sequence numbers of a journal leave no gap.
//!
//! The very last record may be anything: RocksDB writes one and syncs it before it writes the next, and a loss of power leaves
//! some of its pages and not others. Whether it was torn or is damaged, only the mark of what was acknowledged can tell
//! ([`Journals::suspect`]).
//!
//! The format is that of LevelDB's log (blocks of 32 KiB; checksum, length, kind, payload), unchanged since 2011.

mod crc;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use self::crc::Crc;

const BLOCK: usize = 32 * 1024;
/// Checksum, length, kind.
const HEADER: usize = 4 + 2 + 1;
/// Of a batch of writes: sequence number of the first, and how many.
const BATCH_HEADER: usize = 8 + 4;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

const WRONG_LENGTH: &str = "the length of a record is wrong";

/// How a file ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With its last record.
    Whole,
    /// With a part of a record, or with zeros: from here on nothing was ever acknowledged.
    Torn(u64),
    /// With a record that is not readable, and none after it.
    Suspect(u64, &'static str),
    /// Not readable from here on.
    Damaged(u64, &'static str),
}

/// A record: where it begins, and its first bytes.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: u64,
    head: Vec<u8>,
}

/// A place in a file of the store that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    pub(super) file: PathBuf,
    pub(super) at: u64,
    pub(super) what: String,
}

/// What the journals hold.
#[derive(Debug, Default)]
pub(super) struct Journals {
    /// All of them, oldest first.
    pub(super) files: Vec<PathBuf>,
    /// The sequence number of the last write before the damage, if any was read.
    pub(super) last: Option<u64>,
    /// The first.
    pub(super) damage: Option<Damage>,
    /// The last record of all, which is not readable: damage if it was acknowledged, else torn.
    pub(super) suspect: Option<Damage>,
}

/// Reads the journals of a store.
pub(super) fn journals(store: &Path) -> io::Result<Journals> {
    let mut found = Journals {
        files: files(store, "log")?,
        ..Journals::default()
    };
    let mut writes = Writes::default();
    for file in &found.files {
        let mut count = 0;
        let end = scan(File::open(file)?, |record| {
            count += 1;
            writes.take(&record);
        })?;
        if count > 0 && found.suspect.is_some() {
            // It was not the last.
            found.damage = found.suspect.take();
            break;
        }
        let damage = |at, what: String| {
            let file = file.clone();
            Some(Damage { file, at, what })
        };
        match (writes.broken.take(), end) {
            (Some((at, what)), _) => found.damage = damage(at, what),
            (None, End::Damaged(at, what)) => found.damage = damage(at, what.to_owned()),
            (None, End::Suspect(at, what)) => found.suspect = damage(at, what.to_owned()),
            (None, End::Whole | End::Torn(_)) => {}
        }
        if found.damage.is_some() {
            break;
        }
    }
    found.last = writes.last;
    Ok(found)
}

/// The writes of all journals one after the other: their numbers leave no gap.
#[derive(Default)]
struct Writes {
    last: Option<u64>,
    /// Where they first do.
    broken: Option<(u64, String)>,
}

impl Writes {
    fn take(&mut self, record: &Record) {
        if self.broken.is_some() {
            return;
        }
        let Some((first, count)) = record.sequence() else {
            self.broken = Some((record.at, "a batch without its header".to_owned()));
            return;
        };
        match self.last {
            Some(last) if first != last + 1 => {
                self.broken = Some((record.at, format!("write {first} follows write {last}")));
            }
            Some(_) | None => self.last = Some((first + count).saturating_sub(1)),
        }
    }
}

/// Reads the manifest: which files the store consists of.
pub(super) fn manifest(store: &Path) -> io::Result<Option<Damage>> {
    let current = store.join("CURRENT");
    let damaged = |file: &Path, at, what: &str| {
        Ok(Some(Damage {
            file: file.to_owned(),
            at,
            what: what.to_owned(),
        }))
    };
    let text = fs::read(&current)?;
    let name = str::from_utf8(&text)
        .ok()
        .and_then(|text| text.strip_suffix('\n'));
    let Some(name) = name.filter(|name| name.starts_with("MANIFEST-")) else {
        return damaged(&current, 0, "it names no manifest");
    };
    let file = store.join(name);
    let open = match File::open(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return damaged(&current, 0, "it names a manifest that is not there");
        }
        other => other?,
    };
    let mut records = 0;
    match scan(open, |_| records += 1)? {
        End::Damaged(at, what) | End::Suspect(at, what) => damaged(&file, at, what),
        End::Whole | End::Torn(_) if records == 0 => damaged(&file, 0, "it is empty"),
        End::Whole | End::Torn(_) => Ok(None),
    }
}

/// Files of the store with a number and this extension, in the order of their numbers; none of a store that is not there.
pub(super) fn files(store: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(store) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    for entry in entries {
        let path = entry?.path();
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let Some(number) = number
            && path.extension().is_some_and(|found| found == extension)
        {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_number, path)| path).collect())
}

impl Record {
    /// Of a batch of writes: the first number and how many.
    fn sequence(&self) -> Option<(u64, u64)> {
        let (first, rest) = self.head.split_first_chunk()?;
        let (count, _) = rest.split_first_chunk()?;
        Some((
            u64::from_le_bytes(*first),
            u32::from_le_bytes(*count).into(),
        ))
    }
}

/// Hands each record of the file to `each` and says how the file ends.
pub(super) fn scan(mut file: impl Read, mut each: impl FnMut(Record)) -> io::Result<End> {
    let mut block = Vec::with_capacity(BLOCK);
    let mut base = 0;
    let mut open = None;
    loop {
        block.clear();
        (&mut file).take(BLOCK as u64).read_to_end(&mut block)?;
        let is_last = block.len() < BLOCK;
        let mut at = 0;
        while block.len() - at >= HEADER {
            let here = base + at as u64;
            let fragment = match Fragment::read(&block[at..]) {
                Found::Fragment(fragment) => fragment,
                Found::CutOff if is_last => return Ok(End::Torn(start(&open, here))),
                Found::WrongLength => {
                    return Ok(End::Damaged(start(&open, here), WRONG_LENGTH));
                }
                unreadable @ (Found::Zeros | Found::CutOff | Found::WrongChecksum) => {
                    let rest = Rest::read(&block[at..], &mut file)?;
                    return Ok(unreadable.end(start(&open, here), rest));
                }
            };
            match (fragment.kind, open.take()) {
                (FULL | FIRST, None) => {
                    open = Some(Record {
                        at: here,
                        head: Vec::new(),
                    })
                }
                (MIDDLE | LAST, Some(record)) => open = Some(record),
                (_, before) => {
                    return Ok(End::Damaged(
                        start(&before, here),
                        "a record begins in another",
                    ));
                }
            }
            if let Some(record) = &mut open {
                let missing = BATCH_HEADER - record.head.len();
                record.head.extend(fragment.payload.iter().take(missing));
            }
            if matches!(fragment.kind, FULL | LAST) {
                open.take().into_iter().for_each(&mut each);
            }
            at += HEADER + fragment.payload.len();
        }
        if is_last {
            let is_torn = open.is_some() || at < block.len();
            let end = base + at as u64;
            return Ok(if is_torn {
                End::Torn(start(&open, end))
            } else {
                End::Whole
            });
        }
        base += BLOCK as u64;
    }
}

/// Where the record begins that is not complete, else `here`.
fn start(open: &Option<Record>, here: u64) -> u64 {
    open.as_ref().map_or(here, |record| record.at)
}

/// A record, or the part of one that fits its block.
struct Fragment<'a> {
    kind: u8,
    payload: &'a [u8],
}

/// What stands at a place of a block.
enum Found<'a> {
    Fragment(Fragment<'a>),
    Zeros,
    /// It runs over the end of the block.
    CutOff,
    /// As before, but its checksum holds for a shorter payload.
    WrongLength,
    WrongChecksum,
}

impl<'a> Fragment<'a> {
    /// Of at least [`HEADER`] bytes.
    fn read(bytes: &'a [u8]) -> Found<'a> {
        let (header, rest) = bytes.split_at(HEADER);
        if is_zero(header) {
            return Found::Zeros;
        }
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let (length, kind) = (
            usize::from(u16::from_le_bytes([header[4], header[5]])),
            header[6],
        );
        let mut crc = Crc::of(&[kind]);
        let Some(payload) = rest.get(..length) else {
            let is_whole = rest.iter().any(|byte| {
                crc.add(&[*byte]);
                crc.masked() == stored
            });
            return if is_whole {
                Found::WrongLength
            } else {
                Found::CutOff
            };
        };
        crc.add(payload);
        if crc.masked() == stored {
            Found::Fragment(Fragment { kind, payload })
        } else {
            Found::WrongChecksum
        }
    }
}

impl Found<'_> {
    /// How a file ends in which this stands at the end of what can be read.
    fn end(&self, at: u64, rest: Rest) -> End {
        let what = match self {
            Self::Zeros if rest == Rest::Zeros => return End::Torn(at),
            Self::Zeros => "a hole of zeros",
            Self::WrongChecksum => "a checksum is wrong",
            Self::Fragment(_) | Self::CutOff | Self::WrongLength => WRONG_LENGTH,
        };
        match rest {
            Rest::Records => End::Damaged(at, what),
            Rest::Zeros | Rest::Noise => End::Suspect(at, what),
        }
    }
}

/// What a file holds from a place on that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Zeros,
    /// Parts of one record at most.
    Noise,
    /// The beginning of a later record.
    Records,
}

impl Rest {
    /// Of the rest of a block, and of a file that goes on with the next.
    fn read(rest: &[u8], file: &mut impl Read) -> io::Result<Self> {
        let (_unreadable, after) = rest.split_at(1);
        if begins_record(after) {
            return Ok(Self::Records);
        }
        let mut only_zeros = is_zero(rest);
        let mut block = Vec::with_capacity(BLOCK);
        loop {
            block.clear();
            file.take(BLOCK as u64).read_to_end(&mut block)?;
            if block.is_empty() {
                return Ok(if only_zeros { Self::Zeros } else { Self::Noise });
            }
            if begins_record(&block) {
                return Ok(Self::Records);
            }
            only_zeros &= is_zero(&block);
        }
    }
}

/// Whether a record begins anywhere in here.
fn begins_record(bytes: &[u8]) -> bool {
    let beginnings = bytes.windows(HEADER).enumerate();
    let mut beginnings =
        beginnings.filter(|(_, header)| matches!(header[HEADER - 1], FULL | FIRST));
    beginnings.any(|(at, _)| matches!(Fragment::read(&bytes[at..]), Found::Fragment(_)))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
