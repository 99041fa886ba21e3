//! What has come of deliveries and is on its way to the store, in order.
//!
//! One write is under way at a time; what comes meanwhile goes with the next. A write that fails is made
//! again, ever more seldom, with everything that was in it: nothing is forgotten, and deliveries go on.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::store::{Fate, Place, Progress, Settled, StoreError};

/// Most outcomes that wait to be written down: past it no delivery is begun.
pub const MOST_WAITING: usize = 4096;
/// Most outcomes of one write.
const MOST_AT_ONCE: usize = 512;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// A write that has ended.
pub type Saved = (Vec<Settled>, Result<(), StoreError>);

/// What of a write need not be written again, and why the rest must be.
#[derive(Debug)]
pub struct Ended {
    /// Durable, or overtaken by what is.
    pub done: Vec<Settled>,
    /// Why the rest is not, unless that was told before.
    pub error: Option<StoreError>,
}

/// Outcomes on their way to the store.
pub struct Ledger {
    store: Arc<dyn Progress>,
    waiting: VecDeque<Settled>,
    saving: Option<BoxFuture<'static, Saved>>,
    under_way: usize,
    pause: Duration,
    not_before: Option<Instant>,
}

impl Ledger {
    /// Nothing to write yet.
    pub fn new(store: Arc<dyn Progress>) -> Self {
        let waiting = VecDeque::new();
        Self { store, waiting, saving: None, under_way: 0, pause: FIRST_PAUSE, not_before: None }
    }

    /// Notes an outcome.
    pub fn note(&mut self, settled: Settled) {
        self.waiting.push_back(settled);
    }

    /// How many outcomes are not written down yet.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.under_way
    }

    /// Whether there is room for what is still to come.
    pub fn has_room(&self) -> bool {
        self.len() < MOST_WAITING
    }

    /// When the next write may begin, if one waits for that.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| self.saving.is_none() && !self.waiting.is_empty())
    }

    /// Begins a write if there is something to write and none is under way.
    pub fn begin(&mut self, now: Instant) {
        let early = self.not_before.is_some_and(|then| now < then);
        if self.saving.is_some() || self.waiting.is_empty() || early {
            return;
        }
        let batch: Vec<Settled> = self.waiting.drain(..self.waiting.len().min(MOST_AT_ONCE)).collect();
        self.under_way = batch.len();
        let store = Arc::clone(&self.store);
        self.saving = Some(Box::pin(async move {
            let outcome = store.settle(batch.clone()).await;
            (batch, outcome)
        }));
    }

    /// Waits for the write that is under way; for ever when there is none.
    pub async fn saved(&mut self) -> Saved {
        match &mut self.saving {
            Some(saving) => {
                let saved = saving.await;
                self.saving = None;
                saved
            }
            None => std::future::pending().await,
        }
    }

    /// Takes note of how a write ended. What is not durable is written again after a pause.
    pub fn ended(&mut self, saved: Saved, now: Instant) -> Ended {
        let (batch, outcome) = saved;
        self.under_way = 0;
        let Err(error) = outcome else {
            self.pause = FIRST_PAUSE;
            self.not_before = None;
            return Ended { done: batch, error: None };
        };
        let is_news = self.pause == FIRST_PAUSE;
        self.not_before = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LAST_PAUSE);
        let (done, again) = match error {
            StoreError::Full(_) => taken_when_full(batch),
            StoreError::Unavailable(_) | StoreError::Damaged(_) => (Vec::new(), batch),
        };
        for settled in again.into_iter().rev() {
            self.waiting.push_front(settled);
        }
        Ended { done, error: Some(error).filter(|_| is_news) }
    }
}

/// A full store takes note of what was delivered all the same. What went before that in the same delivery
/// must not come after it.
fn taken_when_full(batch: Vec<Settled>) -> (Vec<Settled>, Vec<Settled>) {
    let delivered = |settled: &Settled| settled.fate == Fate::Delivered;
    let places: HashSet<Place> = batch.iter().filter(|s| delivered(s)).map(|s| s.place).collect();
    batch.into_iter().partition(|settled| places.contains(&settled.place))
}
