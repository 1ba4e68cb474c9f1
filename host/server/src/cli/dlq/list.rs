//! `weir dlq list`.

use std::io::Write;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::steer::HandlerArgs;
use crate::cli::{CliError, table};
use crate::letters::Status;
use crate::names::printable;

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
    /// Only letters in this status
    #[arg(long, value_enum)]
    status: Option<Status>,
    /// How many at most: those that died last
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Only letters that died before those of another list, which says what to write here
    #[arg(long, value_name = "PLACE", conflicts_with = "parked")]
    before: Option<String>,
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

/// One answer: the host looks only so far at a time.
#[derive(Deserialize)]
struct Page {
    letters: Vec<Value>,
    next: Option<String>,
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
    let Page { letters, next } = pages(args)?;
    if handler.json {
        let listing = json!({ "letters": letters, "next": next });
        return Ok(writeln!(out, "{listing}")?);
    }
    let letters = letters.into_iter().map(|letter| handler.read(letter));
    write_letters(&letters.collect::<Result<Vec<_>, _>>()?, next, out)
}

/// As many answers as it takes to have the letters that are asked for.
fn pages(args: &ListArgs) -> Result<Page, CliError> {
    let given = [
        ("code", args.code.clone()),
        ("class", args.class.clone()),
        ("sequence", args.sequence.clone()),
        ("within_s", args.since.map(|since| since.to_string())),
        ("status", args.status.map(|status| status.name().to_owned())),
    ];
    let mut all = Page {
        letters: Vec::new(),
        next: args.before.clone(),
    };
    loop {
        let left = args.limit - all.letters.len();
        let asked = [("limit", Some(left.to_string())), ("before", all.next)];
        let query: Vec<_> = given
            .iter()
            .cloned()
            .chain(asked)
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        let Page { mut letters, next } = args.handler.read(args.handler.get("letters", &query)?)?;
        // They died before those that are there.
        letters.append(&mut all.letters);
        all = Page { letters, next };
        if all.next.is_none() || all.letters.len() >= args.limit {
            return Ok(all);
        }
    }
}

fn write_letters(
    letters: &[Letter],
    next: Option<String>,
    out: &mut dyn Write,
) -> Result<(), CliError> {
    if letters.is_empty() {
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
    let rows: Vec<_> = letters.iter().map(row).collect();
    table::write(out, &head, &rows)?;
    if let Some(next) = next {
        writeln!(
            out,
            "those that died before are shown with --before {}",
            printable(&next)
        )?;
    }
    Ok(())
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
    if parked.more {
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
