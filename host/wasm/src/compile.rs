//! Compilation in a child process.
//!
//! Cranelift cannot be interrupted, and a crafted component may make it use any amount of time and memory. The child
//! has 60 s of CPU and 1 GiB; it reads a component (or a core module) from standard input and writes code to standard
//! output. All parsing of the untrusted file happens there as well.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wasmtime::Engine;
use wit_component::ComponentEncoder;

use crate::classify::cut;
use crate::engine;

/// CPU time of the child.
const CPU_SECONDS: u64 = 60;
/// Private writable memory of the child. Address space would be the wrong measure: allocators and thread stacks
/// reserve much more than they use.
const DATA_BYTES: u64 = 1 << 30;
/// Machine code of one component: what 64 MiB of WebAssembly become, and some more.
const CODE_BYTES_MAX: u64 = 512 << 20;
/// What a compiler says of a component is about a line; names in it are the component's.
const MESSAGE_BYTES_MAX: usize = 4 << 10;
/// Exit code for a component that is to blame; the reason is on standard error.
const REFUSED: u8 = 2;

const MAGIC: &[u8; 4] = b"\0asm";
/// Version and layer of a core module; a component has layer 1.
const MODULE_VERSION: [u8; 4] = [1, 0, 0, 0];
/// Toolchains put the component's type into a custom section with this prefix.
const METADATA_SECTION: &[u8] = b"component-type";

/// Why a component could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The child could not be run.
    #[error("cannot run the compiler {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The component is to blame.
    #[error("{0}")]
    Refused(String),
    /// The limit of CPU time.
    #[error(
        "compiling took too long (at most {CPU_SECONDS} s of CPU); make the component smaller or split it"
    )]
    Time,
    /// The limit of memory, or a crash of the compiler.
    #[error("the compiler ended with {status} (its limit is 1 GiB of memory): {message}")]
    Crashed {
        /// How the child ended.
        status: ExitStatus,
        /// The last of its standard error.
        message: String,
    },
}

/// Compiles in a child; blocks until it ends.
pub(crate) fn compile(
    program: &Path,
    args: &[OsString],
    wasm: &[u8],
) -> Result<Vec<u8>, CompileError> {
    let failed = |source| CompileError::Start {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(args)
        // The host's secrets are nothing to whoever gets the better of the compiler.
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // The child reads all of its input before it writes. When it ends early, its status says why.
        drop(stdin.write_all(wasm));
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = cut(message.trim(), MESSAGE_BYTES_MAX).to_owned();
    let xcpu = rustix::process::Signal::XCPU.as_raw();
    match (output.status.code(), output.status.signal()) {
        (Some(code), _) if code == i32::from(REFUSED) => Err(CompileError::Refused(message)),
        (_, Some(signal)) if signal == xcpu => Err(CompileError::Time),
        _ => Err(CompileError::Crashed {
            status: output.status,
            message,
        }),
    }
}

/// Body of the compile child: from standard input to standard output, under limits of its own.
#[must_use]
pub fn run_compiler() -> ExitCode {
    match limit()
        .map_err(|error| format!("cannot limit the compiler: {error}"))
        .and_then(|()| compile_stdin())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody is left to tell when standard error is closed.
            drop(writeln!(io::stderr(), "{message}"));
            ExitCode::from(REFUSED)
        }
    }
}

fn limit() -> Result<(), io::Error> {
    // Lower limits of whoever started the host stay.
    let at_most = |resource, soft: u64, hard: u64| {
        let given = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit {
            current: Some(soft.min(given)),
            maximum: Some(hard.min(given)),
        };
        setrlimit(resource, limit)
    };
    // The signal of the soft limit says that it was the time; the hard limit only kills.
    let seconds = getrlimit(Resource::Cpu).maximum.unwrap_or(u64::MAX);
    let soft = CPU_SECONDS.min(seconds.saturating_sub(1));
    at_most(Resource::Cpu, soft, CPU_SECONDS + 1)?;
    at_most(Resource::Data, DATA_BYTES, DATA_BYTES)?;
    at_most(Resource::Core, 0, 0)?;
    Ok(())
}

fn compile_stdin() -> Result<(), String> {
    let mut wasm = Vec::new();
    io::stdin()
        .lock()
        .read_to_end(&mut wasm)
        .map_err(|error| format!("cannot read the component: {error}"))?;
    let component = componentise(&wasm)?;
    // Code does not depend on pooling, and a child needs no pool.
    let engine = Engine::new(&engine::settings()).map_err(|error| format!("{error:#}"))?;
    let code = engine
        .precompile_component(&component)
        .map_err(|error| format!("{error:#}"))?;
    if code.len() as u64 > CODE_BYTES_MAX {
        return Err(format!(
            "it becomes {} bytes of machine code, more than {CODE_BYTES_MAX}",
            code.len()
        ));
    }
    io::stdout()
        .lock()
        .write_all(&code)
        .map_err(|error| format!("cannot write the compiled code: {error}"))
}

/// A component as it is; a core module with embedded component metadata as a component.
pub(crate) fn componentise(wasm: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, String> {
    if !is_wasm(wasm) {
        return Err(not_wasm(wasm));
    }
    if !is_core_module(wasm) {
        return Ok(wasm.into());
    }
    if !wasm
        .windows(METADATA_SECTION.len())
        .any(|window| window == METADATA_SECTION)
    {
        return Err("this is a core module without component metadata; build it for wasm32-wasip2, or with \
                    wit-bindgen for the world `weir:handler/event-handler@0.1.0`"
            .to_owned());
    }
    let encoded = ComponentEncoder::default()
        .validate(true)
        .module(wasm)
        .and_then(|mut encoder| encoder.encode());
    encoded.map(Into::into).map_err(|error| {
        let message = format!("this core module cannot be made a component: {error:#}");
        if message.contains("wasi_snapshot_preview1") {
            format!("{message}; build it for wasm32-wasip2, or adapt it with `wasm-tools component new --adapt`")
        } else {
            message
        }
    })
}

pub(crate) fn is_wasm(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub(crate) fn is_core_module(bytes: &[u8]) -> bool {
    bytes
        .get(4..8)
        .is_some_and(|version| version == MODULE_VERSION)
}

/// Says what the bytes look like.
pub(crate) fn not_wasm(bytes: &[u8]) -> String {
    let looks = match bytes {
        [] => "it is empty".to_owned(),
        [b'(', ..] => {
            "it looks like the text format; turn it into a binary with `wasm-tools parse`"
                .to_owned()
        }
        [0x1f, 0x8b, ..] => "it looks like gzip; decompress it".to_owned(),
        [b'P', b'K', ..] => "it looks like a zip archive".to_owned(),
        [0x7f, b'E', b'L', b'F', ..] => {
            "it looks like a program for this machine, or compiled code (.cwasm)".to_owned()
        }
        [b'#', b'!', ..] => "it looks like a script".to_owned(),
        _ => format!("it starts with {:02x?}", &bytes[..bytes.len().min(8)]),
    };
    format!("this is not WebAssembly: {looks}; a handler is a `.wasm` component or core module")
}
