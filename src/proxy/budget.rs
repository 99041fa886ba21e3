//! How many requests may be sent a second time: enough to ride over a hiccup, too few to make an outage
//! worse.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many are always allowed.
const FLOOR: usize = 3;
/// One in so many requests under way may be a retry.
const SHARE: usize = 5;

/// Counts the retries under way.
#[derive(Debug, Default)]
pub struct Budget(AtomicUsize);

/// One retry, for as long as this lives.
#[derive(Debug)]
pub struct Retry(Arc<Budget>);

impl Budget {
    /// One more, if there is room beside `in_flight` requests.
    pub fn take(self: &Arc<Self>, in_flight: usize) -> Option<Retry> {
        let retry = Retry(Arc::clone(self));
        (self.0.fetch_add(1, Ordering::Relaxed) < FLOOR.max(in_flight / SHARE)).then_some(retry)
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_of_what_is_under_way_and_never_fewer_than_three() {
        for (in_flight, expected) in [(1, 3), (15, 3), (20, 4), (100, 20)] {
            let budget = Arc::new(Budget::default());
            let taken: Vec<Retry> = std::iter::from_fn(|| budget.take(in_flight)).collect();
            assert_eq!(taken.len(), expected);
            drop(taken);
            assert!(budget.take(in_flight).is_some());
        }
    }
}
