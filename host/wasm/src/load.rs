//! From the bytes of a file to a component that can be called: check, compile or take from the cache, link.

use std::sync::Arc;

use wasmtime::component::Component as Compiled;

use crate::attempt::Component;
use crate::bindings::FullEventHandlerPre;
use crate::cache::Entry;
use crate::compile::{self, CompileError};
use crate::crowd::{Crowd, Load};
use crate::describe::Description;
use crate::engine::{Sandbox, TABLES_PER_INSTANCE};
use crate::host::{Shared, Volume};
use crate::instance::Idle;
use crate::limits::{Grants, Isolation, Limits};
use crate::{shape, trusted};

/// What every handler exports.
const HANDLER: &str = "weir:handler/handler@0.1.0";
/// Imports of this package in this version are known.
const PACKAGE: &str = "weir:handler/";
/// wasmtime resolves imports within a minor version of 0.x.
const VERSION: &str = "@0.1.";
/// Linked closed, so that no grant is needed.
const WASI_PACKAGES: [&str; 6] = ["io", "clocks", "random", "cli", "filesystem", "sockets"];

/// How a component is loaded.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Name of the handler: its log lines and idempotency keys carry it.
    pub handler: Arc<str>,
    /// What it may import.
    pub grants: Grants,
    /// What it may use.
    pub limits: Limits,
    /// How long its instances live.
    pub isolation: Isolation,
}

/// Why a component was refused. The messages name what is wrong and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Over the host's limit.
    #[error(
        "the component has {bytes} bytes, more than {max}; strip its debug information (`wasm-tools strip`)"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The manifest asks for more memory than the host gives.
    #[error(
        "the memory limit of {bytes} bytes is above the host's ceiling of {ceiling}; lower it in [limits]"
    )]
    MemoryCeiling {
        /// What was asked for.
        bytes: usize,
        /// The host's ceiling.
        ceiling: usize,
    },
    /// Neither a component nor a core module.
    #[error("{0}")]
    NotWasm(String),
    /// The compiler refused it or met its limits.
    #[error("cannot compile the component")]
    Compile(#[source] CompileError),
    /// Code that does not fit the engine, a fault of ours.
    #[error("cannot load the compiled component")]
    Load(#[source] wasmtime::Error),
    /// It is built for another world.
    #[error(
        "the component does not export `{HANDLER}`; it exports {found}. Build it against the world \
         `weir:handler/event-handler@0.1.0`"
    )]
    World {
        /// What it exports.
        found: String,
    },
    /// It exports the handler's interface in another shape.
    #[error(
        "`{HANDLER}` is not the interface of the contract: {fault}. Build it against the world \
         `weir:handler/event-handler@0.1.0`"
    )]
    Shape {
        /// What is wrong with it.
        fault: String,
    },
    /// An import that needs a grant.
    #[error(
        "the component imports `{import}`, which is not granted. Either grant it (`{grant}` under [grants] in \
         handler.toml, and allow it in the host's policy), or build the component against a world without it"
    )]
    NotGranted {
        /// The interface.
        import: String,
        /// The line of the manifest.
        grant: &'static str,
    },
    /// An import that this release has not.
    #[error(
        "the component imports `{import}`, which this release of Weir does not offer; build it without"
    )]
    NotOffered {
        /// The interface.
        import: String,
    },
    /// An import that nobody knows.
    #[error(
        "the component imports `{import}`, which Weir does not know; known are weir:handler 0.1 and WASI 0.2. Build it \
         against the world `weir:handler/event-handler@0.1.0`"
    )]
    UnknownImport {
        /// The interface.
        import: String,
    },
    /// A known interface in another shape.
    #[error("the component does not fit the interfaces it names")]
    Link(#[source] wasmtime::Error),
    /// The host is going down.
    #[error("loading was cancelled")]
    Cancelled,
}

impl Sandbox {
    /// Checks, compiles (or takes from the cache) and links a component or a core module with component metadata.
    ///
    /// Blocks no thread of the runtime: compilation takes seconds for large components.
    ///
    /// # Errors
    ///
    /// See [`LoadError`].
    pub async fn load(
        &self,
        bytes: Vec<u8>,
        options: &LoadOptions,
    ) -> Result<Component, LoadError> {
        self.check_sizes(&bytes, &options.limits)?;
        let digest = blake3::hash(&bytes).to_hex().to_string();
        let compiled = self.compiled(bytes, &digest).await?;
        check_world(&compiled, &options.grants)?;
        let pre = self
            .runtime
            .linker
            .instantiate_pre(&compiled)
            .map_err(LoadError::Link)?;
        let pre = FullEventHandlerPre::new(pre).map_err(LoadError::Link)?;
        if let Some(fault) = shape::misfit(&compiled, HANDLER) {
            return Err(LoadError::Shape { fault });
        }
        let weight = weight(&compiled);
        let runtime = Arc::clone(&self.runtime);
        let crowd_max = Load::max(self.config.threads.max(1), runtime.instances, weight);
        let clock = Arc::clone(&runtime.ticker.clock);
        let log = Volume::new(
            Arc::clone(&options.handler),
            Arc::clone(&clock),
            &options.limits,
        );
        let shared = Arc::new(Shared {
            handler: Arc::clone(&options.handler),
            grants: options.grants.clone(),
            limits: options.limits.clone(),
            clock,
            crowd: Crowd::new(Arc::clone(&runtime.slots), crowd_max),
            log: Arc::new(log),
        });
        let idle = Idle::new(Arc::clone(&runtime.waiting), weight, self.config.threads);
        Ok(Component::new(
            digest,
            pre,
            shared,
            options.isolation,
            idle,
            runtime,
        ))
    }

    fn check_sizes(&self, bytes: &[u8], limits: &Limits) -> Result<(), LoadError> {
        let max = self.config.component_bytes_max;
        if bytes.len() > max {
            return Err(LoadError::TooLarge {
                bytes: bytes.len(),
                max,
            });
        }
        let ceiling = self.config.memory_bytes_ceiling;
        if limits.memory_bytes > ceiling {
            return Err(LoadError::MemoryCeiling {
                bytes: limits.memory_bytes,
                ceiling,
            });
        }
        if !compile::is_wasm(bytes) {
            return Err(LoadError::NotWasm(compile::not_wasm(bytes)));
        }
        Ok(())
    }

    async fn compiled(&self, bytes: Vec<u8>, digest: &str) -> Result<Compiled, LoadError> {
        // Loads of one component at a time, so that two loads of the same one compile it once.
        let _turn = self.compiling.lock().await;
        let entry = Entry::new(&self.config, digest, &self.engine_hash);
        let engine = self.runtime.engine.clone();
        let (program, args) = (
            self.config.compiler.clone(),
            self.config.compiler_args.clone(),
        );
        let work = move || {
            if let Some(code) = entry.read() {
                match trusted::deserialize(&engine, &code) {
                    Ok(compiled) => return Ok(compiled),
                    Err(error) => tracing::warn!(
                        error = format!("{error:#}"),
                        "cached code does not load, compiling again"
                    ),
                }
            }
            let code = compile::compile(&program, &args, &bytes).map_err(LoadError::Compile)?;
            entry.write(&code);
            trusted::deserialize(&engine, &code).map_err(LoadError::Load)
        };
        // A panic in it would be a defect of wasmtime; the component is refused either way.
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or(Err(LoadError::Cancelled))
    }
}

/// How many of the pool's instances one of this component counts for: it may have several memories and tables.
fn weight(compiled: &Compiled) -> usize {
    compiled.resources_required().map_or(1, |needed| {
        let memories = needed.num_memories as usize;
        let tables = (needed.num_tables as usize).div_ceil(TABLES_PER_INSTANCE as usize);
        memories.max(tables).max(1)
    })
}

/// What [`Sandbox::load`] would refuse of a component with these imports and exports, all at once and without compiling
/// it.
#[must_use]
pub fn check_description(found: &Description, grants: &Grants) -> Vec<LoadError> {
    let exports: Vec<&str> = found.exports.iter().map(String::as_str).collect();
    let world = (!exports.contains(&HANDLER)).then(|| world(&exports));
    let imports = found.imports.iter();
    let refused = imports.filter_map(|name| check_import(name, grants).err());
    world.into_iter().chain(refused).collect()
}

/// The refusal of a component with these exports; a few of them show which world it was built for.
fn world(exports: &[&str]) -> LoadError {
    const SHOWN_MAX: usize = 8;
    let shown = &exports[..exports.len().min(SHOWN_MAX)];
    let found = match exports.len() - shown.len() {
        _ if exports.is_empty() => "nothing".to_owned(),
        0 => format!("`{}`", shown.join("`, `")),
        more => format!("`{}` and {more} more", shown.join("`, `")),
    };
    LoadError::World { found }
}

/// The handler must be exported; more exports are welcome (QuickJS adds `init`, Python `exports`). Every import must
/// be known and granted.
fn check_world(compiled: &Compiled, grants: &Grants) -> Result<(), LoadError> {
    let engine = compiled.engine();
    let ty = compiled.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    if !exports.contains(&HANDLER) {
        return Err(world(&exports));
    }
    ty.imports(engine)
        .try_for_each(|(name, _)| check_import(name, grants))
}

fn check_import(name: &str, grants: &Grants) -> Result<(), LoadError> {
    let import = || name.to_owned();
    let granted = |granted, grant| {
        if granted {
            Ok(())
        } else {
            Err(LoadError::NotGranted {
                import: import(),
                grant,
            })
        }
    };
    let not_offered = || Err(LoadError::NotOffered { import: import() });
    if let Some(interface) = name
        .strip_prefix(PACKAGE)
        .and_then(|rest| rest.split_once(VERSION))
    {
        return match interface.0 {
            "types" | "context" | "log" => Ok(()),
            "state" => granted(grants.state, "state = true"),
            "config" => granted(grants.config.is_some(), "config = true"),
            "secrets" => granted(grants.secrets.is_some(), "secrets = [\"name\"]"),
            "timers" => granted(grants.timers, "timers = true"),
            _ => Err(LoadError::UnknownImport { import: import() }),
        };
    }
    if name.starts_with("wasi:http/") {
        return not_offered();
    }
    let wasi = name
        .strip_prefix("wasi:")
        .and_then(|rest| rest.split_once('/'));
    match wasi {
        Some((package, interface))
            if WASI_PACKAGES.contains(&package) && interface.contains("@0.2.") =>
        {
            Ok(())
        }
        _ => Err(LoadError::UnknownImport { import: import() }),
    }
}
