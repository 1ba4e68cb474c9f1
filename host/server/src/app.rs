//! From a configuration to a running host and back: build, run, drain.

mod background;
mod loading;
mod settings;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_wasm::Component;

use self::background::{Pipelines, announce, beat, drain, essential, forget, obey, sweep, watch};
use self::loading::{
    check_topics, ensure_topics, load, sandbox, subscriptions, warn_of_no_handlers,
};
use crate::admin::HostAdmin;
use crate::alarm::Alarms;
use crate::bus::Bus;
use crate::config::{Config, CreateTopics, Faults};
use crate::data_dir::DataDir;
use crate::dev::{Redeployment, Running, Watch};
use crate::draining::Draining;
use crate::embedded::Embedded;
use crate::exit;
use crate::fleet::Fleet;
use crate::handlers::{self, Deployment, Handlers};
use crate::http::HttpServer;
use crate::jobs::Jobs;
use crate::kafka::{ConnectError, Connection, Identity, Kafka};
use crate::ledger::Ledger;
use crate::names;
use crate::orders::Orders;
use crate::pipeline::Subscription;
use crate::serving::{self, Serving};
use crate::status::HostStatus;
use crate::versions::Versions;

/// How long a stop may take before what is left is given up; uncommitted events run again at the next start.
pub const STOP_DEADLINE: Duration = Duration::from_secs(25);
/// The last part of it is for the store.
const CLOSE_DEADLINE: Duration = Duration::from_secs(5);
/// The first is for all else.
const DRAIN_DEADLINE: Duration = STOP_DEADLINE.saturating_sub(CLOSE_DEADLINE);
/// Exit code after a second signal, as shells say it of an interrupt.
const INTERRUPTED: u8 = 130;

/// Runs a host until it is asked to stop.
///
/// # Errors
/// What keeps it from starting: [`Faults`] of configuration, manifests and components, or of the data directory.
pub fn run(config: Config, data: PathBuf) -> anyhow::Result<()> {
    host(config, data, false)
}

/// Runs a host that follows changes of its handlers' folders.
///
/// # Errors
/// As [`run`] has them, of the start; what changes later and does not work is told and not taken.
pub fn run_watching(config: Config, data: PathBuf) -> anyhow::Result<()> {
    if config.kafka.is_some() {
        let message =
            "`weir dev` works on a store of its own: take the section away, or use `weir run`";
        return Err(Faults(vec![config.fault("kafka", message)]).into());
    }
    host(config, data, true)
}

fn host(config: Config, data: PathBuf, watching: bool) -> anyhow::Result<()> {
    let mut since = Instant::now();
    let mut deployments = handlers::deployments(&config)?;
    let data_dir = Arc::new(DataDir::open(&data)?);
    tracing::info!(path = %data_dir.path().display(), "data directory");
    if let Some(warning) = config.insecure_warning() {
        tracing::warn!("{warning}");
    }
    // Handlers burn CPU where neither requests nor signals wait for it.
    let workers = runtime("weir-handler")?;
    let io = runtime("weir-io")?;
    let result = io.block_on(async {
        let config = Arc::new(config);
        let sandbox = Arc::new(sandbox(&data_dir, workers.metrics().num_workers())?);
        let versions = Versions::new(
            data_dir.versions_path(),
            Arc::clone(&config),
            Arc::clone(&sandbox),
        );
        let versions = Arc::new(versions);
        let mut components = load(&sandbox, &deployments).await?;
        let store = Embedded::open(&data_dir.store_path(), settings::store(&config))?;
        data_dir.note_store()?;
        let seams = Seams::new(&config, &data_dir, &store, &deployments)?;
        let end = loop {
            let deployed = deployments.clone();
            for (deployment, component) in deployments.iter().zip(&components) {
                versions.keep(deployment, component.digest());
            }
            let app = App::build(
                &config,
                &data_dir,
                &store,
                &seams,
                deployments,
                components,
                (workers.handle(), &versions),
            )
            .await?;
            let next: BoxFuture<'_, Redeployment> = if watching {
                let watch = Watch::new(Running {
                    config: Arc::clone(&config),
                    sandbox: Arc::clone(&sandbox),
                    deployments: deployed,
                    handlers: Arc::clone(&app.handlers),
                    subscriptions: app.subscriptions.clone(),
                    alarms: Arc::clone(&app.status.alarms),
                    versions: Arc::clone(&versions),
                    since,
                });
                Box::pin(watch.next())
            } else {
                Box::pin(std::future::pending())
            };
            match app.run(&workers, next).await? {
                End::Stopped => break Ok(()),
                End::Redeploy(next) => {
                    since = Instant::now();
                    (deployments, components) = next;
                }
            }
        };
        close(store).await?;
        end
    });
    workers.shutdown_background();
    // A thread that waits for the disk is not waited for.
    io.shutdown_background();
    result
}

/// What events come from and go to, where units are committed and operators' commands kept, and who else there is.
struct Seams {
    bus: Arc<dyn Bus>,
    ledger: Arc<dyn Ledger>,
    orders: Arc<dyn Orders>,
    fleet: Arc<Fleet>,
}

impl Seams {
    fn new(
        config: &Config,
        data_dir: &DataDir,
        store: &Embedded,
        deployments: &[Deployment],
    ) -> anyhow::Result<Self> {
        let Some(cluster) = &config.kafka else {
            return Ok(Self {
                bus: Arc::new(store.clone()),
                ledger: Arc::new(store.clone()),
                orders: Arc::new(store.clone()),
                fleet: Arc::new(Fleet::Single),
            });
        };
        let host_id = config.host_id.as_deref().unwrap_or(data_dir.host_id());
        let copy = Embedded::open_copy(&data_dir.copy_path(), settings::store(config))?;
        let scopes: Vec<_> = deployments.iter().map(|one| one.scope.clone()).collect();
        copy.copy_retain(&scopes)?;
        let last_start = data_dir.last_start();
        let identity = Identity {
            environment: &config.environment,
            host_id,
            last_start: last_start.as_deref(),
        };
        let reading = deployments
            .iter()
            .filter(|one| !one.manifest.topics.is_empty());
        let reading = u64::try_from(reading.count()).unwrap_or(u64::MAX);
        let prefetch = config.prefetch_bytes() / reading.max(1);
        let peers = settings::peers(config)?;
        let connection = Connection::open(cluster, host_id, prefetch);
        let connection = connection.map_err(|error| unconnected(config, error))?;
        let Config {
            environment,
            domain,
            ..
        } = config;
        tracing::info!(bootstrap = %cluster.bootstrap, host_id, environment, domain, "connected to Kafka");
        if cluster.create_topics == CreateTopics::Check {
            check_topics(&connection, config, deployments)?;
        }
        let kafka = Kafka::open(connection, cluster, identity, copy, peers)?;
        let (orders, fleet): (Arc<dyn Orders>, _) = match kafka.control() {
            Some(control) => {
                data_dir.note_start(&control.start())?;
                (
                    Arc::new(Arc::clone(control)),
                    Fleet::Shared(Arc::clone(control)),
                )
            }
            None => {
                let topic = names::control_topic(&config.environment);
                let why = format!("the cluster has no topic {topic}");
                (Arc::new(store.clone()), Fleet::Alone(why))
            }
        };
        Ok(Self {
            bus: Arc::new(kafka.clone()),
            ledger: Arc::new(kafka),
            orders,
            fleet: Arc::new(fleet),
        })
    }
}

/// What is wrong with the settings is a fault of the file that has them.
fn unconnected(config: &Config, error: ConnectError) -> anyhow::Error {
    let ConnectError::Settings { key, message } = error else {
        return error.into();
    };
    Faults(vec![config.fault(key, message)]).into()
}

/// Closes the store, unless the disk does not answer.
async fn close(store: Embedded) -> anyhow::Result<()> {
    let close = tokio::task::spawn_blocking(move || store.close());
    match tokio::time::timeout(CLOSE_DEADLINE, close).await {
        Ok(closed) => {
            closed.context("close the store")?;
            tracing::info!("stopped");
        }
        Err(_elapsed) => tracing::warn!(
            "the disk has not answered in time: what it did not answer for runs again at the next start"
        ),
    }
    Ok(())
}

/// Why an [`App`] ended.
enum End {
    /// It was asked to.
    Stopped,
    /// These handlers are to run in its place, on the same store.
    Redeploy(Redeployment),
}

/// A third is for one disk and one compiler, where more of them gain nothing; two thirds may wait for a cluster that does
/// not answer, in calls and loads. Each keeps memory of its own: a thousand partitions that are restored at the start would
/// else take the 512 of the default.
const BLOCKING_THREADS: usize = 24;

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("start the runtime")
}

/// The handlers of one time; they change only when another follows it.
struct App {
    config: Arc<Config>,
    handlers: Arc<Handlers>,
    subscriptions: Vec<Arc<Subscription>>,
    ledger: Arc<dyn Ledger>,
    jobs: Arc<Jobs>,
    draining: Arc<Draining>,
    status: Arc<HostStatus>,
    server: HttpServer,
}

impl App {
    async fn build(
        config: &Arc<Config>,
        data_dir: &Arc<DataDir>,
        store: &Embedded,
        seams: &Seams,
        deployments: Vec<Deployment>,
        components: Vec<Component>,
        (workers, versions): (&Handle, &Arc<Versions>),
    ) -> anyhow::Result<Self> {
        let bus = Arc::clone(&seams.bus);
        ensure_topics(&*bus, config, &deployments)?;
        let all = deployments.clone();
        if deployments.is_empty() {
            warn_of_no_handlers(config);
        }
        let alarms = Arc::new(Alarms::default());
        let handlers = Arc::new(Handlers::default());
        let subscriptions = subscriptions(
            config,
            store,
            seams,
            deployments,
            components,
            &handlers,
            &alarms,
        )?;
        let jobs = Jobs::load(Arc::clone(&seams.orders), &subscriptions).await?;
        let jobs = Arc::new(jobs);
        let draining = Arc::new(Draining::default());
        let admin = HostAdmin {
            jobs: Arc::clone(&jobs),
            workers: workers.clone(),
            versions: Arc::clone(versions),
            steering: Arc::default(),
            data_dir: Arc::clone(data_dir),
            store: store.clone(),
            orders: Arc::clone(&seams.orders),
            bus: Arc::clone(&bus),
            fleet: Arc::clone(&seams.fleet),
            draining: Arc::clone(&draining),
            environment: config.environment.clone(),
            deployments: all,
            subscriptions: subscriptions.clone(),
        };
        let host_id = config.host_id.clone();
        let statuses = subscriptions.iter().map(|one| Arc::clone(&one.status));
        let status = Arc::new(HostStatus::new(
            host_id.unwrap_or_else(|| data_dir.host_id().to_owned()),
            data_dir.path().display().to_string(),
            Arc::clone(&bus),
            store,
            alarms,
            statuses.collect(),
            Arc::clone(&seams.fleet),
        ));
        let server = HttpServer::bind(
            settings::http(config, seams.fleet.secret())?,
            bus,
            Arc::clone(&status) as _,
            Arc::new(admin),
        )
        .await
        .map_err(|error| settings::refused_address(config, &error))?;
        if let Some(url) = config.advertised(server.local_addr().port()) {
            // It listens once.
            status.url.get_or_init(|| url);
        }
        Ok(Self {
            config: Arc::clone(config),
            handlers,
            subscriptions,
            ledger: Arc::clone(&seams.ledger),
            jobs,
            draining,
            status,
            server,
        })
    }

    /// Serves until the host is asked to stop or other handlers are to run, then drains.
    async fn run(
        self,
        workers: &Runtime,
        next: BoxFuture<'_, Redeployment>,
    ) -> anyhow::Result<End> {
        let intake = CancellationToken::new();
        let pipelines = self.serve(workers);
        let scheme = if self.config.http.tls.is_some() {
            "https"
        } else {
            "http"
        };
        tracing::info!(url = %format!("{scheme}://{}", self.server.local_addr()), "listening");
        let others = TaskTracker::new();
        others.spawn_on(
            essential(beat(Arc::clone(&self.status), intake.clone())),
            workers.handle(),
        );
        others.spawn(essential(drain(
            Arc::clone(&self.status),
            self.subscriptions.clone(),
            Arc::clone(&self.draining),
            pipelines.clone(),
            intake.clone(),
        )));
        let known = self.join_fleet(&others, &intake);
        let serving = others.spawn(essential(self.server.run(intake.clone())));
        others.spawn(essential(sweep(Arc::clone(&self.status), intake.clone())));
        let ledger = Arc::clone(&self.ledger);
        others.spawn(essential(forget(ledger, intake.clone())));
        others.spawn(essential(watch(Arc::clone(&self.status), intake.clone())));
        self.jobs.start();
        self.status.ready.store(true, Ordering::Release);

        let mut signals = Signals::new()?;
        let end = tokio::select! {
            () = signals.next() => {
                tracing::info!("stopping: a second signal exits at once");
                End::Stopped
            }
            next = next => End::Redeploy(next),
        };
        self.status.ready.store(false, Ordering::Release);
        intake.cancel();
        others.close();
        let drain = async {
            // Requests that have begun bring their last events; the server bounds how long it waits for them.
            drop(serving.await);
            pipelines.end().await;
            others.wait().await;
            let (stopped, told) = known;
            stopped.cancel();
            told.wait().await;
        };
        tokio::select! {
            () = drain => {}
            () = tokio::time::sleep(DRAIN_DEADLINE) => {
                tracing::warn!("the drain deadline has passed: what was not committed runs again at the next start");
                // What still runs may not meet another machine of its partition.
                return Ok(End::Stopped);
            }
            () = signals.next() => exit::now(INTERRUPTED),
        }
        Ok(end)
    }
}

impl App {
    /// Serves all subscriptions until their end is asked for.
    fn serve(&self, workers: &Runtime) -> Pipelines {
        let pipelines = Pipelines {
            jobs: Arc::clone(&self.jobs),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let serving = Serving {
            config: Arc::clone(&self.config),
            stop: pipelines.stop.clone(),
            tasks: pipelines.tasks.clone(),
            workers: workers.handle().clone(),
        };
        for subscription in &self.subscriptions {
            let served = serving::serve(Arc::clone(subscription), serving.clone());
            pipelines
                .tasks
                .spawn_on(essential(served), workers.handle());
        }
        pipelines
    }

    /// In a fleet: obeys what any of its hosts was commanded, and tells the others of this one. Answers by what it ends that,
    /// last of all, and what to wait for then.
    fn join_fleet(
        &self,
        others: &TaskTracker,
        intake: &CancellationToken,
    ) -> (CancellationToken, TaskTracker) {
        let (stopped, told) = (CancellationToken::new(), TaskTracker::new());
        if let Fleet::Shared(control) = &*self.status.fleet {
            let subscriptions = self.subscriptions.clone();
            let obeyed = obey(Arc::clone(control), subscriptions, intake.clone());
            others.spawn(essential(obeyed));
            let status = Arc::clone(&self.status);
            told.spawn(announce(status, Arc::clone(control), stopped.clone()));
        }
        told.close();
        (stopped, told)
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
