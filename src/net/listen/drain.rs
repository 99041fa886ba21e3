//! The word that it is time to stop, from one who says it to the many who must hear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

#[derive(Debug, Default)]
struct State {
    started: AtomicBool,
    notify: Notify,
}

/// Says that draining begins. Dropping it says nothing.
#[derive(Debug)]
pub struct DrainTrigger(Arc<State>);

impl DrainTrigger {
    /// Begins draining; there is no way back, and saying it twice changes nothing.
    pub fn start(&self) {
        // The flag goes first: who misses the notice has looked at the flag after it was set.
        self.0.started.store(true, Ordering::Release);
        self.0.notify.notify_waiters();
    }
}

/// Hears that draining begins.
#[derive(Debug, Clone)]
pub struct Drain(Arc<State>);

impl Drain {
    /// Both ends.
    pub fn new() -> (DrainTrigger, Self) {
        let state = Arc::<State>::default();
        (DrainTrigger(Arc::clone(&state)), Self(state))
    }

    /// Whether draining has begun. One atomic load, for those who ask at each poll.
    pub fn is_started(&self) -> bool {
        self.0.started.load(Ordering::Acquire)
    }

    /// Waits until draining has begun.
    pub async fn started(&self) {
        // Made before the look, so that a start between the two is not missed.
        let notified = self.0.notify.notified();
        if !self.is_started() {
            notified.await;
        }
    }
}
