//! The sandbox of Weir: the only crate that names wasmtime. It compiles components in a child process, keeps the result
//! in an authenticated cache, links them closed, and calls them under limits.
//!
//! Whatever a handler does (trap, loop, fill its memory, return nonsense) ends as a
//! [`weir_core::event::Outcome`]; only loading can fail.

mod attempt;
mod bare;
mod bindings;
mod cache;
mod classify;
mod compile;
mod crowd;
mod describe;
mod engine;
mod govern;
mod host;
mod instance;
mod limits;
mod load;
mod shape;
mod ticker;
mod trusted;
mod wasi;

pub use attempt::{Attempt, Component, StateUnavailable, StateView, TimersView};
#[doc(hidden)]
pub use bare::BareCall;
pub use compile::{CompileError, run_compiler};
pub use describe::{DescribeError, Description, describe};
pub use engine::{Sandbox, SandboxConfig, SandboxError};
pub use limits::{Grants, Isolation, Limits};
pub use load::{LoadError, LoadOptions, check_description};
