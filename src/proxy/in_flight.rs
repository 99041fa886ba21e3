//! Counting what is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many are under way, and how many may be.
#[derive(Debug)]
pub struct InFlight {
    now: AtomicUsize,
    max: usize,
}

/// One that is under way, for as long as this lives.
#[derive(Debug)]
pub struct Permit(Arc<InFlight>);

impl InFlight {
    /// None yet, at most `max`.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { now: AtomicUsize::new(0), max })
    }

    /// One more, unless there are as many as may be.
    pub fn enter(self: &Arc<Self>) -> Option<Permit> {
        // Taken first and given back: two that meet at the limit may both be refused, never both let in.
        let permit = Permit(Arc::clone(self));
        (self.now.fetch_add(1, Ordering::Relaxed) < self.max).then_some(permit)
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

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_may_be_and_no_more() {
        let in_flight = InFlight::new(2);
        let first = in_flight.enter();
        let second = in_flight.enter();
        assert!(first.is_some() && second.is_some() && in_flight.enter().is_none());
        drop(first);
        assert_eq!(in_flight.now(), 1);
        assert!(in_flight.enter().is_some());
    }
}
