//! Rust shapes of the contract in `wit/`, generated.
//!
//! Parameters are borrowed, so that handing an event over copies it once, into the guest.

wasmtime::component::bindgen!({
    path: "../../wit/0.1.0",
    world: "full-event-handler",
    imports: { default: trappable },
    exports: { default: async },
    ownership: Borrowing { duplicate_if_necessary: true },
});
