//! The host: everything of Weir that touches the world.
//!
//! A [`bus`] delivers records, a [`pipeline`] per partition decides by `weir_core` and runs handlers by `weir_wasm`, a
//! [`ledger`] commits; [`embedded`] is the bus and the ledger in one data directory. [`app`] wires them.

pub mod admin;
pub mod alarm;
pub mod app;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod cloudevents;
pub mod config;
pub mod data_dir;
mod dev;
pub mod draining;
pub mod embedded;
pub mod exit;
mod fail;
pub mod fleet;
#[doc(hidden)]
pub mod fuzz;
pub mod handlers;
pub mod http;
pub mod jobs;
pub mod kafka;
pub mod ledger;
pub mod letters;
pub mod lookup;
pub mod manifest;
pub mod metrics;
pub mod names;
pub mod orders;
pub mod pipeline;
mod serving;
pub mod status;
pub mod steering;
pub mod telemetry;
mod tls;
pub mod topics;
pub mod versions;
