//! `weir publish`: a file of CloudEvents into a topic, in batches that the host takes as a whole or not at all.

mod input;
mod resume;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use serde_json::json;

pub(super) use self::input::InputError;
use self::input::{Input, Item};
use self::resume::Resume;
use super::client::{Client, ClientError, segment};
use super::{CliError, HostArgs, status};
use crate::names::printable;

/// Below the host's limit of 16 MiB for one request.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// The first wait after a refusal that passes; doubles up to the second.
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);
/// A host that was never reached is probably not started: say so soon.
const FIRST_CONTACT: Duration = Duration::from_secs(5);
const CONTENT_TYPE: &str = "application/cloudevents-batch+json";
const REPEAT: &str =
    "events already published are dropped by the handlers' inbox: repeating is safe within 24 h";

/// Arguments of `weir publish`.
#[derive(Debug, Args)]
#[command(
    after_help = "A repeat is safe for handlers: within 24 h their inbox drops events that were already published. \
                  The topic then holds the events twice, and so they reach `weir tail` and handlers with \
                  `[inbox] enabled = false`."
)]
pub struct PublishArgs {
    /// JSON lines or a JSON array of CloudEvents, also gzipped; - is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Topic, short or full
    #[arg(long)]
    topic: Option<String>,
    /// Events in one request: all of them are taken or none; on Kafka an error may leave some
    #[arg(long, value_name = "EVENTS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batch: u32,
    /// Go on after the last acknowledged event of an earlier run with this option
    #[arg(long)]
    resume: bool,
    /// Where --resume keeps its mark; else FILE.weir-resume
    #[arg(long, value_name = "FILE", requires = "resume")]
    resume_file: Option<PathBuf>,
    /// How long to try again while the host is busy or away
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    retry_for: u64,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    host: HostArgs,
}

/// What was done.
#[derive(Debug, Default)]
struct Counts {
    published: u64,
    skipped: u64,
    batches: u64,
    retries: u64,
}

struct Publisher<'a> {
    client: Client,
    path: String,
    patience: Duration,
    resume: Option<Resume>,
    progress: &'a ProgressBar,
    counts: Counts,
}

pub(super) fn run(args: &PublishArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let client = args.host.client()?;
    let Some(topic) = &args.topic else {
        return Err(missing_topic(&client));
    };
    let resume = if args.resume {
        Some(open_resume(args, topic)?)
    } else {
        None
    };
    let started = Instant::now();
    let (raw, bytes) = open(&args.file)?;
    let progress = progress_bar(args.json, bytes);
    let mut publisher = Publisher {
        client,
        path: format!("/v1/topics/{}/events", segment(topic)),
        patience: Duration::from_secs(args.retry_for),
        resume,
        progress: &progress,
        counts: Counts::default(),
    };
    let result = Input::new(progress.wrap_read(raw))
        .map_err(CliError::from)
        .and_then(|mut input| publisher.publish(&mut input, args.batch as usize));
    progress.finish_and_clear();
    let counts = &publisher.counts;
    // A failure that sent nothing has said all there is.
    if result.is_ok() || counts.published > 0 || args.json {
        report(out, topic, counts, started.elapsed(), args.json)?;
    }
    if result.is_err() && counts.published > 0 && !args.json {
        let stay = if counts.published == 1 {
            "stays"
        } else {
            "stay"
        };
        note(
            &progress,
            &format!("{} {stay} published; {REPEAT}", events(counts.published)),
        );
    }
    result
}

impl Publisher<'_> {
    fn publish(&mut self, input: &mut Input<'_>, batch_events: usize) -> Result<(), CliError> {
        if let Some(resume) = &mut self.resume {
            while self.counts.skipped < resume.acknowledged()
                && let Some(item) = input.next()?
            {
                resume.pass(&item.json);
                self.counts.skipped += 1;
            }
            resume.check()?;
        }
        let mut batch: Vec<Item> = Vec::with_capacity(batch_events);
        let mut bytes = 0;
        while let Some(item) = input.next()? {
            if !batch.is_empty() && bytes + item.json.len() > BATCH_BYTES_MAX {
                self.send(&mut batch)?;
                bytes = 0;
            }
            bytes += item.json.len() + 1;
            batch.push(item);
            if batch.len() == batch_events {
                self.send(&mut batch)?;
                bytes = 0;
            }
        }
        if batch.is_empty() {
            Ok(())
        } else {
            self.send(&mut batch)
        }
    }

    /// Sends the batch and empties it; tries again what may succeed later.
    fn send(&mut self, batch: &mut Vec<Item>) -> Result<(), CliError> {
        let body = [
            b"[".as_slice(),
            &batch
                .iter()
                .map(|item| &*item.json)
                .collect::<Vec<_>>()
                .join(&b','),
            b"]",
        ]
        .concat();
        let started = Instant::now();
        let mut back_off = BACK_OFF;
        loop {
            let Err(error) = self.client.post(&self.path, CONTENT_TYPE, &body) else {
                break;
            };
            let wait = error.retry_after().unwrap_or(back_off).max(back_off);
            let never_reached =
                self.counts.batches == 0 && matches!(error, ClientError::NoHost { .. });
            let patience = if never_reached {
                self.patience.min(FIRST_CONTACT)
            } else {
                self.patience
            };
            if !error.is_temporary() || started.elapsed() + wait > patience {
                return Err(name_lines(error, batch));
            }
            self.counts.retries += 1;
            let seconds = wait.as_secs_f32();
            note(
                self.progress,
                &format!("{error}; trying again in {seconds:.1} s"),
            );
            pause(wait);
            back_off = (back_off * 2).min(BACK_OFF_MAX);
        }
        self.counts.batches += 1;
        self.counts.published += batch.len() as u64;
        if let Some(resume) = &mut self.resume {
            batch.iter().for_each(|item| resume.pass(&item.json));
        }
        batch.clear();
        let done = self.counts.skipped + self.counts.published;
        self.progress.set_message(events(done));
        self.resume
            .as_mut()
            .map_or(Ok(()), |resume| resume.acknowledge(done))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a back-off is a wait for time itself, on this program's only thread"
)]
fn pause(wait: Duration) {
    std::thread::sleep(wait);
}

/// The host counts events of a batch, a person lines of a file.
fn name_lines(error: ClientError, batch: &[Item]) -> CliError {
    let ClientError::Refused { refusal, .. } = &error else {
        return error.into();
    };
    let reasons: Vec<_> = refusal
        .errors
        .iter()
        .filter_map(|fault| Some((batch.get(fault.index)?.line, printable(&fault.detail))))
        .map(|(line, detail)| format!("line {line}: {detail}"))
        .collect();
    if reasons.is_empty() {
        error.into()
    } else {
        CliError::Input(InputError::Refused(reasons.join("; ")))
    }
}

fn missing_topic(client: &Client) -> CliError {
    let known = match status::topics(client) {
        Ok(topics) if topics.is_empty() => {
            "the host has none yet: add [[topics]] to its config".to_owned()
        }
        Ok(topics) => format!("the host has {}", topics.join(", ")),
        Err(error) => format!("which ones there are is unknown: {error}"),
    };
    CliError::Usage(format!(
        "--topic is missing: events do not carry one; {known}"
    ))
}

fn open_resume(args: &PublishArgs, topic: &str) -> Result<Resume, CliError> {
    if is_stdin(&args.file) {
        return Err(CliError::Usage(
            "--resume needs a file: standard input cannot be read again".to_owned(),
        ));
    }
    let resume = Resume::open(&args.file, topic, args.resume_file.as_deref())?;
    if resume.acknowledged() > 0 && !args.json {
        let done = events(resume.acknowledged());
        note(
            &ProgressBar::hidden(),
            &format!("going on after {done}, acknowledged before; {REPEAT}"),
        );
    }
    Ok(resume)
}

fn events(count: u64) -> String {
    let noun = if count == 1 { "event" } else { "events" };
    format!("{} {noun}", HumanCount(count))
}

fn is_stdin(file: &Path) -> bool {
    file == Path::new("-")
}

/// The input and its length, where it has one.
fn open(file: &Path) -> Result<(Box<dyn Read>, Option<u64>), CliError> {
    if is_stdin(file) {
        return Ok((Box::new(io::stdin().lock()), None));
    }
    let failed = |source| CliError::File {
        what: format!("read {}", file.display()),
        source,
    };
    let opened = File::open(file).map_err(failed)?;
    let meta = opened.metadata().map_err(failed)?;
    if meta.is_dir() {
        let file = file.display();
        return Err(CliError::Usage(format!(
            "{file} is a folder: name a file of CloudEvents in it"
        )));
    }
    Ok((Box::new(opened), meta.is_file().then_some(meta.len())))
}

fn progress_bar(json: bool, bytes: Option<u64>) -> ProgressBar {
    if json || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match bytes {
        Some(bytes) => (
            ProgressBar::new(bytes),
            "{bar:32} {percent:>3}%  {msg}  {elapsed}, {eta} left",
        ),
        None => (ProgressBar::new_spinner(), "{spinner}  {msg}  {elapsed}"),
    };
    bar.with_style(ProgressStyle::with_template(template).expect("the templates above are valid"))
}

/// A line on standard error that leaves the progress bar whole.
fn note(progress: &ProgressBar, text: &str) {
    progress.suspend(|| {
        // Nobody is left to tell when standard error is closed.
        drop(writeln!(io::stderr(), "{text}"));
    });
}

fn report(
    out: &mut dyn Write,
    topic: &str,
    counts: &Counts,
    took: Duration,
    json: bool,
) -> io::Result<()> {
    let Counts {
        published,
        skipped,
        batches,
        retries,
    } = *counts;
    let seconds = took.as_secs_f64();
    if json {
        let counts = json!({
            "topic": topic, "published": published, "skipped": skipped, "batches": batches, "retries": retries,
            "seconds": seconds,
        });
        return writeln!(out, "{counts}");
    }
    let rate = published as f64 / seconds.max(0.001);
    write!(
        out,
        "published {} to {topic} in {seconds:.1} s ({rate:.0}/s)",
        events(published)
    )?;
    if skipped > 0 {
        write!(out, ", skipped {} acknowledged before", HumanCount(skipped))?;
    }
    if retries > 0 {
        write!(out, ", tried {retries} times again")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests;
