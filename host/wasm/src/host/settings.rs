//! `weir:handler/config` and `weir:handler/secrets`: values that the host hands in.

use super::Host;
use crate::bindings::weir::handler::{config, secrets};

impl config::Host for Host {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.call()?;
        Ok(self
            .shared
            .grants
            .config
            .as_ref()
            .and_then(|values| values.get(&name))
            .cloned())
    }
}

impl secrets::Host for Host {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        self.call()?;
        Ok(self
            .shared
            .grants
            .secrets
            .as_ref()
            .and_then(|values| values.get(&name))
            .cloned())
    }
}
