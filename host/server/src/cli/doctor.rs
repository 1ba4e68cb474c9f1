//! `weir doctor`: what is wrong with a data directory, and how to go on.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use super::{CliError, load_config, table};
use crate::data_dir::{DataDir, DataDirError};
use crate::embedded::doctor::{self, Examination, Finding, Verdict};

/// Arguments of `weir doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Data directory, of which no host runs; else `data` of the configuration, else ./weir-data
    #[arg(value_name = "DIR", env = "WEIR_DATA")]
    data: Option<PathBuf>,
    /// Configuration; without it ./weir.toml when there is one, else the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Go on with what is left where that can be done: what was acknowledged after it is lost, the damaged store is kept
    #[arg(long)]
    accept_loss: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DoctorArgs, out: &mut dyn Write) -> Result<(), CliError> {
    let path = load_config(args.config.as_deref())?.data_dir(args.data.clone());
    let examination = match DataDir::open_existing(&path) {
        Ok(data_dir) => doctor::examine(&data_dir.store_path(), args.accept_loss)
            .map_err(|error| CliError::Data(super::chain(&error).into()))?,
        Err(error) => match &error {
            DataDirError::Damaged { path } => of_own_file(path.clone(), error.to_string()),
            DataDirError::InUse { .. }
            | DataDirError::Format { .. }
            | DataDirError::Foreign { .. }
            | DataDirError::Absent { .. }
            | DataDirError::Io { .. } => return Err(error.into()),
        },
    };
    if args.json {
        let text = serde_json::to_string(&examination).expect("texts and numbers serialise");
        writeln!(out, "{text}")?;
    } else {
        show(&examination, &path.display().to_string(), out)?;
    }
    match (&examination.verdict, &examination.kept) {
        (Verdict::Sound, _) | (Verdict::CanGoOn, Some(_)) => Ok(()),
        (Verdict::CanGoOn, None) | (Verdict::Restore, _) => Err(CliError::Unsound),
    }
}

/// A file beside the store; its error says what to do.
fn of_own_file(file: PathBuf, what: String) -> Examination {
    Examination {
        findings: vec![Finding {
            file,
            at: None,
            what,
        }],
        loss: None,
        verdict: Verdict::Restore,
        kept: None,
    }
}

fn show(examination: &Examination, path: &str, out: &mut dyn Write) -> Result<(), CliError> {
    let row = |finding: &Finding| {
        let at = finding.at.map_or_else(String::new, |at| at.to_string());
        vec![finding.file.display().to_string(), at, finding.what.clone()]
    };
    if !examination.findings.is_empty() {
        let rows: Vec<_> = examination.findings.iter().map(row).collect();
        table::write(out, &["damaged", "from byte", "what"], &rows)?;
        writeln!(out)?;
    }
    if let Some(loss) = &examination.loss {
        let time = |ms: Option<u64>| ms.map_or_else(|| "a time that is not known".to_owned(), time);
        let writes = loss
            .writes
            .map_or_else(String::new, |count| format!("; {count} changes are lost"));
        writeln!(
            out,
            "what is left is the store as it was after its event of {}; it was last acknowledged at {}{writes}",
            time(loss.kept_until_ms),
            time(loss.acknowledged_until_ms)
        )?;
    }
    match (&examination.verdict, &examination.kept) {
        (Verdict::Sound, _) => writeln!(out, "{path} is sound: all of it was read")?,
        (Verdict::CanGoOn, Some(kept)) => writeln!(
            out,
            "the store is what was left; as it was it is kept in {}. Start the host, and let producers send again what \
             they sent since: repeats are dropped. Handlers emit again, under the same ids, what they emitted since.",
            kept.display()
        )?,
        (Verdict::CanGoOn, None) => writeln!(
            out,
            "how to go on: restore a backup (`weir restore`), or go on with what is left by `weir doctor {path} \
             --accept-loss`, which keeps the damaged store beside it"
        )?,
        (Verdict::Restore, _) => writeln!(
            out,
            "how to go on: what is said above, or restore a backup (`weir restore`); what is left of such a store is no \
             moment of it, so it cannot be gone on with"
        )?,
    }
    Ok(())
}

fn time(ms: u64) -> String {
    let millis = i64::try_from(ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis)
        .unwrap_or_default()
        .to_string()
}
