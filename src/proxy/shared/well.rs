//! Cells of `limits.global`, which Redis hands out to all replicas, and the rate that it lowers while the SaaS answers
//! 429 or 503.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::Shared;
use super::cells::{PAUSE, nanos};
use super::draw::Strange;
use super::usage::{self, Usage};
use crate::proxy::global::{Measured, Meter};
use crate::proxy::settings::Rate;

/// Cells of `limits.global` at hand.
#[derive(Debug)]
pub struct Well {
    key: String,
    period: Duration,
    burst: u32,
    held: AtomicU32,
    low: AtomicU32,
    /// When there is another cell, as Redis last said.
    free_at: AtomicU64,
    /// By the second, times 1000; 0: the SaaS takes what it is sent.
    slowed: AtomicU64,
    /// Since when, by Redis' clock.
    slowed_since: AtomicI64,
    /// Whether the SaaS has answered well since.
    served: AtomicBool,
    /// How many wait here.
    waiting: AtomicUsize,
    sent: Meter,
    busy: Meter,
    asked: Mutex<Option<AskedForLess>>,
    is_wanted: AtomicBool,
    came: Notify,
}

/// An answer that asks for less.
#[derive(Debug, Clone, Copy)]
pub struct AskedForLess {
    /// When its request was sent.
    pub sent_at: Instant,
    /// Whether it says that there were too many, or may be down as well.
    pub too_many: bool,
    /// How long nothing should be sent.
    pub pause: Duration,
}

impl Well {
    /// Nothing at hand.
    pub fn new(rate: Rate) -> Self {
        Self {
            key: format!("xinyao:{{*}}:rate:{}/{}s+{}", rate.count, rate.per.as_secs(), rate.burst),
            period: rate.period(),
            burst: rate.burst.max(1),
            held: AtomicU32::new(0),
            low: AtomicU32::new(0),
            free_at: AtomicU64::new(0),
            slowed: AtomicU64::new(0),
            slowed_since: AtomicI64::new(0),
            served: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            sent: Meter::default(),
            busy: Meter::default(),
            asked: Mutex::default(),
            is_wanted: AtomicBool::new(false),
            came: Notify::new(),
        }
    }

    /// Takes one, if one is at hand.
    pub fn take(&self, shared: &Shared, now: Instant) -> bool {
        let took = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| held.checked_sub(1));
        let Ok(held) = took else { return false };
        self.sent.count(shared.since(now));
        if held - 1 == self.low.load(Ordering::Relaxed) {
            self.want(shared);
        }
        true
    }

    /// Gives back one that was taken and is not used.
    pub fn put_back(&self) {
        self.held.fetch_add(1, Ordering::Relaxed);
    }

    /// Has Redis asked.
    pub fn want(&self, shared: &Shared) {
        self.is_wanted.store(true, Ordering::Release);
        shared.wake();
    }

    /// So many wait here.
    pub fn note_waiting(&self, count: usize) {
        self.waiting.store(count, Ordering::Relaxed);
    }

    /// Over when Redis has answered, or no longer does.
    pub fn came(&self) -> Notified<'_> {
        self.came.notified()
    }

    /// How long there is nothing, as far as is known.
    pub fn free_in(&self, shared: &Shared, now: Instant) -> Duration {
        Duration::from_nanos(self.free_at.load(Ordering::Relaxed).saturating_sub(shared.since(now)))
    }

    /// How many may be sent by the second, where the SaaS asks for less.
    pub fn slowed(&self) -> Option<f64> {
        let slowed = self.slowed.load(Ordering::Relaxed);
        (slowed > 0).then(|| slowed as f64 / 1000.0)
    }

    /// The SaaS answered well.
    pub fn note_served(&self) {
        if self.slowed.load(Ordering::Relaxed) > 0 && !self.served.load(Ordering::Relaxed) {
            self.served.store(true, Ordering::Relaxed);
        }
    }

    /// The SaaS asks for less: all replicas are told.
    pub fn slow_down(&self, shared: &Shared, now: Instant, asked: AskedForLess) {
        self.busy.count(shared.since(now));
        *self.asked() = Some(asked);
        self.want(shared);
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, Option<AskedForLess>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_all_but(&self, kept: u32) -> u32 {
        let keep = |held: u32| (held > kept).then_some(kept);
        let before = self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, keep);
        before.map_or(0, |before| before - kept)
    }
}

/// A well that is looked after.
pub struct Drawn {
    well: Weak<Well>,
    usage: Usage,
    held: u32,
}

/// A well's part of a call.
pub struct Bucket {
    at: usize,
    well: Arc<Well>,
    waiting: usize,
    ahead: u32,
    count: i64,
    sent: Measured,
    busy: Measured,
    asked: Option<(Duration, AskedForLess)>,
}

impl Drawn {
    /// One that nothing was drawn from.
    pub fn new(well: Weak<Well>, now: Instant) -> Self {
        Self { well, usage: Usage::new(now), held: 0 }
    }

    /// Whether nobody knows it any more.
    pub fn is_gone(&self) -> bool {
        self.well.strong_count() == 0
    }

    /// Whether any are at hand.
    pub fn has_some(&self) -> bool {
        self.well.upgrade().is_some_and(|well| well.held.load(Ordering::Relaxed) > 0)
    }

    /// Whoever waits looks for another way.
    pub fn let_go(&self) {
        if let Some(well) = self.well.upgrade() {
            well.slowed.store(0, Ordering::Relaxed);
            well.came.notify_one();
        }
    }

    fn bucket(
        &mut self,
        at: usize,
        shared: &Shared,
        now: Instant,
        (all, due): (bool, bool),
    ) -> Option<Bucket> {
        let well = self.well.upgrade()?;
        let held = well.held.load(Ordering::Relaxed);
        let is_wanted = well.is_wanted.swap(false, Ordering::Acquire);
        if !is_wanted && !due && !(all && (held > 0 || self.held > 0)) {
            return None;
        }
        self.usage.saw(u64::from(self.held.saturating_sub(held)), now);
        let waiting = well.waiting.load(Ordering::Relaxed);
        let ahead = self.usage.ahead(usage::most(well.period, well.burst));
        let kept = if self.usage.is_idle(now) && waiting == 0 { 0 } else { ahead.saturating_mul(2) };
        let unused = if waiting == 0 { well.take_all_but(kept) } else { 0 };
        self.held = held.saturating_sub(unused);
        let needed = i64::try_from(waiting).unwrap_or(i64::MAX).saturating_add(i64::from(ahead));
        let is_low = held <= well.low.load(Ordering::Relaxed);
        let count = match unused {
            0 if waiting > 0 || is_low && is_wanted => (needed - i64::from(held)).max(0),
            unused => -i64::from(unused),
        };
        let asked = well.asked().take().map(|asked| (now.saturating_duration_since(asked.sent_at), asked));
        let (sent, busy) = (well.sent.measured(shared.since(now)), well.busy.measured(shared.since(now)));
        (count != 0 || asked.is_some() || due).then_some(Bucket {
            at,
            well,
            waiting,
            ahead,
            count,
            sent,
            busy,
            asked,
        })
    }

    fn rest(&self, at: usize) -> Option<Bucket> {
        let well = self.well.upgrade()?;
        let count = -i64::from(well.take_all_but(0));
        let none = Measured { count: 0, per_second: 0.0 };
        (count != 0).then_some(Bucket {
            at,
            well,
            waiting: 0,
            ahead: 0,
            count,
            sent: none,
            busy: none,
            asked: None,
        })
    }
}

/// What is to be drawn. `all`: also where nobody asked, as what is not used is given back; `due`: nothing was heard of
/// Redis for a while.
pub fn gather(drawn: &mut [Drawn], shared: &Shared, now: Instant, (all, due): (bool, bool)) -> Vec<Bucket> {
    let buckets = drawn.iter_mut().enumerate();
    buckets.filter_map(|(at, one)| one.bucket(at, shared, now, (all, due))).collect()
}

/// All that is at hand, to be given back.
pub fn rest(drawn: &[Drawn]) -> Vec<Bucket> {
    drawn.iter().enumerate().filter_map(|(at, one)| one.rest(at)).collect()
}

impl Bucket {
    /// The call of the script with this digest, on behalf of `replica`.
    pub fn command(&self, digest: &str, replica: &str) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(3).arg(&self.well.key).arg("xinyao:{*}:slowed").arg("xinyao:{*}:replicas");
        command.arg(replica).arg(micros(self.well.period)).arg(self.well.burst).arg(self.count);
        command.arg(self.waiting).arg(self.sent.per_second).arg(self.busy.per_second).arg(self.busy.count);
        match &self.asked {
            Some((ago, asked)) => command
                .arg(micros(*ago))
                .arg(u8::from(asked.too_many))
                .arg(u8::from(self.well.served.load(Ordering::Relaxed)))
                .arg(micros(asked.pause)),
            None => command.arg(&[-1, 0, 0, 0]),
        };
        command
    }

    /// Redis answered, by `now`.
    ///
    /// # Errors
    /// It is not the answer of the script.
    pub fn settle(self, answer: &[i64], drawn: &mut [Drawn], now: u64) -> Result<(), Strange> {
        let [cells, missing, throttled, slowed, since] = *answer else { return Err(Strange) };
        let [came, missing, throttled, slowed] =
            [cells, missing, throttled, slowed].map(|number| u64::try_from(number).unwrap_or(0));
        let well = &self.well;
        well.note_slowed(slowed, since);
        let whole_in = nanos(Duration::from_micros(missing));
        let tolerance = nanos(well.period).saturating_mul(u64::from(well.burst - 1));
        let mut free_in = whole_in.saturating_sub(tolerance).max(nanos(Duration::from_micros(throttled)));
        if cells < self.count {
            free_in = free_in.max(nanos(PAUSE).min(tolerance / 2));
        }
        well.free_at.store(now.saturating_add(free_in), Ordering::Relaxed);
        let came = u32::try_from(came).unwrap_or(u32::MAX);
        well.low.store(self.ahead / 2, Ordering::Relaxed);
        well.held.fetch_add(came, Ordering::Relaxed);
        if let Some(drawn) = drawn.get_mut(self.at) {
            drawn.held = drawn.held.saturating_add(came);
        }
        well.came.notify_one();
        Ok(())
    }
}

impl Well {
    fn note_slowed(&self, slowed: u64, since: i64) {
        let before = self.slowed.swap(slowed, Ordering::Relaxed);
        match (before, slowed) {
            (0, 0) => {}
            (0, _) => {
                let rate = slowed as f64 / 1000.0;
                tracing::warn!(rate, "the upstream asks for less, and gets less of all replicas");
            }
            (_, 0) => tracing::info!("the upstream no longer asks for less"),
            (_, _) => {}
        }
        if self.slowed_since.swap(since, Ordering::Relaxed) != since {
            self.served.store(false, Ordering::Relaxed);
        }
    }
}

fn micros(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1000.0
}
