//! Where tokens come from: the pace of this process, or, while Redis answers, the well that all replicas draw from.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::throttle::Throttle;
use crate::proxy::settings::Rate;
use crate::proxy::shared::{Shared, Well};

/// Where tokens come from.
pub struct Source {
    /// This process alone.
    pub pace: Pace,
    well: Option<(Arc<Shared>, Arc<Well>)>,
}

impl Source {
    /// Tokens at this rate; of all replicas together, where they are `shared`.
    pub fn new(rate: Rate, shared: Option<&Arc<Shared>>) -> Self {
        let Some(shared) = shared else { return Self { pace: Pace::new(rate), well: None } };
        let well = Arc::new(Well::new(rate));
        shared.watch_well(&well);
        Self { pace: Pace::new(shared.alone(rate)), well: Some((Arc::clone(shared), well)) }
    }

    /// What all replicas draw from, while Redis answers.
    pub fn well(&self) -> Option<(&Shared, &Well)> {
        let (shared, well) = self.well.as_ref()?;
        shared.is_up().then_some((shared, well))
    }

    /// What all replicas draw from, whether or not Redis answers.
    pub fn any_well(&self) -> Option<&Well> {
        self.well.as_ref().map(|(_, well)| &**well)
    }

    /// Takes one, if nobody waits and there is one.
    pub fn take(&self, now: Instant) -> bool {
        match self.well() {
            Some((shared, well)) => well.take(shared, now),
            None => self.pace.take(now),
        }
    }

    /// Takes what one request needs, if it is there; `due`: somebody has waited for it.
    pub fn take_throttled(&self, throttle: &mut Throttle, now: Instant, due: bool) -> bool {
        // Redis has its own throttle, for all.
        if let Some((shared, well)) = self.well() {
            return well.take(shared, now);
        }
        if throttle.lift(now) {
            tracing::info!("the upstream no longer asks for less");
        }
        let taken = throttle.is_free(now) && if due { self.pace.take_due(now) } else { self.pace.take(now) };
        if taken {
            throttle.take(now, due);
        }
        taken
    }

    /// Gives back what one request needed.
    pub fn give_back(&self, throttle: &mut Throttle, now: Instant) {
        if let Some((_, well)) = self.well() {
            well.put_back();
        } else {
            self.pace.give_back();
            throttle.give_back(now);
        }
    }

    /// When there is one.
    pub fn free_at(&self, throttle: &Throttle, now: Instant) -> Instant {
        if let Some((shared, well)) = self.well() {
            return now + well.free_in(shared, now);
        }
        let free_at = self.pace.free_at();
        throttle.free_at().map_or(free_at, |throttled| throttled.max(free_at))
    }

    /// From one to the next, and whether that is so long because of the upstream.
    pub fn period(&self, throttle: &Throttle, now: Instant) -> (Duration, bool) {
        let period = self.pace.period();
        if let Some((shared, well)) = self.well() {
            let throttled = well.slowed().map_or(Duration::ZERO, |rate| Duration::from_secs_f64(1.0 / rate));
            return (shared.whole_of(period).max(throttled), !throttled.is_zero());
        }
        let throttled = throttle.period(now);
        let slowed = throttled > period || throttle.free_at().is_some_and(|at| at > self.pace.free_at());
        (period.max(throttled), slowed)
    }

    /// How many may be sent by the second while the upstream asks for less.
    pub fn slowed(&self, throttle: &Throttle, now: Instant) -> Option<f64> {
        match self.well() {
            Some((_, well)) => well.slowed(),
            None => throttle.rate(now),
        }
    }
}
