//! Counting what is under way.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are under way, and how many may be.
#[derive(Debug, Default)]
pub struct InFlight {
    now: AtomicUsize,
    max: usize,
}

impl InFlight {
    /// None yet, at most `max`.
    pub fn new(max: usize) -> Self {
        Self { now: AtomicUsize::new(0), max }
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
}
