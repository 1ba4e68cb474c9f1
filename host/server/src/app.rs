//! From a configuration to a running host and back: build, run, drain.

use std::any::Any;
use std::io::ErrorKind;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weir_core::partition::Partition;
use weir_wasm::{Component, Sandbox, SandboxConfig};

use crate::admin::HostAdmin;
use crate::alarm::Alarms;
use crate::bus::{Assignment, Bus};
use crate::config::{Config, Faults, Tls, TlsFault};
use crate::data_dir::DataDir;
use crate::dev::{Redeployment, Running, Watch};
use crate::embedded::{Embedded, EmbeddedConfig, RegisterError};
use crate::handlers::{self, Deployment, Handlers};
use crate::http::{self, BindError, HttpConfig, HttpServer};
use crate::jobs::Jobs;
use crate::kafka::Kafka;
use crate::ledger::Ledger;
use crate::pipeline::{self, Subscription};
use crate::status::{BEAT_EVERY, HostStatus, LOOK_EVERY, SubscriptionStatus, Watchdog};
use crate::topics;

/// How long a stop may take before what is left is given up; uncommitted events run again at the next start.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(25);
/// Between sweeps by retention.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// A client that takes longer for the head of a request is not one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Exit code after a second signal, as shells say it of an interrupt.
const INTERRUPTED: i32 = 130;

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
    host(config, data, true)
}

fn host(config: Config, data: PathBuf, watching: bool) -> anyhow::Result<()> {
    if watching && config.kafka.is_some() {
        let message =
            "`weir dev` works on a store of its own: take the section away, or use `weir run`";
        return Err(Faults(vec![config.fault("kafka", message)]).into());
    }
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
        let mut components = load(&sandbox, &deployments).await?;
        let path = match config.kafka {
            None => data_dir.store_path(),
            Some(_) => data_dir.copy_path(),
        };
        let store = Embedded::open(&path, store_config(&config))?;
        let seams = Seams::new(&config, &data_dir, &store)?;
        let end = loop {
            let deployed = deployments.clone();
            let app = App::build(
                &config,
                &data_dir,
                &store,
                &seams,
                deployments,
                components,
                workers.handle(),
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
                });
                Box::pin(watch.next())
            } else {
                Box::pin(std::future::pending())
            };
            match app.run(&workers, next).await? {
                End::Stopped => break Ok(()),
                End::Redeploy(next) => (deployments, components) = next,
            }
        };
        tokio::task::spawn_blocking(move || store.close())
            .await
            .context("close the store")?;
        tracing::info!("stopped");
        end
    });
    workers.shutdown_background();
    result
}

/// What events come from and go to, and where units are committed.
struct Seams {
    bus: Arc<dyn Bus>,
    ledger: Arc<dyn Ledger>,
}

impl Seams {
    fn new(config: &Config, data_dir: &DataDir, store: &Embedded) -> anyhow::Result<Self> {
        let Some(cluster) = &config.kafka else {
            return Ok(Self {
                bus: Arc::new(store.clone()),
                ledger: Arc::new(store.clone()),
            });
        };
        let host_id = config.host_id.as_deref().unwrap_or(data_dir.host_id());
        let kafka = Kafka::connect(cluster, host_id, store.clone())?;
        tracing::info!(bootstrap = %cluster.bootstrap, host_id, "connected to Kafka");
        Ok(Self {
            bus: Arc::new(kafka.clone()),
            ledger: Arc::new(kafka),
        })
    }
}

/// Why an [`App`] ended.
enum End {
    /// It was asked to.
    Stopped,
    /// These handlers are to run in its place, on the same store.
    Redeploy(Redeployment),
}

fn runtime(name: &str) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .thread_name(name)
        .build()
        .context("start the runtime")
}

/// The handlers of one time; they change only when another follows it.
struct App {
    config: Arc<Config>,
    store: Embedded,
    bus: Arc<dyn Bus>,
    handlers: Arc<Handlers>,
    subscriptions: Vec<Arc<Subscription>>,
    jobs: Arc<Jobs>,
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
        workers: &Handle,
    ) -> anyhow::Result<Self> {
        let bus = Arc::clone(&seams.bus);
        ensure_topics(&*bus, config, &deployments)?;
        let all = deployments.clone();
        if deployments.is_empty() {
            warn_of_no_handlers(config);
        }
        let alarms = Arc::new(Alarms::default());
        let handlers = Arc::new(Handlers::default());
        let subscriptions =
            subscriptions(store, seams, deployments, components, &handlers, &alarms)?;
        let jobs = Arc::new(Jobs::load(store, &subscriptions)?);
        let admin = HostAdmin {
            jobs: Arc::clone(&jobs),
            workers: workers.clone(),
            steering: Arc::default(),
            data_dir: Arc::clone(data_dir),
            store: store.clone(),
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
        ));
        let server = HttpServer::bind(
            http_config(config)?,
            Arc::clone(&bus),
            Arc::clone(&status) as _,
            Arc::new(admin),
        )
        .await
        .map_err(|error| refused_address(config, &error))?;
        Ok(Self {
            config: Arc::clone(config),
            store: store.clone(),
            bus,
            handlers,
            subscriptions,
            jobs,
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
        let (intake, partitions) = (CancellationToken::new(), CancellationToken::new());
        let pipelines = TaskTracker::new();
        let count = self
            .subscriptions
            .iter()
            .map(|one| one.deployment.partitions(&*self.bus) as usize)
            .sum::<usize>();
        for subscription in &self.subscriptions {
            let serving = serve(
                Arc::clone(subscription),
                Arc::clone(&self.config),
                count,
                partitions.clone(),
                pipelines.clone(),
                workers.handle().clone(),
            );
            pipelines.spawn_on(essential(serving), workers.handle());
        }
        pipelines.spawn_on(
            essential(beat(Arc::clone(&self.status), partitions.clone())),
            workers.handle(),
        );
        let scheme = if self.config.http.tls.is_some() {
            "https"
        } else {
            "http"
        };
        tracing::info!(url = %format!("{scheme}://{}", self.server.local_addr()), "listening");
        let others = TaskTracker::new();
        let serving = others.spawn(essential(self.server.run(intake.clone())));
        others.spawn(essential(sweep(self.store.clone(), intake.clone())));
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
            self.jobs.close().await;
            partitions.cancel();
            pipelines.close();
            pipelines.wait().await;
            others.wait().await;
        };
        tokio::select! {
            () = drain => {}
            () = tokio::time::sleep(DRAIN_DEADLINE) => {
                tracing::warn!("the drain deadline has passed: what was not committed runs again at the next start");
                // What still runs may not meet another machine of its partition.
                return Ok(End::Stopped);
            }
            () = signals.next() => std::process::exit(INTERRUPTED),
        }
        Ok(end)
    }
}

/// Puts all components into one table, and makes the subscriptions of those that read topics, which obey what operators
/// commanded before.
fn subscriptions(
    store: &Embedded,
    Seams { bus, ledger }: &Seams,
    deployments: Vec<Deployment>,
    components: Vec<Component>,
    handlers: &Arc<Handlers>,
    alarms: &Arc<Alarms>,
) -> anyhow::Result<Vec<Arc<Subscription>>> {
    let mut subscriptions = Vec::new();
    for (deployment, component) in deployments.into_iter().zip(components) {
        let digest = component.digest().to_owned();
        handlers.deploy(Arc::clone(&deployment.scope.group), component);
        if deployment.manifest.topics.is_empty() {
            // Another handler's fallback: it is called and has no cursor.
            continue;
        }
        match store.register_subscription(&deployment.scope) {
            // It is refused by name when it joins, and the others run.
            Ok(()) | Err(RegisterError::Partitions { .. }) => {}
            Err(error @ RegisterError::Topics { .. }) => return Err(error.into()),
        }
        let gate = Arc::new(deployment.gate());
        let status = Arc::new(SubscriptionStatus::new(
            deployment.clone(),
            &digest,
            deployment.partitions(&**bus),
            Arc::clone(&gate),
            Arc::clone(alarms),
        ));
        let subscription = Arc::new(Subscription {
            handlers: Arc::clone(handlers),
            bus: Arc::clone(bus),
            ledger: Arc::clone(ledger),
            gate,
            status,
            deployment,
        });
        subscription.steer(store.steering(&subscription.deployment.scope)?);
        subscriptions.push(subscription);
    }
    Ok(subscriptions)
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

/// Joins the subscription and serves the partitions it is given.
pub(crate) async fn serve(
    subscription: Arc<Subscription>,
    config: Arc<Config>,
    partitions: usize,
    stop: CancellationToken,
    tasks: TaskTracker,
    workers: tokio::runtime::Handle,
) {
    let scope = &subscription.deployment.scope;
    let mut membership = match subscription.bus.subscribe(&scope.group, &scope.topics) {
        Ok(membership) => membership,
        Err(error) => return subscription.status.refuse(&error),
    };
    let digest = subscription
        .handlers
        .component(&scope.group)
        .map(|live| live.digest().to_owned());
    let digest = digest.unwrap_or_default();
    let mut owned = std::collections::HashMap::new();
    loop {
        let assignment = tokio::select! {
            () = stop.cancelled() => return,
            assignment = membership.next() => assignment,
        };
        match assignment {
            None => return,
            Some(Assignment::Refused(error)) => {
                owned.values().for_each(CancellationToken::cancel);
                return subscription.status.refuse(&error);
            }
            Some(Assignment::Settled) => subscription.status.settle(),
            Some(Assignment::Revoked { partition }) => {
                subscription.status.release(partition);
                if let Some(stop) = owned.remove(&partition) {
                    CancellationToken::cancel(&stop);
                }
            }
            Some(Assignment::Assigned {
                partition,
                epoch,
                reader,
            }) => {
                subscription.status.own(partition);
                let machine = subscription
                    .deployment
                    .machine(&config, &digest, partition, partitions);
                let make = move |restore| Partition::new(machine, epoch, restore);
                let stop = stop.child_token();
                owned.insert(partition, stop.clone());
                let subscription = Arc::clone(&subscription);
                let status = Arc::clone(&subscription.status);
                let stopped = move |why| status.stop(format!("partition {partition}: {why}"));
                let pipeline = async move {
                    let run =
                        pipeline::run(Arc::clone(&subscription), partition, reader, make, stop)
                            .await;
                    if let Err(error) = run {
                        subscription.status.fail(partition, &error);
                    }
                };
                tasks.spawn_on(supervise(pipeline, stopped), &workers);
            }
        }
    }
}

/// Runs a task without which the host would look alive and do nothing: its panic ends the process, which loses nothing
/// that was acknowledged.
async fn essential(task: impl Future<Output = ()>) {
    if AssertUnwindSafe(task).catch_unwind().await.is_err() {
        std::process::abort();
    }
}

/// Runs the pipeline of one partition. A panic in it is a fault of ours that must not be lost with the task: the
/// partition would stand still while everything says that it runs. The other handlers go on.
async fn supervise(pipeline: impl Future<Output = ()>, stopped: impl FnOnce(String)) {
    if let Err(panic) = AssertUnwindSafe(pipeline).catch_unwind().await {
        let why = format!(
            "a fault of the host ({}): start it again, and report this",
            panic_message(&*panic)
        );
        tracing::error!(why, "a pipeline panicked");
        stopped(why);
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

fn sandbox(data_dir: &DataDir, threads: usize) -> anyhow::Result<Sandbox> {
    let sandbox = Sandbox::new(SandboxConfig {
        cache_dir: data_dir.cache_path(),
        cache_key: *data_dir.cache_key(),
        compiler: std::env::current_exe()
            .context("find this program, which is also the compiler of components")?,
        compiler_args: vec!["compile-component".into()],
        component_bytes_max: SandboxConfig::COMPONENT_BYTES_MAX,
        memory_bytes_ceiling: SandboxConfig::MEMORY_BYTES_CEILING,
        threads,
    })?;
    Ok(sandbox)
}

/// Compiles or loads all components; all faults at once.
async fn load(sandbox: &Sandbox, deployments: &[Deployment]) -> Result<Vec<Component>, Faults> {
    let mut faults = Faults::default();
    let mut components = Vec::new();
    for deployment in deployments {
        let start = Instant::now();
        match deployment.load(sandbox).await {
            Ok(component) => {
                let manifest = &deployment.manifest;
                let ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                let digest = component.digest();
                tracing::info!(handler = %manifest.name, version = %manifest.version, %digest, ms, "handler loaded");
                components.push(component);
            }
            Err(more) => faults.0.extend(more.0),
        }
    }
    faults.check()?;
    Ok(components)
}

fn warn_of_no_handlers(config: &Config) {
    let folders = config.handlers.iter();
    let folders: Vec<_> = folders.map(|folder| folder.display().to_string()).collect();
    tracing::warn!(
        folders = folders.join(", "),
        "no handlers: events are taken and wait for one; put a folder with a handler.toml below one of these"
    );
}

/// Makes the topics that are missing, unless anything about their numbers of partitions is wrong.
fn ensure_topics(bus: &dyn Bus, config: &Config, deployments: &[Deployment]) -> anyhow::Result<()> {
    let existing = |name: &str| bus.topic(name).map(|topic| topic.partitions);
    for topic in topics::plan(&existing, config, deployments)? {
        bus.ensure_topic(&topic.name, topic.partitions)?;
    }
    Ok(())
}

/// Shows that the runtime it runs on works.
async fn beat(status: Arc<HostStatus>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        status.beat();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(BEAT_EVERY) => {}
        }
    }
}

async fn watch(status: Arc<HostStatus>, stop: CancellationToken) {
    let mut watchdog = Watchdog::new(status);
    while !stop.is_cancelled() {
        watchdog.look(Instant::now());
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

async fn sweep(store: Embedded, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        let store = store.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || store.sweep_retention()).await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the sweep by retention failed"
            );
        }
    }
}

fn store_config(config: &Config) -> EmbeddedConfig {
    EmbeddedConfig {
        retention_age: config.retention.age,
        retention_bytes_per_partition: Some(config.retention.bytes),
        ..EmbeddedConfig::default()
    }
}

fn http_config(config: &Config) -> Result<HttpConfig, Faults> {
    let http = &config.http;
    Ok(HttpConfig {
        listen: http.listen,
        names: http.names.clone(),
        environment: config.environment.clone(),
        domain: config.domain.clone(),
        tls: http
            .tls
            .as_ref()
            .map(|files| tls(config, files))
            .transpose()?,
        tokens: http
            .tokens
            .iter()
            .map(|token| http::Token {
                secret: token.secret.expose().to_owned(),
                tenant: token.tenant.as_str().into(),
                admin: token.admin,
            })
            .collect(),
        open_metrics: http.open_metrics,
        event_bytes_max: http.limits.event_bytes,
        body_bytes_max: http.limits.body_bytes,
        batch_events_max: http.limits.batch_events,
        connections_max: http.limits.connections,
        head_timeout: HEAD_TIMEOUT,
        request_timeout: http.limits.request_timeout,
    })
}

fn tls(config: &Config, files: &Tls) -> Result<Arc<rustls::ServerConfig>, Faults> {
    let fault = |fault: TlsFault| config.fault(format!("http.tls.{}", fault.key), fault.message);
    files
        .server_config()
        .map_err(|faults| Faults(faults.into_iter().map(fault).collect()))
}

/// The address is one more thing of the configuration that can be wrong.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest have no remedy of their own"
)]
fn refused_address(config: &Config, error: &BindError) -> Faults {
    let remedy = match error.source.kind() {
        ErrorKind::AddrInUse => "another program listens there: end it, or write another port",
        ErrorKind::AddrNotAvailable => "this machine has no such address: write one that it has",
        ErrorKind::PermissionDenied => "ports below 1024 are the system's: write a higher one",
        _ => "write another address",
    };
    let message = format!("{}: {remedy} ({})", error.address, error.source);
    Faults(vec![config.fault("http.listen", message)])
}

#[cfg(test)]
mod tests;
