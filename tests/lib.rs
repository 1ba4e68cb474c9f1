//! Nothing but tests; see `weir/main.rs`.
