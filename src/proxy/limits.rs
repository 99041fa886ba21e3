//! Rate limits of one app: GCRA, several at once, narrowest first, each able to delay before it refuses.

mod shared;
mod shown;
#[cfg(test)]
mod tests;

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use governor::clock::{Clock, DefaultClock, QuantaInstant, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use http::HeaderValue;

use super::settings::{Rate, RateLimit};
use crate::xinyao::{Target, TargetSet};

use self::shared::Pool;
pub use self::shown::{LimitStatus, names};

type Governor = RateLimiter<NotKeyed, Shared, DefaultClock, StateInformationMiddleware>;

/// One for all limits: making one asks the processor what it is, which takes a virtual machine tens of
/// microseconds.
static CLOCK: LazyLock<DefaultClock> = LazyLock::new(DefaultClock::default);

/// The governor's state, which can so be looked at as well: the governor itself charges whoever asks.
struct Shared(Arc<InMemoryState>);

impl StateStore for Shared {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, key: &NotKeyed, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        self.0.measure_and_replace(key, f)
    }
}

/// One limit.
pub struct Limit {
    governor: Arc<Governor>,
    state: Arc<InMemoryState>,
    clock: DefaultClock,
    start: QuantaInstant,
    /// As configured.
    rate: Rate,
    /// What this process lets in on its own: less, where others share the limit.
    alone: Rate,
    name: String,
    targets: TargetSet,
    max_wait: Duration,
}

/// What one limit says to one request.
enum Said {
    /// Let in; so many more could follow at once.
    Admitted(u32),
    /// Not before then.
    NotFor(Duration),
}

/// What all limits together say to one request.
#[derive(Debug)]
pub enum Verdict {
    /// Let in.
    Admitted,
    /// Ask again from limit `at` on, after `delay`.
    Wait {
        /// Which limit delays it.
        at: usize,
        /// How long.
        delay: Duration,
    },
    /// Wait for what [`ask`](Limits::ask) says.
    Ask,
    /// Refused.
    Refused {
        /// By which limit.
        policy: String,
        /// When there is room again.
        retry_after: Duration,
    },
}

/// How near a request is to its limits, for the `RateLimit` field of its answer.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    at: usize,
    remaining: u32,
    reset: u64,
}

impl Limit {
    /// As configured, but for what this process lets in `alone`.
    fn new(settings: &RateLimit, alone: Rate) -> Self {
        let RateLimit { rate, endpoints: targets, max_wait } = *settings;
        let burst = NonZeroU32::new(alone.burst).unwrap_or(NonZeroU32::MIN);
        // `with_period` is `None` for a period of zero alone, which it never is.
        let quota = Quota::with_period(alone.period()).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        let (state, clock) = (Arc::<InMemoryState>::default(), CLOCK.clone());
        // Before the governor's own, or what was just charged would look like more.
        let start = clock.now();
        let governor = Arc::new(Governor::new(quota, Shared(Arc::clone(&state)), clock.clone()));
        let name = name(targets);
        Self { governor, state, clock, start, rate, alone, name, targets, max_wait }
    }

    /// Whether `other` counts the same requests to the same measure.
    fn counts_like(&self, other: &Self) -> bool {
        (self.rate, self.targets) == (other.rate, other.targets)
    }

    /// Goes on counting where `earlier` is.
    fn go_on_from(&mut self, earlier: &Self) {
        self.governor = Arc::clone(&earlier.governor);
        self.state = Arc::clone(&earlier.state);
        (self.clock, self.start) = (earlier.clock.clone(), earlier.start);
    }

    fn ask(&self) -> Said {
        match self.governor.check() {
            Ok(state) => Said::Admitted(state.remaining_burst_capacity()),
            Err(not_until) => Said::NotFor(not_until.wait_time_from(self.clock.now())),
        }
    }

    /// How many could be let in now.
    fn remaining(&self) -> u32 {
        // GCRA's whole state is when the burst will be whole again; an error leaves it as it is.
        let seen = |whole_at: Option<Nanos>| Err::<((), Nanos), u64>(whole_at.map_or(0, u64::from));
        let whole_at = self.state.measure_and_replace(&NotKeyed::NonKey, seen).err().unwrap_or(0);
        let missing = whole_at.saturating_sub(self.clock.now().duration_since(self.start).into());
        let used = u128::from(missing).div_ceil(self.alone.period().as_nanos());
        self.alone.burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
    }

    fn policy(&self) -> String {
        format!("\"{}\";q={};w={}", self.name, self.rate.count, self.rate.per.as_secs().max(1))
    }

    /// Seconds until the burst is whole again.
    fn reset(&self, remaining: u32) -> u64 {
        let used = u64::from(self.rate.burst.saturating_sub(remaining));
        (used * self.rate.per.as_secs()).div_ceil(u64::from(self.rate.count.max(1)))
    }
}

/// All limits of one app.
pub struct Limits {
    limits: Vec<Limit>,
    /// Where Redis counts them for all replicas.
    pool: Option<Pool>,
}

impl Limits {
    /// As configured.
    pub fn new(settings: &[RateLimit]) -> Self {
        Self::of(settings, |rate| rate)
    }

    fn of(settings: &[RateLimit], alone: impl Fn(Rate) -> Rate) -> Self {
        let mut limits: Vec<Limit> =
            settings.iter().map(|limit| Limit::new(limit, alone(limit.rate))).collect();
        // The narrowest first: what it refuses takes nothing from the wider ones.
        limits.sort_by_key(|limit| Target::ALL.iter().filter(|t| limit.targets.contains(**t)).count());
        Self { limits, pool: None }
    }

    /// Those that `earlier` has as well go on from where they are there.
    pub fn after(mut self, earlier: &Self) -> Self {
        let mut left: Vec<&Limit> = earlier.limits.iter().collect();
        for limit in &mut self.limits {
            if let Some(at) = left.iter().position(|known| known.counts_like(limit)) {
                limit.go_on_from(left.swap_remove(at));
            }
        }
        self
    }

    /// Asks those limits that `target` has, from number `from` on. `waited` is how long the request was
    /// delayed already.
    pub fn admit(
        &self,
        target: Target,
        from: usize,
        (now, waited): (Instant, Duration),
        standing: &mut Option<Standing>,
    ) -> Verdict {
        match &self.pool {
            Some(pool) => self.take(pool, target, from, (now, waited), standing),
            None => self.admit_alone(target, from, waited, standing),
        }
    }

    /// Those that apply to `target`, with their numbers.
    fn applying(&self, target: Target) -> impl Iterator<Item = (usize, &Limit)> {
        self.limits.iter().enumerate().filter(move |(_, limit)| limit.targets.contains(target))
    }

    fn admit_alone(
        &self,
        target: Target,
        from: usize,
        waited: Duration,
        standing: &mut Option<Standing>,
    ) -> Verdict {
        for (at, limit) in self.applying(target).filter(|(at, _)| *at >= from) {
            match limit.ask() {
                Said::Admitted(remaining) => {
                    if standing.is_none_or(|known| remaining < known.remaining) {
                        *standing = Some(Standing { at, remaining, reset: limit.reset(remaining) });
                    }
                }
                Said::NotFor(delay) => return self.not_for(at, delay, waited, standing),
            }
        }
        Verdict::Admitted
    }

    /// Limit number `at` lets a request in only after `delay`.
    fn not_for(
        &self,
        at: usize,
        delay: Duration,
        waited: Duration,
        standing: &mut Option<Standing>,
    ) -> Verdict {
        let limit = &self.limits[at];
        if waited + delay <= limit.max_wait {
            return Verdict::Wait { at, delay };
        }
        *standing = Some(Standing { at, remaining: 0, reset: delay.as_secs() + 1 });
        Verdict::Refused { policy: limit.name.clone(), retry_after: delay }
    }

    /// How near `target` is to its limits, for a request that never came to them.
    pub fn look(&self, target: Target) -> Option<Standing> {
        if let Some(pool) = self.pool.as_ref().filter(|pool| pool.is_up()) {
            return self.counted(pool, target, Instant::now());
        }
        let standings = self.applying(target).map(|(at, limit)| {
            let remaining = limit.remaining();
            Standing { at, remaining, reset: limit.reset(remaining) }
        });
        standings.min_by_key(|standing| standing.remaining)
    }

    /// The `RateLimit-Policy` field of answers, by target (draft-ietf-httpapi-ratelimit-headers-10 §3).
    pub fn policies(&self) -> [Option<HeaderValue>; Target::COUNT] {
        Target::ALL.map(|target| {
            let applying = self.limits.iter().filter(|limit| limit.targets.contains(target));
            let texts: Vec<String> = applying.map(Limit::policy).collect();
            HeaderValue::try_from(texts.join(", ")).ok().filter(|value| !value.is_empty())
        })
    }

    /// The `RateLimit` field (§4 there): the limit that is nearest to being used up.
    pub fn standing(&self, standing: Standing) -> Option<HeaderValue> {
        let limit = self.limits.get(standing.at)?;
        let text = format!("\"{}\";r={};t={}", limit.name, standing.remaining, standing.reset);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}

fn name(targets: TargetSet) -> String {
    if targets == TargetSet::ALL {
        return "all".into();
    }
    let names: Vec<&str> =
        Target::ALL.into_iter().filter(|t| targets.contains(*t)).map(Target::name).collect();
    names.join("+")
}
