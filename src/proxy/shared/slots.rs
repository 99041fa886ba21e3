//! Slots of an app's `max_in_flight`: each replica leases as many as it needs, and a few more. The leases of a replica
//! that was killed run out.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use redis::Cmd;
use tokio::sync::oneshot;

use super::Shared;
use super::cells::nanos;
use super::draw::Strange;

/// How long a lease holds.
const LEASE: Duration = Duration::from_secs(10);
/// It is renewed so often.
const RENEW: Duration = Duration::from_secs(3);
/// Whoever was told that there is no slot is believed for so long.
const FULL: Duration = Duration::from_millis(20);
/// Slots that are not used are kept for so long where they are scarce, and where they are not.
const SCARCE: Duration = Duration::from_millis(100);
const PLENTY: Duration = Duration::from_secs(1);

/// What a process has leased for one app.
#[derive(Debug)]
pub struct Lease {
    key: String,
    /// How many are under way here.
    now: Arc<AtomicUsize>,
    /// How many may be under way with all replicas, as whoever asked last had it.
    max: AtomicUsize,
    leased: AtomicUsize,
    full_until: AtomicU64,
    /// Who waits for Redis. What is under way bounds them as well.
    waiting: Mutex<Vec<oneshot::Sender<()>>>,
    is_wanted: AtomicBool,
}

impl Lease {
    /// Nothing leased for `app`, of which `now` are under way.
    pub fn new(app: &str, now: Arc<AtomicUsize>, max: usize) -> Self {
        Self {
            key: format!("xinyao:{{{app}}}:slots"),
            now,
            max: AtomicUsize::new(max),
            leased: AtomicUsize::new(0),
            full_until: AtomicU64::new(0),
            waiting: Mutex::default(),
            is_wanted: AtomicBool::new(false),
        }
    }

    /// How many may be under way here.
    pub fn leased(&self) -> usize {
        self.leased.load(Ordering::SeqCst)
    }

    /// From now on nobody enters but below `wanted`, or what is under way already; how many that is.
    fn lower(&self, wanted: usize) -> usize {
        self.leased.store(wanted, Ordering::SeqCst);
        let used = self.now.load(Ordering::SeqCst);
        if used > wanted {
            self.leased.store(used, Ordering::SeqCst);
        }
        wanted.max(used)
    }

    /// Whether Redis said just now that there are no more.
    pub fn is_full(&self, shared: &Shared) -> bool {
        let full_until = self.full_until.load(Ordering::Relaxed);
        full_until > 0 && full_until > shared.since(Instant::now())
    }

    /// Asks Redis for another slot, of `max`, with all others that ask. `true`: it has answered, and it may be looked
    /// again.
    pub async fn ask(&self, shared: &Shared, max: usize) -> bool {
        self.max.store(max, Ordering::Relaxed);
        let (sender, told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(sender);
        self.is_wanted.store(true, Ordering::Release);
        shared.wake();
        matches!(tokio::time::timeout(shared.timeout(), told).await, Ok(Ok(())))
    }

    fn take_waiting(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A lease that is looked after.
pub struct Leased {
    lease: Weak<Lease>,
    renewed_at: Instant,
    /// Most that were under way at once since `peak_at`.
    peak: usize,
    peak_at: Instant,
    is_scarce: bool,
}

/// A lease's part of a call.
pub struct Renewal {
    at: usize,
    lease: Arc<Lease>,
    waiting: Vec<oneshot::Sender<()>>,
    used: usize,
    wanted: usize,
}

impl Leased {
    /// One that is not yet leased.
    pub fn new(lease: Weak<Lease>, now: Instant) -> Self {
        Self { lease, renewed_at: now, peak: 0, peak_at: now, is_scarce: false }
    }

    /// Whether nobody knows it any more.
    pub fn is_gone(&self) -> bool {
        self.lease.strong_count() == 0
    }

    /// Whether anything is leased, or should be.
    pub fn has_some(&self) -> bool {
        self.lease.upgrade().is_some_and(|lease| lease.leased().max(lease.now.load(Ordering::Relaxed)) > 0)
    }

    /// Nobody is told of slots from now on, until Redis has been asked.
    pub fn let_go(&self) {
        if let Some(lease) = self.lease.upgrade() {
            lease.leased.store(0, Ordering::SeqCst);
            drop(lease.take_waiting());
        }
    }

    fn renewal(&mut self, at: usize, now: Instant, all: bool) -> Option<Renewal> {
        let lease = self.lease.upgrade()?;
        let is_wanted = lease.is_wanted.swap(false, Ordering::Acquire);
        let (used, leased) = (lease.now.load(Ordering::SeqCst), lease.leased());
        if !(is_wanted || all && used.max(leased) > 0) {
            return None;
        }
        let waiting = lease.take_waiting();
        // Who waits is about to be under way.
        let needed = used + waiting.len();
        let kept = if self.is_scarce { SCARCE } else { PLENTY };
        if needed >= self.peak || now.saturating_duration_since(self.peak_at) >= kept {
            (self.peak, self.peak_at) = (needed, now);
        }
        let max = lease.max.load(Ordering::Relaxed);
        let needed = needed.max(self.peak);
        let mut wanted = (needed + spare(needed, max)).min(max).max(used);
        if wanted < leased {
            wanted = lease.lower(wanted);
        }
        let is_due = now.saturating_duration_since(self.renewed_at) >= RENEW;
        let is_needed = !waiting.is_empty() || wanted < leased || used > leased;
        (is_needed || is_due).then_some(Renewal { at, lease, waiting, used, wanted })
    }

    fn end(&self, at: usize) -> Option<Renewal> {
        let lease = self.lease.upgrade().filter(|lease| lease.leased() > 0)?;
        Some(Renewal { at, lease, waiting: Vec::new(), used: 0, wanted: 0 })
    }
}

/// How many more than are needed: a few, so that not each request that comes beside others has to ask.
fn spare(needed: usize, max: usize) -> usize {
    (needed / 8).min(max / 16)
}

/// What is to be leased, renewed or given back. `all`: also where nobody asked.
pub fn gather(leased: &mut [Leased], now: Instant, all: bool) -> Vec<Renewal> {
    leased.iter_mut().enumerate().filter_map(|(at, one)| one.renewal(at, now, all)).collect()
}

/// All leases, to be given back.
pub fn rest(leased: &[Leased]) -> Vec<Renewal> {
    leased.iter().enumerate().filter_map(|(at, one)| one.end(at)).collect()
}

impl Renewal {
    /// The call of the script with this digest, on behalf of `replica`.
    pub fn command(&self, digest: &str, replica: &str) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(digest).arg(1).arg(&self.lease.key).arg(replica);
        let max = self.lease.max.load(Ordering::Relaxed);
        command.arg(&[max, self.used, self.wanted]).arg(LEASE.as_secs() * 1000);
        command
    }

    /// Redis answered, by `now`.
    ///
    /// # Errors
    /// It is not the answer of the script.
    pub fn settle(
        self,
        answer: &[i64],
        leased: &mut [Leased],
        shared: &Shared,
        now: Instant,
    ) -> Result<(), Strange> {
        let [has, left] = answer else { return Err(Strange) };
        let [has, left] = [*has, *left].map(|count| usize::try_from(count).unwrap_or(0));
        self.lease.leased.store(has, Ordering::SeqCst);
        let is_full = has < self.used + self.waiting.len();
        let full_until = if is_full { shared.since(now).saturating_add(nanos(FULL)) } else { 0 };
        self.lease.full_until.store(full_until, Ordering::Relaxed);
        if let Some(leased) = leased.get_mut(self.at) {
            leased.renewed_at = now;
            leased.is_scarce = left <= self.lease.max.load(Ordering::Relaxed) / 8;
        }
        for waiting in self.waiting {
            // Who has gone away needs none.
            let _ = waiting.send(());
        }
        Ok(())
    }
}
