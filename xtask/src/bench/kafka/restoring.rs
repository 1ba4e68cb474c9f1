//! How long a host takes for a partition with a million ids in its inbox: from the whole changelog, and from its own copy.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use weir_tests::host::{self, Host, Place};
use weir_tests::wait;

use super::{Bench, Figure, figures_of};
use crate::cargo;

/// As many as the inbox of a partition keeps.
const IDS: u64 = 1_000_000;
/// For a host that is ready to say how many it has.
const COUNTED: Duration = Duration::from_secs(10);
/// The topics of a handler without state under its names in an environment of its own.
const ENVIRONMENT: &str = "restored";
const GROUP: &str = "weir.restored.default.stateless";
const INPUT: &str = "restored.local.public.scripts.v1";
const OUTPUT: &str = "restored.local.public.deeds.v1";

pub(super) fn measure(bench: &Bench<'_>, folder: &Path) -> anyhow::Result<Vec<Figure>> {
    let ids = IDS.to_string();
    eprintln!("writing {ids} events into one partition");
    let fill = ["fill", &ids, INPUT, OUTPUT, "--partition", "0"];
    cargo::run(bench.command(&fill))?;
    let handlers = host::handlers(bench.root, &["stateless"])?;
    let place = Place::in_environment(
        &host::binary()?,
        folder,
        &handlers,
        ENVIRONMENT,
        &bench.config(),
    )?;
    let watch = bench.command(&["watch", GROUP, INPUT, OUTPUT]);
    let watched = std::thread::spawn(move || figures_of(watch));
    let running = place.start()?;
    let watched = watched.join().expect("it does not panic");
    watched.with_context(|| place.end_of_log())?;
    running.drain()?;

    let from_checkpoint = restart(&place, "checkpoint")?;
    fs::remove_dir_all(place.data().join("copy")).context("remove the local copy")?;
    let from_log = restart(&place, "log")?;
    Ok(vec![
        Figure::limit("kafka_restore_1m_ms", from_log, "ms"),
        Figure::limit("kafka_restore_1m_checkpoint_ms", from_checkpoint, "ms"),
    ])
}

/// Milliseconds in which a host that starts here has the partition's ledger in its copy, and then in memory.
fn restart(place: &Place, from: &str) -> anyhow::Result<f64> {
    let before = fs::read_to_string(place.log())?.len();
    let mut command = place.run_command();
    command.env("WEIR_LOG", "info,weir=debug");
    let running: Host = place.start_command(command)?;
    // A host that has forgotten some is not fast.
    wait::until("all ids to be restored", COUNTED, || {
        let status = running.client().status()?;
        let ids = &status["handlers"][0]["inbox_ids"];
        anyhow::ensure!(*ids == IDS, "{ids} of {IDS} from its {from}");
        Ok(Some(()))
    })?;
    let log = fs::read_to_string(place.log())?;
    running.drain()?;
    let line = |what: &str| {
        let mut lines = log[before..].lines();
        let found = lines.find(|line| line.contains(what) && line.contains(" partition=0 "));
        found.with_context(|| format!("the log of {} has no {what:?}", place.log().display()))
    };
    let restored = line("ledger restored")?;
    anyhow::ensure!(
        restored.contains(&format!(" from=\"{from}\" ")),
        "not restored from its {from}: {restored}"
    );
    Ok(milliseconds(restored)? + milliseconds(line("ledger read")?)?)
}

fn milliseconds(line: &str) -> anyhow::Result<f64> {
    let mut fields = line.split(' ');
    let value = fields.find_map(|field| field.strip_prefix("ms=")?.parse().ok());
    value.with_context(|| format!("no milliseconds: {line}"))
}
