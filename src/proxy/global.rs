//! The limit of all apps together, and who goes first when it, or the upstream, is short.
//!
//! While there is enough, a request takes a token of `pace` and nobody takes a lock. When there is not, requests
//! wait, for `max_wait` at most, in the `queue`, and a task hands out what comes: interactive ones first, the apps
//! by weight. Whoever could not be let in in time even if nobody else came is refused at once, and so is, when too
//! many wait, the last of whoever has most waiting for its weight. Who goes away makes room; a turn that had come to
//! it goes to the next.
//!
//! While the upstream answers 429 or 503, a `throttle` lets less through, and all wait for it in the same queue.
//!
//! Where limits are shared, tokens are cells that Redis hands out to all replicas, and the throttle is Redis' too
//! (`source`): who waits waits in the same queue.

mod fair;
mod pace;
mod queue;
mod source;
#[cfg(test)]
mod tests;
mod throttle;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;

pub use self::pace::{Measured, Meter};
pub use self::queue::Flow;
use self::queue::Queue;
use self::source::Source;
use self::throttle::{Busy, Throttle};
use super::settings::{GlobalRate, Priority};
use super::shared::{AskedForLess, Shared};

/// Most that wait.
const MAX_WAITING: usize = 1024;
/// A turn may come so late, as timers are.
const TICK: Duration = Duration::from_millis(5);
/// Whoever hands out looks at least so often whether there is something.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The limit of all apps together.
///
/// What it knows (tokens, who waits, whether the upstream is short) is shared by all who hold one that came
/// [`after`](Self::after) another with the same rate.
pub struct GlobalLimit {
    hall: Arc<Hall>,
    rate: GlobalRate,
}

/// Where all meet.
struct Hall {
    source: Source,
    /// Whether anybody waits, or the upstream is short: then nobody passes by.
    short: AtomicBool,
    /// Whether the upstream has answered well since it last asked for less.
    served: AtomicBool,
    desk: Mutex<Desk>,
}

struct Desk {
    queue: Queue<oneshot::Sender<Turn>>,
    throttle: Throttle,
    /// The task that hands out, while there is one.
    task: Weak<()>,
}

/// What whoever waits is told.
enum Turn {
    /// Its turn has come.
    Come,
    /// It has to make room.
    Lost,
}

/// There is not enough.
#[derive(Debug, PartialEq, Eq)]
pub struct Short {
    /// When there is, if no other comes.
    pub retry_after: Duration,
    /// Whether it is the upstream that is short.
    pub slowed: bool,
}

/// How things stand.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct GlobalStatus {
    /// How many may be sent by the second, as configured.
    #[serde(rename = "configured_per_second")]
    pub configured: f64,
    /// How many may be sent by the second: less, while the upstream is short.
    #[serde(rename = "allowed_per_second")]
    pub allowed: f64,
    /// How many wait.
    pub waiting: usize,
}

impl GlobalLimit {
    /// As configured.
    pub fn new(rate: GlobalRate) -> Self {
        Self::shared(rate, None)
    }

    /// As configured, for all replicas together where limits are `shared`.
    pub fn shared(rate: GlobalRate, shared: Option<&Arc<Shared>>) -> Self {
        let source = Source::new(rate.rate, shared);
        Self { hall: Arc::new(Hall::new(source, Throttle::default())), rate }
    }

    /// For a configuration that takes the place of `earlier`'s: at the same rate it is the same limit, whatever else
    /// has changed; at another it begins anew, but for what the upstream asked for. Who waits in `earlier` goes on
    /// waiting there, and is let in by its rate.
    pub fn after(mut self, earlier: &Self) -> Self {
        if self.rate.rate == earlier.rate.rate {
            self.hall = Arc::clone(&earlier.hall);
        } else {
            let throttle = earlier.hall.desk().throttle.clone();
            let mut desk = self.hall.desk();
            desk.throttle = throttle;
            self.hall.note(&desk);
            drop(desk);
        }
        self
    }

    /// Lets one more in, unless there is not enough for all who want: then it has to [`wait`](Self::wait).
    pub fn admit(&self, now: Instant) -> bool {
        !self.hall.short.load(Ordering::Relaxed) && self.hall.source.take(now)
    }

    /// Waits for a turn, at most `max_wait`. Dropped before, it gives its place away.
    ///
    /// # Errors
    /// There is none in time, or too many wait.
    pub async fn wait(&self, flow: Flow) -> Result<(), Short> {
        let Some(mut place) = self.hall.line_up(flow, now(), self.rate.max_wait)? else { return Ok(()) };
        // Redis has its time to answer, however little this one has.
        let redis = self.hall.source.well().map_or(Duration::ZERO, |(shared, _)| shared.timeout());
        let patience = self.rate.max_wait.max(redis) + TICK;
        let has_come = match tokio::time::timeout(patience, &mut place.told).await {
            Ok(told) => matches!(told, Ok(Turn::Come)),
            // It may have come in this very moment.
            Err(_) => place.leave(),
        };
        place.left = true;
        if has_come { Ok(()) } else { Err(self.hall.desk().short(&self.hall.source, flow, now())) }
    }

    /// Takes in what a request that was sent at `sent_at` was answered with. 429 and 503 slow down what is sent from
    /// now on; a `Retry-After` is obeyed for up to half of `max_wait`, so that who waits meanwhile may still have a
    /// turn.
    pub fn answered(&self, status: StatusCode, retry_after: Option<Duration>, sent_at: Instant) {
        let too_many = status == StatusCode::TOO_MANY_REQUESTS;
        if !too_many && status != StatusCode::SERVICE_UNAVAILABLE {
            if let Some((_, well)) = self.hall.source.well() {
                well.note_served();
            }
            let (short, served) = (&self.hall.short, &self.hall.served);
            if short.load(Ordering::Relaxed) && !served.load(Ordering::Relaxed) {
                served.store(true, Ordering::Relaxed);
            }
            return;
        }
        let now = now();
        let pause = retry_after.map(|pause| pause.min(self.rate.max_wait / 2));
        if let Some((shared, well)) = self.hall.source.well() {
            let pause = pause.unwrap_or_default();
            return well.slow_down(shared, now, AskedForLess { sent_at, too_many, pause });
        }
        let mut desk = self.hall.desk();
        let others_served = self.hall.served.load(Ordering::Relaxed);
        let (sent, busy) = (self.hall.source.pace.sent(now), self.hall.source.pace.busy(now));
        let busy = Busy { sent_at, sent, busy, too_many, others_served, pause };
        let first = desk.throttle.rate(now).is_none();
        if let Some(rate) = desk.throttle.slow_down(now, busy) {
            self.hall.served.store(false, Ordering::Relaxed);
            if first {
                tracing::warn!(status = status.as_u16(), rate, "the upstream asks for less, and gets less");
            }
        }
        self.hall.note(&desk);
    }

    /// How long a request may wait.
    pub fn max_wait(&self) -> Duration {
        self.rate.max_wait
    }

    /// How things stand.
    pub fn status(&self) -> GlobalStatus {
        let configured = f64::from(self.rate.rate.count) / self.rate.rate.per.as_secs_f64();
        let desk = self.hall.desk();
        let allowed =
            self.hall.source.slowed(&desk.throttle, now()).map_or(configured, |rate| rate.min(configured));
        GlobalStatus { configured, allowed, waiting: desk.queue.len() }
    }

    /// How many of an app wait with this priority.
    pub fn waiting(&self, app: usize, priority: Priority) -> usize {
        self.hall.desk().queue.len_of(app, priority)
    }
}

impl Hall {
    fn new(source: Source, throttle: Throttle) -> Self {
        let hall = Self {
            source,
            short: AtomicBool::new(false),
            served: AtomicBool::new(false),
            desk: Mutex::new(Desk { queue: Queue::default(), throttle, task: Weak::new() }),
        };
        hall.note(&hall.desk());
        hall
    }

    /// Nothing that is done there can leave it in disorder.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells those who would pass by.
    fn note(&self, desk: &Desk) {
        let waiting = desk.queue.len();
        if let Some(well) = self.source.any_well() {
            well.note_waiting(waiting);
        }
        let throttled = desk.throttle.free_at().is_some() && self.source.well().is_none();
        let short = waiting > 0 || throttled;
        self.short.store(short, Ordering::Relaxed);
    }

    /// A place in the queue, unless nobody waits and there is enough.
    fn line_up(
        self: &Arc<Self>,
        flow: Flow,
        now: Instant,
        max_wait: Duration,
    ) -> Result<Option<Place>, Short> {
        let mut desk = self.desk();
        if desk.queue.len() == 0 && self.source.take_throttled(&mut desk.throttle, now, false) {
            self.note(&desk);
            return Ok(None);
        }
        let short = desk.short(&self.source, flow, now);
        if short.retry_after > max_wait {
            return Err(short);
        }
        if desk.queue.len() >= MAX_WAITING {
            let Some(last) = desk.queue.crowd_out(flow) else { return Err(short) };
            // Who is gone takes itself out.
            drop(last.send(Turn::Lost));
        }
        let (sender, told) = oneshot::channel();
        let id = desk.queue.push(flow, sender);
        self.note(&desk);
        if desk.task.strong_count() == 0 {
            let task = Arc::new(());
            desk.task = Arc::downgrade(&task);
            tokio::spawn(hand_out(Arc::clone(self), task));
        }
        Ok(Some(Place { hall: Arc::clone(self), flow, id, told, left: false }))
    }
}

impl Desk {
    /// Lets those in whose turn it is; when to look again, if anybody is left.
    fn hand_out(&mut self, source: &Source, now: Instant) -> Option<Instant> {
        while self.queue.len() > 0 && source.take_throttled(&mut self.throttle, now, true) {
            self.pass_on(source, now);
        }
        (self.queue.len() > 0).then(|| source.free_at(&self.throttle, now))
    }

    /// What one request needs goes to whoever is next, or back.
    fn pass_on(&mut self, source: &Source, now: Instant) {
        // Whoever has gone away has left the queue before, so that each is told.
        let told = self.queue.pop().is_some_and(|next| next.send(Turn::Come).is_ok());
        if !told {
            source.give_back(&mut self.throttle, now);
        }
    }

    /// What is said to one of `flow` that came now.
    fn short(&self, source: &Source, flow: Flow, now: Instant) -> Short {
        let ahead = u32::try_from(self.queue.ahead(flow)).unwrap_or(u32::MAX);
        let (period, slowed) = source.period(&self.throttle, now);
        let free_in = source.free_at(&self.throttle, now).saturating_duration_since(now);
        Short { retry_after: free_in + period.saturating_mul(ahead), slowed }
    }
}

/// Somebody who waits.
struct Place {
    hall: Arc<Hall>,
    flow: Flow,
    id: u64,
    told: oneshot::Receiver<Turn>,
    left: bool,
}

impl Place {
    /// Leaves the queue. `true`: the turn had come already.
    fn leave(&mut self) -> bool {
        self.left = true;
        let mut desk = self.hall.desk();
        let waited = desk.queue.remove(self.flow, self.id).is_some();
        self.hall.note(&desk);
        !waited && matches!(self.told.try_recv(), Ok(Turn::Come))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.left && self.leave() {
            let mut desk = self.hall.desk();
            desk.pass_on(&self.hall.source, now());
            self.hall.note(&desk);
        }
    }
}

/// Hands out what comes, until nobody waits. Runs on the thread of whoever came first, for all.
async fn hand_out(hall: Arc<Hall>, task: Arc<()>) {
    loop {
        let look_at = {
            let now = now();
            let mut desk = hall.desk();
            let free_at = desk.hand_out(&hall.source, now);
            hall.note(&desk);
            let Some(free_at) = free_at else {
                // Before another can come and find it at work.
                drop(task);
                return;
            };
            let look_at = free_at.min(now + LOOK_AGAIN);
            match hall.source.well() {
                // Redis is asked, and wakes this when it has answered.
                Some((shared, well)) if free_at <= now => {
                    well.want(shared);
                    now + LOOK_AGAIN
                }
                _ => look_at,
            }
        };
        let sleep = tokio::time::sleep_until(look_at.into());
        match hall.source.any_well() {
            Some(well) => {
                futures_util::future::select(pin!(sleep), pin!(well.came())).await;
            }
            None => sleep.await,
        }
    }
}

/// The time that tokio's timers go by.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
