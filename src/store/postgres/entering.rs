//! Subscribers that could not be taken up yet, since PostgreSQL is away.
//!
//! One that is to begin with the next event begins with what came after it first asked, also where that has been
//! waiting on this host and is forwarded before the subscriber is taken up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::store::Start;
use crate::store::log::record::nanos;

/// Most that are remembered.
const MANY: usize = 10_000;
/// Nothing comes later than the last of times.
const NEVER: i64 = i64::MAX;

/// When each asked first, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Entering(Mutex<BTreeMap<Arc<str>, i64>>);

impl Entering {
    /// From when on a new subscriber's events came; [`i64::MAX`]: they are still to come.
    pub fn since(&self, subscriber: &str, start: Start) -> i64 {
        match start {
            Start::Now => self.asked().get(subscriber).copied().unwrap_or(NEVER),
            Start::Since(at) => nanos(at),
        }
    }

    /// It was refused, having asked at `at`.
    pub fn refused(&self, subscriber: &Arc<str>, at: Timestamp) {
        let mut asked = self.asked();
        if asked.len() < MANY {
            asked.entry(Arc::clone(subscriber)).or_insert(nanos(at));
        }
    }

    /// It is taken up.
    pub fn entered(&self, subscriber: &str) {
        self.asked().remove(subscriber);
    }

    fn asked(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
