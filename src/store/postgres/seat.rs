//! What this process may write to and deliver from, for as long as its lease lasts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use super::partition::Day;
use crate::store::{Seq, ShardId, StoreError};

/// How long a seat is held without being renewed.
pub(super) const LEASE: Duration = Duration::from_secs(9);

/// Begins a statement that writes under the seat `$1`: without a row of `held` it is to write nothing.
macro_rules! held {
    () => {
        "WITH held AS MATERIALIZED (SELECT epoch FROM replica WHERE epoch = $1 AND NOT fenced FOR KEY SHARE) "
    };
}
pub(super) use held;

/// The seat of this process, and what it has seen of the cluster at its last renewal.
#[derive(Debug)]
pub(super) struct Seat {
    state: Mutex<State>,
    shards: watch::Sender<Arc<[ShardId]>>,
    tails: Mutex<BTreeMap<ShardId, watch::Sender<Seq>>>,
    changes: watch::Sender<u64>,
    up: watch::Sender<bool>,
    /// What others are told of this process: JSON.
    about: Mutex<Arc<str>>,
    pub(super) hurry: Notify,
    adoptions: AtomicU64,
}

#[derive(Debug)]
enum State {
    /// None, and why.
    Away(StoreError),
    Seated(Seated),
}

/// A seat that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seated {
    /// Its fencing epoch.
    pub epoch: i64,
    /// The shard that it writes to.
    pub shard: ShardId,
    /// The day of the shard's last event, as of the last renewal.
    pub day: Day,
    /// Until when it is certain that nobody else has taken over.
    pub until: Instant,
}

/// What a renewal brings of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ShardRow {
    pub id: ShardId,
    pub next: Seq,
    pub holder: Option<i64>,
    pub day: Day,
}

impl Seat {
    pub fn new() -> Self {
        let away = StoreError::Unavailable("no connection to PostgreSQL yet".into());
        Self {
            state: Mutex::new(State::Away(away)),
            shards: watch::Sender::new(Arc::from([])),
            tails: Mutex::default(),
            changes: watch::Sender::new(0),
            up: watch::Sender::new(false),
            about: Mutex::new("{}".into()),
            hurry: Notify::new(),
            adoptions: AtomicU64::new(0),
        }
    }

    /// What is written now is written under this epoch.
    ///
    /// # Errors
    /// There is no seat at present.
    pub fn epoch(&self) -> Result<i64, StoreError> {
        self.seated().map(|seated| seated.epoch)
    }

    /// The seat, while it is certain that it is held.
    ///
    /// # Errors
    /// There is none at present.
    pub fn seated(&self) -> Result<Seated, StoreError> {
        match &*self.state() {
            State::Seated(seated) if seated.until > Instant::now() => Ok(*seated),
            State::Seated(_) => {
                Err(StoreError::Unavailable("PostgreSQL has not answered for too long".into()))
            }
            State::Away(why) => Err(why.clone()),
        }
    }

    /// The shards that this process delivers from.
    pub fn shards(&self) -> watch::Receiver<Arc<[ShardId]>> {
        self.shards.subscribe()
    }

    /// The number that the next event of any shard of the cluster will have, as of the last renewal; of the own one
    /// at once.
    pub fn tail(&self, shard: ShardId) -> watch::Receiver<Seq> {
        self.tails().entry(shard).or_insert_with(unknown).subscribe()
    }

    /// All shards of the cluster.
    pub fn known(&self) -> Vec<ShardId> {
        self.tails().keys().copied().collect()
    }

    /// Counts operators' actions, and what else is to be looked at again.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Something was done here that the others see at their next renewal.
    pub fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Whether PostgreSQL answers.
    pub fn up(&self) -> watch::Receiver<bool> {
        self.up.subscribe()
    }

    /// PostgreSQL did not answer somebody; until the next renewal nobody need try.
    pub fn failed(&self) {
        self.up.send_replace(false);
    }

    /// What others are told of this process from the next renewal on.
    pub fn tell(&self, about: &str) {
        *self.about.lock().unwrap_or_else(PoisonError::into_inner) = about.into();
    }

    pub(super) fn about(&self) -> Arc<str> {
        Arc::clone(&self.about.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A statement under `epoch` has found no row of it: another replica has taken over.
    pub fn lost(&self, epoch: i64) -> StoreError {
        let error =
            StoreError::Unavailable("another replica has taken over; a new seat is being taken".into());
        let mut state = self.state();
        if matches!(&*state, State::Seated(seated) if seated.epoch == epoch) {
            tracing::warn!(epoch, "another replica has taken over from this one, which takes a new seat");
            *state = State::Away(error.clone());
            drop(state);
            self.set_shards(&[]);
            self.hurry.notify_one();
        }
        error
    }

    /// How many shards were taken over from others.
    pub fn adoptions(&self) -> u64 {
        self.adoptions.load(Ordering::Relaxed)
    }

    pub(super) fn adopted(&self, shards: usize) {
        self.adoptions.fetch_add(shards as u64, Ordering::Relaxed);
    }

    /// There is no seat, or it is given up.
    pub(super) fn leave(&self, why: StoreError) {
        *self.state() = State::Away(why);
        self.set_shards(&[]);
    }

    /// PostgreSQL did not answer; without a seat that is why there is none.
    pub(super) fn unanswered(&self, error: &StoreError) {
        self.up.send_replace(false);
        let mut state = self.state();
        match &*state {
            State::Seated(seated) if seated.until > Instant::now() => {}
            State::Seated(_) => {
                drop(state);
                self.set_shards(&[]);
            }
            State::Away(_) => *state = State::Away(error.clone()),
        }
    }

    /// The seat that was asked to be renewed, even if its time is over here.
    pub(super) fn last(&self) -> Option<Seated> {
        match &*self.state() {
            State::Seated(seated) => Some(*seated),
            State::Away(_) => None,
        }
    }

    /// The seat is held until `seated.until`, and this is how the cluster stands.
    pub(super) fn holds(&self, seated: Seated, rows: &[ShardRow]) {
        *self.state() = State::Seated(seated);
        for row in rows {
            self.reach(row.id, row.next);
        }
        let own = rows.iter().filter(|row| row.holder == Some(seated.epoch));
        let own: Vec<ShardId> = own.map(|row| row.id).collect();
        self.set_shards(&own);
        self.up.send_if_modified(|up| !std::mem::replace(up, true));
    }

    /// The shard has come to `next`.
    pub(super) fn reach(&self, shard: ShardId, next: Seq) {
        let mut tails = self.tails();
        let tail = tails.entry(shard).or_insert_with(unknown);
        tail.send_if_modified(|tail| {
            let further = next > *tail;
            *tail = next.max(*tail);
            further
        });
    }

    fn set_shards(&self, shards: &[ShardId]) {
        self.shards.send_if_modified(|known| {
            let other = **known != *shards;
            if other {
                *known = Arc::from(shards);
            }
            other
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tails(&self) -> MutexGuard<'_, BTreeMap<ShardId, watch::Sender<Seq>>> {
        self.tails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown() -> watch::Sender<Seq> {
    watch::Sender::new(Seq(1))
}
