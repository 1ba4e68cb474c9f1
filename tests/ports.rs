//! Ports for those that are started by a test and may be stopped and started again.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that systems give to who connects somewhere: what others connect with while nobody listens here must not take
/// a port that a host or a broker comes back to.
const RANGE: Range<u32> = 12_000..32_000;

/// Free ports of this moment, all different.
///
/// # Errors
/// There are not so many.
pub fn free<const COUNT: usize>() -> anyhow::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    for port in &mut ports {
        *port = next()?;
    }
    Ok(ports)
}

/// The next free one; no other call gets it before all others have been given.
///
/// # Errors
/// There is none.
pub fn next() -> anyhow::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in RANGE {
        // Tests in other processes begin elsewhere.
        let number = std::process::id()
            .wrapping_mul(97)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(RANGE.start + number % (RANGE.end - RANGE.start))?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port from {RANGE:?} is free")
}
