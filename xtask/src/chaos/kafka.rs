//! `cargo xtask chaos --kafka`: a fleet of three hosts on brokers of its own, disturbed in every way for some minutes.

use std::path::Path;
use std::time::{Duration, Instant};

use weir_tests::host::{self, Place};
use weir_tests::kafka::chaos::{self, Fleet, Plan, Size};
use weir_tests::kafka::{self, Cluster, Missing};
use weir_tests::ports;

use super::{Order, any_seed, fresh};

const HOSTS: [&str; 3] = ["a", "b", "c"];
const PARTITIONS: u64 = 12;
/// What a fleet of three on two cores keeps up with, between its disturbances.
const SIZE: Size = Size {
    keys: 20_000,
    events: 200_000,
    events_per_s: 1_000,
};

/// Disturbs the fleet so long; what went wrong is the error.
pub(super) fn run(root: &Path, order: &Order) -> anyhow::Result<bool> {
    let missing = |Missing(why)| anyhow::anyhow!("there is no Kafka to run on: {why}");
    let libraries = kafka::libraries(root).map_err(missing)?;
    let folder = fresh(&root.join("target/chaos-kafka"))?;
    let ports: Vec<_> = (0..order.brokers)
        .map(|_| ports::next())
        .collect::<anyhow::Result<_>>()?;
    let mut cluster = Cluster::new(&libraries, &folder, &ports)?;
    cluster.start_all()?;
    let handlers = host::handlers(root, &["scripted"])?;
    let config = format!("[kafka]\nbootstrap = \"{}\"\n", cluster.bootstrap());
    let place = |name: &&str| Place::new(&host::binary()?, &folder.join(name), &handlers, &config);
    let places: Vec<_> = HOSTS.iter().map(place).collect::<anyhow::Result<_>>()?;
    let seed = order.seed.map_or_else(any_seed, Ok)?;
    let (minutes, brokers) = (order.minutes, order.brokers);
    eprintln!(
        "{minutes} minutes, {brokers} brokers, seed {seed}; all logs are in {}",
        folder.display()
    );
    let fleet = Fleet {
        cluster: &mut cluster,
        places: &places,
        orders: "dev.local.public.scripts.v1",
        deeds: "dev.local.public.deeds.v1",
        letters: "dlq.weir.dev.default.scripted.dev.local.public.scripts.v1",
        partitions: PARTITIONS,
    };
    let (started, plan) = (Instant::now(), Plan::For(Duration::from_mins(minutes)));
    let report = chaos::run(fleet, plan, SIZE, seed, |progress| {
        eprintln!(
            "{:>6} s  {:<8} all ready again after {:>5.1} s, {:>9} events",
            started.elapsed().as_secs(),
            format!("{:?}", progress.what).to_lowercase(),
            progress.took.as_secs_f64(),
            progress.events
        );
    })?;
    if order.json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        println!("\n{report}");
    }
    drop(cluster);
    std::fs::remove_dir_all(&folder)?;
    Ok(true)
}
