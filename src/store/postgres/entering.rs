//! Subscribers that ask to be taken up, and since when.
//!
//! One that is to begin with the next event begins with what came after it first asked: also with what is kept while
//! it is being taken up, and with what waited on this host while PostgreSQL was away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::store::Start;
use crate::store::log::record::nanos;

/// Most that are remembered.
const MANY: usize = 10_000;

/// When each asked first, in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Entering(Mutex<BTreeMap<Arc<str>, i64>>);

impl Entering {
    /// From when on the events of a new subscriber came that asks at `at`.
    pub fn since(&self, subscriber: &Arc<str>, start: Start, at: Timestamp) -> i64 {
        let mut asked = self.asked();
        match start {
            Start::Since(since) => nanos(since),
            Start::Now if asked.len() < MANY => *asked.entry(Arc::clone(subscriber)).or_insert(nanos(at)),
            Start::Now => asked.get(subscriber).copied().unwrap_or(nanos(at)),
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
