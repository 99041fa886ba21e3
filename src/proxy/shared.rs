//! Limits that all replicas share, through Redis.
//!
//! A request takes a cell, its leave to be sent, from those that its replica has at hand (`cells`): an atomic, and no
//! round trip. How many these are follows what was used of late (`usage`); where requests come but rarely there are
//! none, and each is asked for. Asking is the work of one thread for the whole process (`task`): all that is wanted
//! while a call is under way goes into the next (`draw`), which is a script by app in Redis (`rates.lua`), in one
//! round trip (`link`).
//!
//! When Redis is slow or gone, requests are decided at once by each process on its own, at a share of each limit; a
//! probe in the background finds out when it is back. No request ever fails for it.

mod cells;
mod draw;
mod link;
mod metrics;
mod slots;
mod task;
#[cfg(test)]
mod tests;
mod usage;
mod well;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{fmt, io};

use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use super::settings::{Rate, SharedLimitSettings};
use crate::telemetry::histogram::{FINE, Histogram};

pub use self::cells::{Cells, Counted, Empty, Told, Took};
pub use self::link::Failure;
pub use self::metrics::Metrics;
pub use self::slots::Lease;
pub use self::well::{AskedForLess, Well};

/// How long the Redis of these settings takes to answer.
///
/// # Errors
/// It can't be reached, lets nobody in or not do what is needed, or is slower than requests wait.
pub async fn ask_redis(settings: &SharedLimitSettings) -> Result<Duration, Failure> {
    task::probe(settings).await.map(|(_, took)| took)
}

/// What a process knows of the Redis that it shares its limits through.
pub struct Shared {
    settings: SharedLimitSettings,
    epoch: Instant,
    is_up: AtomicBool,
    wake: Notify,
    newcomers: Mutex<Newcomers>,
    known: Mutex<Known>,
    fallbacks: AtomicU64,
}

/// What is to be looked after.
#[derive(Default)]
struct Newcomers {
    cells: Vec<Weak<Cells>>,
    leases: Vec<Weak<Lease>>,
    wells: Vec<Weak<Well>>,
}

struct Known {
    standing: Standing,
    error: Option<String>,
    round_trips: Histogram,
}

/// Whether Redis answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// It was not asked yet.
    Unknown,
    Up,
    Down,
}

/// How things stand.
#[derive(Debug, Clone, Serialize)]
pub struct SharedStatus {
    /// Which Redis; without user and password.
    pub url: String,
    /// Whether it answers, so that limits are shared.
    pub up: bool,
    /// Why not.
    pub error: Option<String>,
    /// How many requests were decided without it.
    pub fallbacks: u64,
}

/// The thread that asks Redis. What is at hand is given back when it ends, or this is dropped.
#[derive(Debug)]
pub struct Asking {
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<()>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("url", &self.settings.url).finish_non_exhaustive()
    }
}

impl Shared {
    /// Begins to ask Redis, on a thread of its own. Whether Redis answers is found out meanwhile.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(settings: SharedLimitSettings) -> io::Result<(Arc<Self>, Asking)> {
        let shared = Arc::new(Self::new(settings));
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let asking = task::run(Arc::clone(&shared), stopped);
        std::thread::Builder::new().name("shared-limits".into()).spawn(move || {
            runtime.block_on(asking);
            drop(end);
        })?;
        Ok((shared, Asking { stop, ended }))
    }

    fn new(settings: SharedLimitSettings) -> Self {
        let known = Known { standing: Standing::Unknown, error: None, round_trips: Histogram::new(FINE) };
        Self {
            settings,
            epoch: Instant::now(),
            is_up: AtomicBool::new(false),
            wake: Notify::new(),
            newcomers: Mutex::default(),
            known: Mutex::new(known),
            fallbacks: AtomicU64::new(0),
        }
    }

    /// Has these cells filled.
    pub fn watch(&self, cells: &Arc<Cells>) {
        self.newcomers().cells.push(Arc::downgrade(cells));
    }

    /// Has this lease renewed.
    pub fn watch_lease(&self, lease: &Arc<Lease>) {
        self.newcomers().leases.push(Arc::downgrade(lease));
    }

    /// The period of which `alone` is what this process has by itself.
    pub fn whole_of(&self, alone: Duration) -> Duration {
        alone.mul_f64(self.settings.fallback_share)
    }

    /// Has this well filled.
    pub fn watch_well(&self, well: &Arc<Well>) {
        self.newcomers().wells.push(Arc::downgrade(well));
    }

    /// What is left of so many for a process that is on its own.
    pub fn alone_of(&self, max: usize) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than it was")]
        let alone = (max as f64 * self.settings.fallback_share).round() as usize;
        alone.max(1)
    }

    /// What is left of `rate` for a process that is on its own.
    pub fn alone(&self, rate: Rate) -> Rate {
        let share = self.settings.fallback_share;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "less than it was")]
        let burst = (f64::from(rate.burst) * share).round() as u32;
        Rate { count: rate.count, per: rate.per.div_f64(share), burst: burst.max(1) }
    }

    /// A request is decided without Redis.
    pub fn count_fallback(&self) {
        self.fallbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// How things stand.
    pub fn status(&self) -> SharedStatus {
        let known = self.known();
        SharedStatus {
            url: self.settings.url.to_string(),
            up: known.standing == Standing::Up,
            error: known.error.clone(),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
        }
    }

    /// How long a request waits for Redis at most.
    pub fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// Nanoseconds since this process knows Redis.
    pub fn since(&self, now: Instant) -> u64 {
        cells::nanos(now.saturating_duration_since(self.epoch))
    }

    fn wake(&self) {
        self.wake.notify_one();
    }

    fn newcomers(&self) -> MutexGuard<'_, Newcomers> {
        self.newcomers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> Standing {
        self.known().standing
    }

    /// Redis answered after so long.
    fn called(&self, took: Duration) {
        self.known().round_trips.observe(took);
    }

    /// Redis answers, from now on.
    fn rose(&self) {
        let mut known = self.known();
        known.error = None;
        known.standing = Standing::Up;
        self.is_up.store(true, Ordering::Relaxed);
        tracing::info!(redis = %self.settings.url, "limits are shared with the other replicas");
    }

    /// Redis does not answer, from now on.
    fn fell(&self, failure: &Failure) {
        let mut known = self.known();
        self.is_up.store(false, Ordering::Relaxed);
        let error = failure.to_string();
        if known.standing != Standing::Down {
            let share = self.settings.fallback_share;
            tracing::warn!(
                redis = %self.settings.url, error, share,
                "limits are not shared: this replica keeps to its share of them until Redis answers again"
            );
        }
        known.error = Some(error);
        known.standing = Standing::Down;
    }
}

impl Asking {
    /// Ends it.
    pub async fn end(self) {
        let Self { stop, ended } = self;
        drop(stop);
        // It is never sent anything: the thread drops its end.
        let _ = ended.await;
    }
}
