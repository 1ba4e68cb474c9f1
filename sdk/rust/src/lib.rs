//! Write Weir event handlers in Rust.
//!
//! A handler is a function from one event to the events that it causes:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use weir_sdk::{Emission, Event, Result, State};
//!
//! #[derive(Deserialize)]
//! struct Visit { page: String }
//!
//! #[derive(Default, Deserialize, Serialize)]
//! struct Visits { count: u64 }
//!
//! /// What this handler remembers of each key.
//! const VISITS: State<Visits> = State::new("visits");
//!
//! #[weir_sdk::handler]
//! fn handle(event: Event<Visit>) -> Result<Emission> {
//!     let mut visits = VISITS.get()?.unwrap_or_default();
//!     visits.count += 1;
//!     VISITS.set(&visits)?;
//!     weir_sdk::info!(page = event.data.page, "visit {}", visits.count);
//!     Emission::new("VisitCounted").json(&visits)
//! }
//! # fn main() {}
//! ```
//!
//! The host calls it once an attempt. State, timers and emissions become real together when the attempt is committed,
//! and not at all when it fails, so a handler needs no clean-up of its own.
//!
//! - **Data** is JSON of the type that the handler asks for. Data of another shape is a permanent failure with the code
//!   [`BAD_DATA`]. [`Raw`] takes the bytes as they are; `Option<T>` takes an event without data.
//! - **Failures** travel by `?`. Any error becomes a transient [`Failure`]; [`OrFail`] says something more precise.
//! - **Time**: a [`Timer`] fires as an event of its key, a value in [`State`] may expire, an [`Emission`] may be delayed,
//!   and a [`Process`] puts state and a time-out together.
//! - **Grants**: a component imports only the interfaces that its code uses. Code that touches [`State`] needs the
//!   grant `state`, a [`Timer`] and [`Emission::delay`] the grant `timers`, [`config()`] `config`, [`secret`] `secrets`.
//! - **Tests** run natively, without Wasm: see [`testing`].
//!
//! # Build
//!
//! A handler is a library with `crate-type = ["cdylib"]`. `cargo build --target wasm32-wasip2` gives a component;
//! `--target wasm32-unknown-unknown` a core module that the host turns into one. The contract is read from the
//! repository's `wit/`: depend on this crate by path inside the repository, and by `git` outside of it.

// The generated code and the macros name this crate from inside and from outside by the same path.
extern crate self as weir_sdk;

#[doc(hidden)]
pub mod bindings;
pub mod context;
mod emission;
mod event;
mod failure;
mod grants;
mod host;
#[doc(hidden)]
pub mod log;
mod process;
pub mod state;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
pub mod timers;

pub use emission::{Emission, IntoEmissions};
pub use event::{BAD_DATA, Event, Payload, Raw};
pub use failure::{Failure, FailureKind, OrFail, Result, UNCLASSIFIED};
pub use grants::{config, secret};
pub use process::Process;
pub use state::{BAD_STATE, State};
pub use timers::Timer;
pub use weir_sdk_macros::handler;

/// For the macros of this crate only.
#[doc(hidden)]
pub mod __private {
    pub use crate::bindings;
    pub use wit_bindgen;

    use crate::{Emission, Event, IntoEmissions, Payload, Result, bindings::weir::handler::types};

    /// One attempt, in this crate's words.
    pub(crate) fn attempt<T: Payload, E: IntoEmissions>(
        handle: impl FnOnce(Event<T>) -> Result<E>,
        event: types::Event,
    ) -> Result<Vec<Emission>> {
        Event::decode(event).and_then(handle).map(E::into_emissions)
    }

    /// One attempt, in the words of the contract.
    pub fn export<T: Payload, E: IntoEmissions>(
        handle: impl FnOnce(Event<T>) -> Result<E>,
        event: types::Event,
    ) -> Result<Vec<types::Emission>, types::Failure> {
        crate::log::report_panics();
        Ok(attempt(handle, event)?
            .into_iter()
            .map(types::Emission::from)
            .collect())
    }
}

/// Exports a function as the component's handler; `#[handler]` writes this line.
#[doc(hidden)]
#[macro_export]
macro_rules! export_handler {
    ($handle:ident) => {
        // Used, also where there is no component to export it from.
        const _: () = _ = $handle;

        #[cfg(target_family = "wasm")]
        const _: () = {
            use $crate::__private::bindings::{exports::weir::handler::handler::Guest, weir::handler::types};

            struct Component;

            impl Guest for Component {
                fn handle(event: types::Event) -> ::core::result::Result<::std::vec::Vec<types::Emission>, types::Failure> {
                    $crate::__private::export($handle, event)
                }
            }

            $crate::__private::bindings::export_component!(Component with_types_in $crate::__private::bindings);
        };
    };
}
