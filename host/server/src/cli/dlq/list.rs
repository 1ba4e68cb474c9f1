//! `weir dlq list`.

use std::io::Write;

use clap::Args;
use serde::Deserialize;

use crate::cli::steer::HandlerArgs;
use crate::cli::{CliError, table};

/// Characters of a message and of a key that a line shows.
const MESSAGE_CHARS: usize = 60;
const KEY_CHARS: usize = 24;

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    handler: HandlerArgs,
    /// Sequences that are set aside, instead of letters
    #[arg(long, conflicts_with_all = ["code", "class", "sequence", "since", "status"])]
    parked: bool,
    /// Only letters of this code
    #[arg(long)]
    code: Option<String>,
    /// Only letters of this class: transient, permanent, trap, limit, poison, ...
    #[arg(long)]
    class: Option<String>,
    /// Only letters of this sequence
    #[arg(long)]
    sequence: Option<String>,
    /// Only events that died within this time, such as 90s, 30m, 2h or 7d
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    since: Option<u64>,
    /// Only letters in this status: dead, held, replaying, done, dropped
    #[arg(long)]
    status: Option<String>,
    /// How many at most: those that died last
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

/// `90s`, `30m`, `2h`, `7d` in seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let refused = || format!("{text:?} is no time: write a number and s, m, h or d, as in 30m");
    let unit = text.chars().next_back().ok_or_else(refused)?;
    let each = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(refused()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_error| refused())?;
    number.checked_mul(each).ok_or_else(refused)
}

#[derive(Deserialize)]
struct Listing {
    letters: Vec<Letter>,
    more: bool,
}

#[derive(Deserialize)]
struct Letter {
    id: String,
    status: String,
    dead_at: String,
    topic: String,
    partition: u32,
    offset: u64,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_base64: Option<String>,
    class: String,
    code: String,
    message: String,
    attempts: u32,
    replays: u32,
}

#[derive(Deserialize)]
struct Parked {
    sequences: Vec<Sequence>,
    more: bool,
}

#[derive(Deserialize)]
struct Sequence {
    partition: u32,
    sequence: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_base64: Option<String>,
    events: u64,
    attempts: u32,
    held: bool,
    letter: Option<String>,
    next: Option<String>,
}

pub(super) fn run(args: &ListArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let limit = ("limit", args.limit.to_string());
    let handler = &args.handler;
    if args.parked {
        let answer = handler.get("parked", &[limit])?;
        if handler.json {
            return Ok(writeln!(out, "{answer}")?);
        }
        return write_parked(handler.read(answer)?, out);
    }
    let given = [
        ("code", args.code.clone()),
        ("class", args.class.clone()),
        ("sequence", args.sequence.clone()),
        ("within_s", args.since.map(|since| since.to_string())),
        ("status", args.status.clone()),
    ];
    let given = given.into_iter();
    let query: Vec<_> = given
        .filter_map(|(name, value)| Some((name, value?)))
        .chain([limit])
        .collect();
    let answer = handler.get("letters", &query)?;
    if handler.json {
        return Ok(writeln!(out, "{answer}")?);
    }
    write_letters(handler.read(answer)?, out)
}

fn write_letters(listing: Listing, out: &mut dyn Write) -> Result<(), CliError> {
    if listing.letters.is_empty() {
        return Ok(writeln!(out, "no letters")?);
    }
    let head = [
        "letter", "dead at", "stood at", "key", "class", "code", "attempts", "replays", "status",
        "message",
    ];
    let row = |letter: &Letter| {
        vec![
            letter.id.clone(),
            letter.dead_at.clone(),
            format!("{}/{}/{}", letter.topic, letter.partition, letter.offset),
            key(letter.key.as_deref(), letter.key_base64.as_deref()),
            letter.class.clone(),
            letter.code.clone(),
            letter.attempts.to_string(),
            letter.replays.to_string(),
            letter.status.clone(),
            cut(&letter.message, MESSAGE_CHARS),
        ]
    };
    let rows: Vec<_> = listing.letters.iter().map(row).collect();
    table::write(out, &head, &rows)?;
    write_more(listing.more, out)
}

fn write_parked(parked: Parked, out: &mut dyn Write) -> Result<(), CliError> {
    if parked.sequences.is_empty() {
        return Ok(writeln!(out, "nothing is parked")?);
    }
    let head = [
        "partition",
        "key",
        "events",
        "attempts",
        "next",
        "letter",
        "sequence",
    ];
    let row = |one: &Sequence| {
        let next = if one.held {
            Some("held: replay, drop or release its letter".to_owned())
        } else {
            one.next.clone()
        };
        vec![
            one.partition.to_string(),
            key(one.key.as_deref(), one.key_base64.as_deref()),
            one.events.to_string(),
            one.attempts.to_string(),
            next.unwrap_or_default(),
            one.letter.clone().unwrap_or_else(|| "-".to_owned()),
            one.sequence.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let rows: Vec<_> = parked.sequences.iter().map(row).collect();
    table::write(out, &head, &rows)?;
    write_more(parked.more, out)
}

fn write_more(more: bool, out: &mut dyn Write) -> Result<(), CliError> {
    if more {
        writeln!(out, "there are more: ask for them with --limit")?;
    }
    Ok(())
}

fn key(text: Option<&str>, base64: Option<&str>) -> String {
    match (text, base64) {
        (Some(text), _) => cut(text, KEY_CHARS),
        (None, Some(base64)) => format!("base64:{}", cut(base64, KEY_CHARS)),
        (None, None) => "-".to_owned(),
    }
}

fn cut(text: &str, chars_max: usize) -> String {
    let mut cut: String = text.chars().take(chars_max).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
