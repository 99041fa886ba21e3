//! How a streaming body fares.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::proxy::refusal::Refusal;

/// How a streaming body fares, seen from the request that it belongs to.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    moved_ms: AtomicU64,
    waiting: AtomicBool,
    fault: Mutex<Option<Refusal>>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            moved_ms: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            fault: Mutex::new(None),
        }
    }

    pub(super) fn moved(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(since, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    pub(super) fn fail(&self, refusal: Refusal) {
        if let Ok(mut fault) = self.fault.lock() {
            fault.get_or_insert(refusal);
        }
    }

    /// When the upstream was last the one to be waited for: now, while it is the client; else when it
    /// last took something.
    pub fn upstream_idle_since(&self) -> Instant {
        if self.waiting.load(Ordering::Relaxed) {
            return Instant::now();
        }
        self.start + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    /// Why the body was cut off, if it was.
    pub fn fault(&self) -> Option<Refusal> {
        self.fault.lock().ok()?.take()
    }
}
