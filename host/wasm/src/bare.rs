//! The component call without the sandbox around it: what the benchmark compares [`Component::call`] with.

use std::sync::Arc;

use crate::attempt::{Attempt, Component, handle};
use crate::instance::Instance;

/// One instance that is called without epochs, governor, recycling or conversion of what comes back.
#[doc(hidden)]
pub struct BareCall {
    component: Component,
    instance: Instance,
}

impl BareCall {
    /// An instance of its own, not started yet.
    #[must_use]
    pub fn new(component: &Component) -> Self {
        Self {
            component: component.clone(),
            instance: component.instance(),
        }
    }

    /// Calls the handler and drops what it returns. Handing the attempt to the host functions is part of the call: a
    /// guest that reads its state would otherwise do other work than in the sandbox.
    ///
    /// # Errors
    ///
    /// The message of a trap or a failure.
    pub async fn call(&mut self, attempt: Attempt) -> Result<(), String> {
        let event = Arc::clone(&attempt.event);
        // Far enough for any benchmark, and no overflow of the epoch.
        self.instance.store.set_epoch_deadline(1 << 40);
        self.instance.store.data_mut().begin(attempt);
        match handle(&mut self.instance, self.component.pre(), &event).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(failure)) => Err(failure.message),
            Err(error) => Err(format!("{error:#}")),
        }
    }
}
