//! `weir dev`: from the command to the first event that is handled.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use weir_tests::host::{self, Place};
use weir_tests::purchases::{INVOICES, PAYMENTS};
use weir_tests::wait;

use super::load::Shape;
use super::{Budget, Figure};

/// The median of so many commands counts.
const RUNS: usize = 5;
/// Far beyond the budget: a host that is stuck is told as such.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn measure(root: &Path) -> anyhow::Result<Vec<Figure>> {
    let folder = root.join("target/bench-dev");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    let place = Place::new(&host::binary()?, &folder, &[], "")?;
    let billing = root.join("target/guests/billing");
    // The first one compiles the component; what follows finds it compiled, as a host does after its first start.
    let cold = first_event(&place, &billing, 0)?;
    let warm = (1..=RUNS).map(|run| first_event(&place, &billing, run));
    let mut warm = warm.collect::<anyhow::Result<Vec<_>>>()?;
    warm.sort_unstable();
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let budget = Budget::AtMost(2_000.0);
    Ok(vec![
        Figure::new(
            "dev_first_event_ms",
            ms(warm[RUNS / 2]),
            "ms",
            &budget,
            None,
        ),
        Figure::limit("dev_first_event_cold_ms", ms(cold), "ms"),
    ])
}

/// From the command until the first emission is durable. The event is sent as soon as the host is ready.
fn first_event(place: &Place, handler: &Path, run: usize) -> anyhow::Result<Duration> {
    let mut command = place.weir(&["dev", "--config"]);
    command.arg(place.config()).arg("--data").arg(place.data());
    command.arg(handler);
    let started = Instant::now();
    let running = place.start_command(command)?;
    let client = running.client();
    let answer = client.publish(INVOICES, &[Shape::USUAL.event(run)])?;
    anyhow::ensure!(
        answer.status == 202,
        "the event was refused: {}",
        answer.body
    );
    let emitted = run as u64 + 1;
    wait::until("the first emission", PATIENCE, || {
        Ok((client.records(PAYMENTS)? == emitted).then_some(()))
    })?;
    let time = started.elapsed();
    running.drain()?;
    Ok(time)
}
