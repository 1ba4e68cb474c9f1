//! `weir:handler/context`: about the running attempt.

use weir_core::identity::idempotency_key;

use super::Host;
use crate::bindings::weir::handler::context;

impl context::Host for Host {
    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.call()?.attempt.number)
    }

    fn remaining_ms(&mut self) -> wasmtime::Result<u64> {
        let (now, wall) = (self.shared.clock.now(), self.shared.limits.wall);
        let left = wall.saturating_sub(now.saturating_sub(self.call()?.started));
        Ok(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    fn now_ms(&mut self) -> wasmtime::Result<u64> {
        Ok(self.call()?.attempt.now.0)
    }

    fn tenant(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(Some(self.call()?.attempt.tenant.to_string()))
    }

    fn topic(&mut self) -> wasmtime::Result<String> {
        Ok(self.call()?.attempt.topic.to_string())
    }

    fn partition(&mut self) -> wasmtime::Result<u32> {
        Ok(self.call()?.attempt.partition)
    }

    fn position(&mut self) -> wasmtime::Result<u64> {
        Ok(self.call()?.attempt.position)
    }

    fn key(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.call()?.attempt.key.as_ref().map(|key| key.to_vec()))
    }

    fn idempotency_key(&mut self, label: String) -> wasmtime::Result<String> {
        let handler = std::sync::Arc::clone(&self.shared.handler);
        let attempt = &self.call()?.attempt;
        let event = &attempt.event;
        Ok(idempotency_key(
            &attempt.tenant,
            &handler,
            &event.source,
            &event.id,
            &label,
        ))
    }
}
