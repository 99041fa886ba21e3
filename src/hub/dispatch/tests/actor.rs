//! A subscriber that does as it is told, in tokio's time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::hub::deliver::{Carry, Tried};
use crate::hub::delivery_state::Outcome;
use crate::hub::schedule::{Clock, after};
use crate::store::Event;

/// Tokio's time, told as a time of day.
#[derive(Debug, Clone)]
pub struct PausedClock {
    began: Instant,
    at: Timestamp,
}

impl PausedClock {
    /// It begins a little ahead of the host's, by which stores date what operators do.
    pub fn new() -> Self {
        Self { began: Instant::now(), at: after(Timestamp::now(), Duration::from_secs(1)) }
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        after(self.at, self.began.elapsed())
    }
}

/// A try as the subscriber saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Which event.
    pub seq: u64,
    /// Which attempt.
    pub number: u32,
    /// When, in ms since the beginning.
    pub at_ms: u64,
}

/// What a subscriber does with the `number`th attempt of an event, and how long it takes over it.
pub type Part = dyn Fn(&Event, u32) -> (Outcome, Duration) + Send + Sync;

/// A subscriber that does as it is told, and remembers what it has seen.
pub struct Actor {
    part: Mutex<Arc<Part>>,
    seen: Mutex<Vec<Seen>>,
    /// Under way now, and the most there ever were.
    busy: Mutex<(usize, usize)>,
    began: Instant,
}

impl Actor {
    /// One that plays this part.
    pub fn new(part: impl Fn(&Event, u32) -> (Outcome, Duration) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            part: Mutex::new(Arc::new(part)),
            seen: Mutex::default(),
            busy: Mutex::default(),
            began: Instant::now(),
        })
    }

    /// One that takes everything at once.
    pub fn willing() -> Arc<Self> {
        Self::new(|_, _| (Outcome::Delivered, Duration::ZERO))
    }

    /// Plays another part from now on.
    pub fn play(&self, part: impl Fn(&Event, u32) -> (Outcome, Duration) + Send + Sync + 'static) {
        *self.part.lock().unwrap() = Arc::new(part);
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Numbers of the events that it has seen, in order.
    pub fn seqs(&self) -> Vec<u64> {
        self.seen().iter().map(|seen| seen.seq).collect()
    }

    /// The most that were under way at once.
    pub fn busiest(&self) -> usize {
        self.busy.lock().unwrap().1
    }
}

/// An actor as the dispatcher sees it.
pub struct Stage(pub Arc<Actor>);

impl Carry for Stage {
    fn carry(&self, event: Arc<Event>, number: u32) -> BoxFuture<'static, Tried> {
        let actor = Arc::clone(&self.0);
        async move {
            let at_ms = u64::try_from(actor.began.elapsed().as_millis()).unwrap();
            actor.seen.lock().unwrap().push(Seen { seq: event.place.seq.0, number, at_ms });
            {
                let mut busy = actor.busy.lock().unwrap();
                busy.0 += 1;
                busy.1 = busy.1.max(busy.0);
            }
            let part = Arc::clone(&*actor.part.lock().unwrap());
            let (outcome, took) = part(&event, number);
            tokio::time::sleep(took).await;
            actor.busy.lock().unwrap().0 -= 1;
            Tried { outcome, status: None, at: Timestamp::UNIX_EPOCH, took, answer: Bytes::new() }
        }
        .boxed()
    }
}
