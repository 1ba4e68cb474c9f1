//! The host's side of the contract: imports in a component, [`crate::testing`] in native tests. Same names, same shapes.

#[cfg(target_family = "wasm")]
pub(crate) use crate::bindings::weir::handler::{config, context, log, secrets, state, timers};

#[cfg(not(target_family = "wasm"))]
pub(crate) use crate::testing::imports::{config, context, log, secrets, state, timers};
