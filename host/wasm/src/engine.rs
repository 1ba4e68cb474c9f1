//! The engine that all handlers of a host share, and its settings.

use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Mutex, Semaphore};
use tracing::warn;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::crowd::Waiting;
use crate::host::{self, Host};
use crate::ticker::Ticker;

/// Stack of a guest. Interpreters in Wasm need more than wasmtime's 512 KiB for nested data; half of the fiber's
/// stack, which also holds the host functions that a guest calls.
const WASM_STACK_BYTES: usize = 1 << 20;
const FIBER_STACK_BYTES: usize = 2 << 20;

/// Dirty memory of a slot that is cleared in place for the next instance instead of given back to the system: what
/// makes a fresh instance cheap.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;

/// Live instances. Each memory reserves 4 GiB of address space, of which 128 TiB exist.
const INSTANCES_MAX: u32 = 2_000;
/// Tried when the address space of the first does not exist (a low `ulimit -v`, a small virtual machine).
const INSTANCES_FEW: u32 = 64;

/// Most components have one table; what has more counts as several instances.
pub(crate) const TABLES_PER_INSTANCE: u32 = 5;

/// Where the sandbox keeps compiled code, how it compiles, and what it accepts.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Folder of compiled components; created when missing.
    pub cache_dir: PathBuf,
    /// Authenticates the files in `cache_dir`. Secret to this data directory: whoever has it runs native code here.
    pub cache_key: [u8; 32],
    /// Program of the compile child, which must end in [`crate::run_compiler`]; usually the running one.
    pub compiler: PathBuf,
    /// Its arguments.
    pub compiler_args: Vec<OsString>,
    /// Larger components are refused.
    pub component_bytes_max: usize,
    /// The most memory that any handler may ask for.
    pub memory_bytes_ceiling: usize,
    /// Threads that attempts run on: so many go on at a time of those that need longer than a tick.
    pub threads: usize,
}

impl SandboxConfig {
    /// Default of `component_bytes_max`.
    pub const COMPONENT_BYTES_MAX: usize = 64 << 20;
    /// Default of `memory_bytes_ceiling`.
    pub const MEMORY_BYTES_CEILING: usize = 256 << 20;
}

/// Why the sandbox could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The engine refused its settings or the machine.
    #[error("cannot set up the WebAssembly engine")]
    Engine(#[source] wasmtime::Error),
    /// The folder of compiled components.
    #[error("cannot create the cache folder {}", path.display())]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The thread that advances epochs.
    #[error("cannot start the epoch thread")]
    Ticker(#[source] io::Error),
}

/// Loads components. One per process.
pub struct Sandbox {
    pub(crate) config: SandboxConfig,
    pub(crate) runtime: Arc<Runtime>,
    /// One compilation at a time: each may take 1 GiB and a core.
    pub(crate) compiling: Mutex<()>,
    /// Compiled code fits only an engine of this hash.
    pub(crate) engine_hash: String,
}

/// What loaded components share; alive as long as any of them.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) linker: Linker<Host>,
    pub(crate) ticker: Ticker,
    /// Who has one may run on after its first tick.
    pub(crate) slots: Arc<Semaphore>,
    /// Live instances of all components.
    pub(crate) instances: usize,
    /// Those of them that wait.
    pub(crate) waiting: Arc<Waiting>,
}

impl Sandbox {
    /// Reserves the address space of the instances, and starts the thread that advances epochs.
    ///
    /// # Errors
    ///
    /// See [`SandboxError`].
    pub fn new(config: SandboxConfig) -> Result<Self, SandboxError> {
        crate::cache::create_dir(&config.cache_dir).map_err(|source| SandboxError::Cache {
            path: config.cache_dir.clone(),
            source,
        })?;
        crate::cache::prune(&config.cache_dir);
        let (engine, instances) =
            build(config.memory_bytes_ceiling).map_err(SandboxError::Engine)?;
        let linker = host::linker(&engine).map_err(SandboxError::Engine)?;
        let ticker = Ticker::spawn(engine.clone()).map_err(SandboxError::Ticker)?;
        let engine_hash = hash(&engine);
        let instances = instances as usize;
        let runtime = Arc::new(Runtime {
            engine,
            linker,
            ticker,
            slots: Arc::new(Semaphore::new(config.threads.max(1))),
            instances,
            waiting: Arc::new(Waiting::new(instances)),
        });
        Ok(Self {
            config,
            runtime,
            compiling: Mutex::new(()),
            engine_hash,
        })
    }
}

/// The settings that compiled code depends on: the same in the host and in its compile child.
pub(crate) fn settings() -> Config {
    let mut config = Config::new();
    config
        .wasm_component_model(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .wasm_memory64(false)
        // Components made of several: what wasmtime generates to pass values between them copies from one memory into
        // another.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_custom_page_sizes(false)
        .wasm_stack_switching(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .memory_init_cow(true);
    config
}

/// An engine and how many instances it may have: pooled; fewer, or without a pool, where the address space is short.
fn build(memory_bytes_ceiling: usize) -> Result<(Engine, u32), wasmtime::Error> {
    for instances in [INSTANCES_MAX, INSTANCES_FEW] {
        let mut config = settings();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(
            instances,
            memory_bytes_ceiling,
        )));
        match Engine::new(&config) {
            Ok(engine) => return Ok((engine, instances)),
            Err(error) => warn!(
                instances,
                error = format!("{error:#}"),
                "cannot reserve address space for pooled instances, trying with less (see `ulimit -v`)"
            ),
        }
    }
    warn!("instances are not pooled: a fresh instance costs several times as much");
    Ok((Engine::new(&settings())?, INSTANCES_FEW))
}

fn pool(instances: u32, memory_bytes_ceiling: usize) -> PoolingAllocationConfig {
    // Languages with a runtime of their own link up to 50 core modules into a component.
    const CORE_INSTANCES_PER_COMPONENT: u32 = 50;
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances * CORE_INSTANCES_PER_COMPONENT)
        .total_memories(instances)
        .total_tables(instances * TABLES_PER_INSTANCE)
        .total_stacks(instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_tables_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(10)
        .max_component_instance_size(8 << 20)
        .max_core_instance_size(8 << 20)
        .max_memory_size(memory_bytes_ceiling)
        .table_elements(10_000)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(64 << 10)
        .pagemap_scan(wasmtime::Enabled::Auto);
    pool
}

/// Changes whenever code compiled for one engine does not fit another.
pub(crate) fn hash(engine: &Engine) -> String {
    struct Blake(blake3::Hasher);
    impl Hasher for Blake {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0 // the whole hash is taken below
        }
    }
    let mut hasher = Blake(blake3::Hasher::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.0.finalize().to_hex()[..16].to_owned()
}
