//! What a subscriber's loop shows of itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use crate::store::Fate;
use crate::telemetry::histogram::{COARSE, Histogram};

/// How a subscriber stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Its events are delivered as they come.
    #[default]
    Active,
    /// It does not answer; one event at a time is tried.
    Probing,
    /// An operator paused it.
    Paused,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Active, Self::Probing, Self::Paused];

    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Probing => "probing",
            Self::Paused => "paused",
        }
    }
}

/// Written by the loop, read by everybody.
#[derive(Debug)]
pub struct Shown {
    in_flight: AtomicUsize,
    inner: Mutex<(State, Counts)>,
    last_error: Mutex<Option<Failure>>,
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it began.
    pub at: Timestamp,
    /// What was wrong.
    pub error: String,
}

/// What has been counted since the process began.
#[derive(Debug, Clone)]
pub struct Counts {
    /// Deliveries done.
    pub delivered: u64,
    /// Attempts that failed and are followed by another.
    pub failed: u64,
    /// Deliveries given up.
    pub dead: u64,
    /// How long attempts took.
    pub took: Histogram,
}

impl Default for Shown {
    fn default() -> Self {
        let counts = Counts { delivered: 0, failed: 0, dead: 0, took: Histogram::new(COARSE) };
        let inner = Mutex::new((State::Active, counts));
        Self { in_flight: AtomicUsize::new(0), inner, last_error: Mutex::new(None) }
    }
}

impl Shown {
    /// Deliveries under way.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How the subscriber stands.
    pub fn state(&self) -> State {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    /// The counts as they are.
    pub fn counts(&self) -> Counts {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Shows how the subscriber stands.
    pub fn show(&self, state: State, in_flight: usize) {
        self.in_flight.store(in_flight, Ordering::Relaxed);
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0 = state;
    }

    /// The last attempt that failed since the process began.
    pub fn last_error(&self) -> Option<Failure> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows what was wrong with an attempt.
    pub fn fail(&self, at: Timestamp, error: String) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(Failure { at, error });
    }

    /// Counts an attempt.
    pub fn count(&self, fate: Fate, took: Duration) {
        let counts = &mut self.inner.lock().unwrap_or_else(PoisonError::into_inner).1;
        counts.took.observe(took);
        *match fate {
            Fate::Delivered => &mut counts.delivered,
            Fate::Retry { .. } => &mut counts.failed,
            Fate::Dead => &mut counts.dead,
        } += 1;
    }
}
