//! The harness: the real program as a process on a scratch directory, driven through its public surface alone.
//!
//! Used by the tests in `weir/`, and by xtask for the demo and the benchmark.

pub mod chaos;
pub mod host;
pub mod http;
pub mod kafka;
pub mod ports;
pub mod publisher;
pub mod purchases;
pub mod random;
pub mod scripted;
mod suspects;
pub mod wait;
