//! The current phase of an attempt, for errors that come from outside of it, such as a timeout.

use std::sync::{Arc, Mutex, PoisonError};

use super::Phase;

/// Shared by all sessions of an attempt; the last one to ask its server sets it.
#[derive(Clone, Debug)]
pub struct CurrentPhase(Arc<Mutex<Phase>>);

impl Default for CurrentPhase {
    fn default() -> Self {
        CurrentPhase(Arc::new(Mutex::new(Phase::Connect)))
    }
}

impl CurrentPhase {
    /// The attempt is now in this phase.
    pub fn enter(&self, phase: Phase) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// The phase that the attempt is in.
    pub fn get(&self) -> Phase {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
