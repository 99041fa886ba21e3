//! Rate limits of one app: GCRA, several at once, narrowest first, each able to delay before it refuses.

mod shown;

use std::num::NonZeroU32;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock, QuantaInstant, Reference};
use governor::middleware::StateInformationMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use http::HeaderValue;

use super::settings::{Rate, RateLimit};
use crate::xinyao::{Target, TargetSet};

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
    period: Duration,
    rate: Rate,
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
    /// A limit called `name` in headers.
    pub fn new(name: String, rate: Rate, targets: TargetSet, max_wait: Duration) -> Self {
        let period = (rate.per / rate.count.max(1)).max(Duration::from_nanos(1));
        let burst = NonZeroU32::new(rate.burst).unwrap_or(NonZeroU32::MIN);
        // `with_period` is `None` for a period of zero alone, which is excluded above.
        let quota = Quota::with_period(period).unwrap_or(Quota::per_second(burst)).allow_burst(burst);
        let (state, clock) = (Arc::<InMemoryState>::default(), CLOCK.clone());
        let governor = Arc::new(Governor::new(quota, Shared(Arc::clone(&state)), clock.clone()));
        Self { governor, state, start: clock.now(), clock, period, rate, name, targets, max_wait }
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
        let used = u128::from(missing).div_ceil(self.period.as_nanos().max(1));
        self.rate.burst.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX))
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
}

impl Limits {
    /// As configured.
    pub fn new(settings: &[RateLimit]) -> Self {
        let mut limits: Vec<Limit> =
            settings.iter().map(|s| Limit::new(name(s.endpoints), s.rate, s.endpoints, s.max_wait)).collect();
        // The narrowest first: what it refuses takes nothing from the wider ones.
        limits.sort_by_key(|limit| Target::ALL.iter().filter(|t| limit.targets.contains(**t)).count());
        Self { limits }
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
        waited: Duration,
        standing: &mut Option<Standing>,
    ) -> Verdict {
        let applying = self.limits.iter().enumerate().skip(from).filter(|(_, l)| l.targets.contains(target));
        for (at, limit) in applying {
            match limit.ask() {
                Said::Admitted(remaining) => {
                    if standing.is_none_or(|known| remaining < known.remaining) {
                        *standing = Some(Standing { at, remaining, reset: limit.reset(remaining) });
                    }
                }
                Said::NotFor(delay) if waited + delay <= limit.max_wait => {
                    return Verdict::Wait { at, delay };
                }
                Said::NotFor(retry_after) => {
                    let reset = retry_after.as_secs() + 1;
                    *standing = Some(Standing { at, remaining: 0, reset });
                    return Verdict::Refused { policy: limit.name.clone(), retry_after };
                }
            }
        }
        Verdict::Admitted
    }

    /// How near `target` is to its limits, for a request that never came to them.
    pub fn look(&self, target: Target) -> Option<Standing> {
        let applying = self.limits.iter().enumerate().filter(|(_, limit)| limit.targets.contains(target));
        let standings = applying.map(|(at, limit)| {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xinyao::Endpoint;

    const OUTNUM: Target = Target::Endpoint(Endpoint::Outnum);
    const TASKLIST: Target = Target::Endpoint(Endpoint::TaskList);

    fn limit(count: u32, burst: u32, targets: TargetSet, max_wait: Duration) -> RateLimit {
        let rate = Rate { count, per: Duration::from_hours(1), burst };
        RateLimit { rate, endpoints: targets, max_wait }
    }

    #[test]
    fn all_that_apply_must_admit_and_the_narrowest_is_asked_first() {
        let limits = Limits::new(&[
            limit(100, 5, TargetSet::ALL, Duration::ZERO),
            limit(6, 1, [OUTNUM].into_iter().collect(), Duration::ZERO),
        ]);
        let mut standing = None;
        assert!(matches!(limits.admit(OUTNUM, 0, Duration::ZERO, &mut standing), Verdict::Admitted));
        assert_eq!(limits.standing(standing.unwrap()).unwrap(), "\"outnum\";r=0;t=600");
        for _ in 0..9 {
            let verdict = limits.admit(OUTNUM, 0, Duration::ZERO, &mut standing);
            assert!(matches!(verdict, Verdict::Refused { policy, .. } if policy == "outnum"));
        }
        // The refused ones took nothing from the limit of all.
        let admitted = (0..9)
            .filter(|_| matches!(limits.admit(TASKLIST, 0, Duration::ZERO, &mut None), Verdict::Admitted));
        assert_eq!(admitted.count(), 4);
    }

    #[test]
    fn looking_charges_nobody() {
        let limits = Limits::new(&[limit(60, 3, TargetSet::ALL, Duration::ZERO)]);
        for left in [3, 2, 1, 0] {
            for _ in 0..5 {
                let standing = limits.look(OUTNUM).unwrap();
                assert_eq!((standing.remaining, standing.reset), (left, u64::from(3 - left) * 60));
            }
            limits.admit(OUTNUM, 0, Duration::ZERO, &mut None);
        }
    }

    #[test]
    fn what_did_not_change_goes_on_from_where_it_is() {
        let outnum = || [OUTNUM].into_iter().collect();
        let admits = |limits: &Limits, target| {
            matches!(limits.admit(target, 0, Duration::ZERO, &mut None), Verdict::Admitted)
        };
        let before = Limits::new(&[
            limit(9, 1, outnum(), Duration::ZERO),
            limit(9, 2, TargetSet::ALL, Duration::ZERO),
        ]);
        assert!(admits(&before, OUTNUM));
        let same = Limits::new(&[
            limit(9, 1, outnum(), Duration::ZERO),
            limit(9, 3, TargetSet::ALL, Duration::ZERO),
        ]);
        let after = same.after(&before);
        assert!(!admits(&after, OUTNUM));
        assert!(
            (0..3).all(|_| admits(&after, TASKLIST)) && !admits(&after, TASKLIST),
            "another burst begins anew"
        );
        // Two alike have a state each.
        let twice =
            || Limits::new(&[limit(9, 1, outnum(), Duration::ZERO), limit(9, 1, outnum(), Duration::ZERO)]);
        let third = twice().after(&after);
        assert!(!admits(&third, OUTNUM));
        assert!(admits(&twice(), OUTNUM));
    }

    #[test]
    fn a_limit_may_delay_before_it_refuses() {
        let limits = Limits::new(&[limit(3600, 1, TargetSet::ALL, Duration::from_secs(2))]);
        let ask = |waited| limits.admit(TASKLIST, 0, waited, &mut None);
        assert!(matches!(ask(Duration::ZERO), Verdict::Admitted));
        assert!(matches!(ask(Duration::ZERO), Verdict::Wait { at: 0, delay } if delay.as_millis() > 900));
        assert!(matches!(ask(Duration::from_millis(1500)), Verdict::Refused { .. }));
    }

    #[test]
    fn policies_name_the_limits_that_apply() {
        let limits = Limits::new(&[
            limit(100, 200, TargetSet::ALL, Duration::ZERO),
            limit(6, 2, [OUTNUM].into_iter().collect(), Duration::ZERO),
        ]);
        let of = |target: Target| limits.policies()[target.index()].clone();
        assert_eq!(of(OUTNUM).unwrap(), "\"outnum\";q=6;w=3600, \"all\";q=100;w=3600");
        assert_eq!(of(TASKLIST).unwrap(), "\"all\";q=100;w=3600");
        assert!(Limits::new(&[]).policies().iter().all(Option::is_none));
    }
}
