//! The word that it is time to stop, from one who says it to the many who must hear it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

/// What becomes of the listening sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Sockets {
    /// They are closed, and what waits in their queues is served before: the kernel would reset it.
    Close = 1,
    /// Another process has them too, or will have: what waits is left to it.
    Leave = 2,
}

const NOT_STARTED: u8 = 0;

#[derive(Debug, Default)]
struct State {
    started: AtomicU8,
    notify: Notify,
}

/// Says that draining begins. Dropping it says nothing.
#[derive(Debug)]
pub struct DrainTrigger(Arc<State>);

impl DrainTrigger {
    /// Begins draining; there is no way back, and saying it twice changes nothing.
    pub fn start(&self, sockets: Sockets) {
        // The flag goes first: who misses the notice has looked at the flag after it was set.
        let said = &self.0.started;
        let first = said.compare_exchange(NOT_STARTED, sockets as u8, Ordering::Release, Ordering::Relaxed);
        if first.is_ok() {
            self.0.notify.notify_waiters();
        }
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
        self.0.started.load(Ordering::Acquire) != NOT_STARTED
    }

    /// Whether what waits in the sockets' queues is for another process.
    pub fn leaves_sockets(&self) -> bool {
        self.0.started.load(Ordering::Acquire) == Sockets::Leave as u8
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
