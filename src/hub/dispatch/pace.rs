//! A subscriber's rate limit: so many deliveries a second, a second's worth at once.

use std::num::NonZeroU32;

use governor::clock::{Clock, Reference};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::Instant;

/// Tokio's time, which tests can hold still.
#[derive(Debug, Clone)]
struct TokioClock {
    origin: Instant,
}

impl Clock for TokioClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.origin.elapsed().into()
    }
}

/// Lets deliveries begin, or says when.
pub struct Pace {
    per_second: Option<NonZeroU32>,
    limiter: Option<RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Nanos>>>,
    clock: TokioClock,
}

impl Pace {
    /// At most so many a second; `None`: as many as there are.
    pub fn new(per_second: Option<u32>) -> Self {
        let clock = TokioClock { origin: Instant::now() };
        let per_second = per_second.and_then(NonZeroU32::new);
        let limiter =
            per_second.map(|rate| RateLimiter::direct_with_clock(Quota::per_second(rate), clock.clone()));
        Self { per_second, limiter, clock }
    }

    /// The same with another rate; with the same one, what was used up stays used up.
    pub fn change(&mut self, per_second: Option<u32>) {
        if self.per_second != per_second.and_then(NonZeroU32::new) {
            *self = Self::new(per_second);
        }
    }

    /// Takes a place for one delivery.
    ///
    /// # Errors
    /// Not before then.
    pub fn admit(&self) -> Result<(), Instant> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let now = self.clock.now();
        limiter.check().map_err(|not_until| {
            let wait = not_until.earliest_possible().duration_since(now);
            self.clock.origin + (now + wait).into()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_holds_no_more_than_its_worth() {
        let mut pace = Pace::new(Some(10));
        let began = Instant::now();
        let mut admitted = 0;
        while began.elapsed() < Duration::from_secs(2) {
            match pace.admit() {
                Ok(()) => admitted += 1,
                Err(then) => tokio::time::sleep_until(then).await,
            }
            pace.change(Some(10));
        }
        assert!((29..=31).contains(&admitted), "a burst of 10 and 10 a second: {admitted}");
        pace.change(None);
        assert!((0..1000).all(|_| pace.admit().is_ok()));
    }
}
