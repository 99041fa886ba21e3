//! Counting what is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::shared::{Lease, Shared};

/// How many are under way, and how many may be.
#[derive(Debug, Default)]
pub struct InFlight {
    now: Arc<AtomicUsize>,
    max: usize,
    /// Where all replicas count together: what this one has of `max`.
    lease: Option<(Arc<Shared>, Arc<Lease>)>,
}

/// What one is told that wants to be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entering {
    /// It is. It has to [`leave`](InFlight::leave).
    In,
    /// There are as many as may be.
    Full,
    /// It has to [`ask`](InFlight::ask).
    Ask,
}

/// One that is under way, until this is dropped.
#[derive(Debug)]
pub struct Entered(Option<Arc<AtomicUsize>>);

impl Entered {
    /// It has to [`leave`](InFlight::leave) by itself from now on.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        if let Some(now) = &self.0 {
            now.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl InFlight {
    /// None yet, at most `max`.
    pub fn new(max: usize) -> Self {
        Self { now: Arc::default(), max, lease: None }
    }

    /// None yet, at most `max` with all replicas together, for `app`.
    pub fn shared(max: usize, app: &str, shared: &Arc<Shared>) -> Self {
        let now = Arc::default();
        let lease = Arc::new(Lease::new(app, Arc::clone(&now), max));
        shared.watch_lease(&lease);
        Self { now, max, lease: Some((Arc::clone(shared), lease)) }
    }

    /// The same, of which there may be `max` from now on: who is under way counts.
    pub fn at_most(&self, max: usize) -> Self {
        Self { now: Arc::clone(&self.now), max, lease: self.lease.clone() }
    }

    /// One more, unless there are as many as may be here. Whoever got `true` has to [`leave`](Self::leave).
    #[must_use]
    pub fn enter(&self) -> bool {
        self.enter_below(|| self.max)
    }

    /// One more, unless there are as many as may be, here or with all replicas.
    pub fn enter_all(&self) -> Entering {
        let Some((shared, lease)) = &self.lease else {
            return if self.enter() { Entering::In } else { Entering::Full };
        };
        if !shared.is_up() {
            shared.count_fallback();
            return self.enter_alone(shared);
        }
        if self.enter_below(|| lease.leased().min(self.max)) {
            Entering::In
        } else if self.now() >= self.max || lease.is_full(shared) {
            Entering::Full
        } else {
            Entering::Ask
        }
    }

    /// Asks Redis for room, and enters if there is some.
    pub async fn ask(&self) -> Option<Entered> {
        let mut entering = Entering::Ask;
        while let (Entering::Ask, Some((shared, lease))) = (entering, &self.lease) {
            entering = if lease.ask(shared, self.max).await {
                // Others may have been faster.
                self.enter_all()
            } else {
                shared.count_fallback();
                self.enter_alone(shared)
            };
        }
        (entering == Entering::In).then(|| Entered(Some(Arc::clone(&self.now))))
    }

    /// As many as this replica has without the others.
    fn enter_alone(&self, shared: &Shared) -> Entering {
        if self.enter_below(|| shared.alone_of(self.max)) { Entering::In } else { Entering::Full }
    }

    fn enter_below(&self, max: impl FnOnce() -> usize) -> bool {
        // Taken first and given back: two that meet at the limit may both be refused, never both let in. And before
        // the limit is looked at: whoever lowers it sees this one, or this one sees it lowered.
        let entered = self.now.fetch_add(1, Ordering::SeqCst) < max();
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
