//! The end of a host's process.

use std::ffi::c_int;

#[expect(
    unsafe_code,
    reason = "nothing else ends a process without what is registered for its end"
)]
unsafe extern "C" {
    /// Of POSIX: takes any number, and does not return.
    safe fn _exit(status: c_int) -> !;
}

/// Ends the process with this code, and runs nothing that is registered for its end: threads that wait for a cluster or a disk
/// are still there, and OpenSSL and the C library would take away what they use.
pub fn now(code: u8) -> ! {
    _exit(code.into())
}
