//! `cargo xtask demo`: purchases through two handlers, a SIGKILL in the middle, everything published again, every total
//! compared with sums that were computed without the host.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::host::{self, Place};
use weir_tests::http::Client;
use weir_tests::publisher::Publisher;
use weir_tests::purchases::{self, INVOICES, NOTIFICATIONS, PAYMENTS, Totals, dollars, grouped};

use crate::{cargo, guests, machine};

/// Small, so that the kill falls between many acknowledgements.
const BATCH: usize = 16;
/// For all handlers to finish what was published.
const SETTLE: Duration = Duration::from_secs(120);

/// One line of the table.
struct Row {
    what: String,
    found: String,
    right: String,
}

/// True when every total is right.
pub(crate) fn run(root: &Path) -> anyhow::Result<bool> {
    step(
        "preparing: a first build takes about 20 minutes on two cores, most of it for the store and the Wasm runtime",
    );
    machine::prepare()?;
    guests::build(root)?;
    let handlers = host::handlers(root, &["billing", "notification"])?;
    cargo::build_host(root)?;

    let folder = root.join("target/demo");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("remove the last run's {}", folder.display()))?;
    }
    let weir = host::binary()?;
    let place = Place::new(&weir, &folder, &handlers, "")?;
    let sample = purchases::sample(root);
    let lines = Arc::new(purchases::lines(&sample)?);
    let right = purchases::totals(&lines)?;

    step(&format!("starting a host in {}", folder.display()));
    let running = place.start()?;

    step(&format!(
        "publishing {} purchases, SIGKILL in the middle",
        grouped(right.events)
    ));
    let publisher = Publisher::spawn(place.client(), INVOICES, Arc::clone(&lines), BATCH);
    publisher.wait_for(lines.len() / 2)?;
    running.kill()?;
    let killed = Instant::now();
    let running = place.start()?;
    eprintln!(
        "   killed; ready again after {:.1} s; the producer sends again what was not acknowledged",
        killed.elapsed().as_secs_f64()
    );
    publisher.finish()?;
    running.client().settle(SETTLE)?;
    let duplicates_before = running.client().fate("billing", "duplicate")?;

    step("publishing all of them once more: the inbox has to know every one");
    let url = running.client().url();
    let status = place
        .weir(&["publish", "--topic", INVOICES, "--url", &url])
        .arg(&sample)
        .status()
        .context("start weir publish")?;
    anyhow::ensure!(status.success(), "weir publish ended with {status}");
    running.client().settle(SETTLE)?;
    let duplicates = running.client().fate("billing", "duplicate")? - duplicates_before;

    let mut rows = vec![Row::new(
        "duplicates dropped",
        grouped(duplicates),
        grouped(right.events),
    )];
    rows.extend(compare(running.client(), &right)?);
    let ended = running.drain()?;
    rows.push(Row::new(
        "host after SIGTERM",
        ended.to_string(),
        "exit status: 0".to_owned(),
    ));
    Ok(print(&rows, root, &weir, &folder, &url))
}

/// Reads back what both handlers emitted.
fn compare(client: &Client, right: &Totals) -> anyhow::Result<Vec<Row>> {
    let payments = purchases::emitted(client, PAYMENTS).context("what billing emitted is wrong")?;
    let notifications =
        purchases::emitted(client, NOTIFICATIONS).context("what notification emitted is wrong")?;
    let mut rows = vec![
        Row::new("payments", grouped(payments.events), grouped(right.events)),
        Row::new(
            "notifications",
            grouped(notifications.events),
            grouped(right.events),
        ),
        Row::new(
            "customers",
            grouped(payments.customers.len() as u64),
            grouped(right.customers.len() as u64),
        ),
        Row::new("dollars", dollars(payments.cents()), dollars(right.cents())),
        Row::new(
            "dollars announced",
            dollars(notifications.cents()),
            dollars(right.cents()),
        ),
    ];
    let best = |totals: &Totals| -> Vec<String> {
        totals
            .best()
            .iter()
            .map(|(name, cents, count)| format!("{name}: {} in {count}", dollars(*cents)))
            .collect()
    };
    let (found, right) = (best(&payments), best(right));
    for (place, right) in right.into_iter().enumerate() {
        let found = found.get(place).cloned().unwrap_or_default();
        rows.push(Row::new(
            &format!("best customer {}", place + 1),
            found,
            right,
        ));
    }
    Ok(rows)
}

impl Row {
    fn new(what: &str, found: String, right: String) -> Self {
        Self {
            what: what.to_owned(),
            found,
            right,
        }
    }

    fn is_right(&self) -> bool {
        self.found == self.right
    }
}

fn print(rows: &[Row], root: &Path, weir: &Path, folder: &Path, url: &str) -> bool {
    println!("\n{:<20} {:>26} {:>26}", "", "found", "right");
    for row in rows {
        println!(
            "{:<20} {:>26} {:>26}  {}",
            row.what,
            row.found,
            row.right,
            if row.is_right() { "ok" } else { "WRONG" }
        );
    }
    let right = rows.iter().all(Row::is_right);
    println!(
        "\n{}",
        if right {
            "Every total is right."
        } else {
            "Totals are wrong: the log of the host is host.log in the folder below."
        }
    );
    let shown = |path: &Path| {
        path.strip_prefix(root)
            .unwrap_or(path)
            .display()
            .to_string()
    };
    let (weir, folder) = (shown(weir), shown(folder));
    println!("\nWhere to look next:");
    println!("  {weir} run --config {folder}/weir.toml --data {folder}/data");
    println!("  {weir} tail {PAYMENTS} --url {url}");
    println!("  plugins/billing    the handler that did it");
    println!("  README.md          a handler of your own in five minutes");
    println!("  ARCHITECTURE.md    the life of an event");
    right
}

fn step(text: &str) {
    eprintln!("\n== {text}");
}
