//! Counting what is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are under way, and how many may be.
#[derive(Debug, Default)]
pub struct InFlight {
    now: Arc<AtomicUsize>,
    max: usize,
}

impl InFlight {
    /// None yet, at most `max`.
    pub fn new(max: usize) -> Self {
        Self { now: Arc::default(), max }
    }

    /// The same, of which there may be `max` from now on: who is under way counts.
    pub fn at_most(&self, max: usize) -> Self {
        Self { now: Arc::clone(&self.now), max }
    }

    /// One more, unless there are as many as may be. Whoever got `true` has to [`leave`](Self::leave).
    #[must_use]
    pub fn enter(&self) -> bool {
        // Taken first and given back: two that meet at the limit may both be refused, never both let in.
        let entered = self.now.fetch_add(1, Ordering::Relaxed) < self.max;
        if !entered {
            self.leave();
        }
        entered
    }

    /// One less.
    pub fn leave(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are under way.
    pub fn now(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }

    /// How many may be.
    pub fn max(&self) -> usize {
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_may_be_and_no_more() {
        let in_flight = InFlight::new(2);
        assert!(in_flight.enter() && in_flight.enter() && !in_flight.enter());
        in_flight.leave();
        assert_eq!(in_flight.now(), 1);
        assert!(in_flight.enter());
    }

    #[test]
    fn who_is_under_way_counts_under_another_limit_too() {
        let before = InFlight::new(2);
        assert!(before.enter());
        let after = before.at_most(1);
        assert!(!after.enter());
        before.leave();
        assert!(after.enter());
    }
}
