//! Cells: what this replica may let in of an app's requests without asking Redis. One cell is one request, of all
//! limits that it counts with.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Shared;
use super::usage;
use crate::proxy::settings::Rate;

/// So long is waited at most between two draws from a limit that has nothing left, for more than one cell to come.
pub const PAUSE: Duration = Duration::from_millis(5);

/// A limit that Redis counts.
#[derive(Debug)]
pub struct Counted {
    /// Where in Redis.
    pub key: String,
    /// From one cell to the next.
    pub period: Duration,
    /// How many at once.
    pub burst: u32,
    /// When the burst will be whole, in nanoseconds since the process knows Redis.
    whole_at: AtomicU64,
}

impl Counted {
    /// A limit of `rate` for which `key` stands.
    pub fn new(key: String, rate: Rate) -> Self {
        Self { key, period: rate.period(), burst: rate.burst.max(1), whole_at: AtomicU64::new(0) }
    }

    /// Redis said that its burst is whole after `missing`.
    pub fn note(&self, now: u64, missing: Duration) {
        self.whole_at.store(now.saturating_add(nanos(missing)), Ordering::Relaxed);
    }

    /// How many Redis has left.
    pub fn remaining(&self, now: u64) -> u32 {
        let missing = self.whole_at.load(Ordering::Relaxed).saturating_sub(now);
        let used = missing.div_ceil(nanos(self.period).max(1));
        self.burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    fn free_at(&self) -> u64 {
        self.whole_at.load(Ordering::Relaxed).saturating_sub(self.tolerance())
    }

    fn tolerance(&self) -> u64 {
        nanos(self.period).saturating_mul(u64::from(self.burst - 1))
    }

    fn pause(&self) -> u64 {
        nanos(PAUSE).min(self.tolerance() / 2)
    }
}

/// What a request is told that takes a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// It has one.
    Cell,
    /// There is none for a while.
    Empty(Empty),
    /// Redis has to be asked.
    Ask,
    /// Redis can't be asked.
    Unreachable,
}

/// What Redis says to one that asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It has a cell.
    Cell,
    /// There is none for a while.
    Empty(Empty),
    /// Redis did not answer.
    Unreachable,
}

/// There is no cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Empty {
    /// Which of the cells' limits has none, by number.
    pub limit: usize,
    /// For how long.
    pub wait: Duration,
}

/// Cells of the same limits.
#[derive(Debug)]
pub struct Cells {
    /// Whose.
    pub app: Arc<str>,
    /// Their limits, the narrowest first.
    pub limits: Vec<Arc<Counted>>,
    held: AtomicU32,
    /// More are fetched when so many are left.
    low: AtomicU32,
    empty_until: AtomicU64,
    empty_of: AtomicUsize,
    /// Who waits for Redis: as many at most as the app may have under way.
    waiting: Mutex<Vec<oneshot::Sender<Told>>>,
    is_wanted: AtomicBool,
}

impl Cells {
    /// None yet, of these limits of `app`.
    pub fn new(app: Arc<str>, limits: Vec<Arc<Counted>>) -> Self {
        Self {
            app,
            limits,
            held: AtomicU32::new(0),
            low: AtomicU32::new(0),
            empty_until: AtomicU64::new(0),
            empty_of: AtomicUsize::new(0),
            waiting: Mutex::default(),
            is_wanted: AtomicBool::new(false),
        }
    }

    /// Takes one.
    pub fn take(&self, shared: &Shared, now: Instant) -> Took {
        let took = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| held.checked_sub(1));
        if let Ok(held) = took {
            if held - 1 == self.low.load(Ordering::Relaxed) {
                self.want(shared);
            }
            return Took::Cell;
        }
        if !shared.is_up() {
            return Took::Unreachable;
        }
        match self.empty_until.load(Ordering::Relaxed).checked_sub(shared.since(now)) {
            None | Some(0) => Took::Ask,
            Some(wait) => {
                let limit = self.empty_of.load(Ordering::Relaxed);
                Took::Empty(Empty { limit, wait: Duration::from_nanos(wait) })
            }
        }
    }

    /// Asks Redis for one, with all others that ask.
    pub async fn ask(&self, shared: &Shared) -> Told {
        let told = self.line_up(shared);
        match tokio::time::timeout(shared.timeout(), told).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) | Err(_) => Told::Unreachable,
        }
    }

    /// Asks for one that whoever comes next may take, unless there is one, or none to be had.
    pub async fn fetch(&self, shared: &Shared) {
        if self.held() == 0
            && !self.is_empty(shared.since(Instant::now()))
            && self.ask(shared).await == Told::Cell
        {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits for what Redis says.
    pub(super) fn line_up(&self, shared: &Shared) -> oneshot::Receiver<Told> {
        let (sender, told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        self.want(shared);
        told
    }

    fn want(&self, shared: &Shared) {
        self.is_wanted.store(true, Ordering::Release);
        shared.wake();
    }

    /// Whether anybody wanted something since this was last asked.
    pub fn was_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed) && self.is_wanted.swap(false, Ordering::Acquire)
    }

    /// Who waits; from now on nobody.
    pub fn take_waiting(&self) -> Vec<oneshot::Sender<Told>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many are at hand.
    pub fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether so many are left that more should be fetched.
    pub fn is_low(&self) -> bool {
        self.held() <= self.low.load(Ordering::Relaxed)
    }

    /// Whether no more can be had for a while.
    pub fn is_empty(&self, now: u64) -> bool {
        self.empty_until.load(Ordering::Relaxed) > now
    }

    /// `count` more are at hand; more are fetched once `low` are left.
    pub fn add(&self, count: u32, low: u32) {
        self.low.store(low, Ordering::Relaxed);
        self.held.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes away all but `kept`; how many these were.
    pub fn take_all_but(&self, kept: u32) -> u32 {
        let keep = |held: u32| (held > kept).then_some(kept);
        let before = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep);
        before.map_or(0, |before| before - kept)
    }

    /// Redis had fewer than were asked for.
    pub fn note_empty(&self, now: u64) -> Empty {
        let narrowest = self.limits.iter().enumerate().find(|(_, limit)| limit.free_at() > now);
        let (at, until) = narrowest.map_or((0, now), |(at, limit)| (at, limit.free_at()));
        let until = until.max(now + self.limits.get(at).map_or(0, |limit| limit.pause()));
        self.empty_of.store(at, Ordering::Relaxed);
        self.empty_until.store(until, Ordering::Relaxed);
        Empty { limit: at, wait: Duration::from_nanos(until - now) }
    }

    /// Most that this replica has at hand.
    pub fn most(&self) -> u32 {
        self.limits.iter().map(|limit| usage::most(limit.period, limit.burst)).min().unwrap_or(0)
    }
}

/// Nanoseconds.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
