//! The one place that runs native code from a file.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads code that this host compiled: fresh from its compile child, or from the cache after its MAC was checked.
pub(crate) fn deserialize(engine: &Engine, compiled: &[u8]) -> Result<Component, wasmtime::Error> {
    #[expect(
        unsafe_code,
        reason = "deserializing runs whatever the bytes say; they come from our compile child, or carry a MAC with a \
                  key that only this data directory has"
    )]
    // SAFETY: the callers (`load`) pass only bytes of those two origins, unmodified.
    unsafe {
        Component::deserialize(engine, compiled)
    }
}
