//! Limits that Redis counts for all replicas.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Limit, Limits, Standing, Verdict};
use crate::proxy::settings::RateLimit;
use crate::proxy::shared::{Cells, Counted, Empty, Shared, Told, Took};
use crate::xinyao::Target;

/// The cells of an app.
pub struct Pool {
    shared: Arc<Shared>,
    /// As many as limits, in their order.
    counted: Vec<Arc<Counted>>,
    /// By target; none where nothing limits it.
    cells: [Option<Arc<Cells>>; Target::COUNT],
}

impl Pool {
    fn new(limits: &[Limit], app: &str, shared: &Arc<Shared>, earlier: Option<&Self>) -> Self {
        let mut counted = Vec::<Arc<Counted>>::with_capacity(limits.len());
        for (at, limit) in limits.iter().enumerate() {
            let mut key = key(app, limit);
            // Two alike have a state each.
            let alike = limits[..at].iter().filter(|other| other.counts_like(limit)).count();
            if alike > 0 {
                key.push_str(&format!("#{alike}"));
            }
            let known = earlier.and_then(|earlier| earlier.counted.iter().find(|known| known.key == key));
            counted.push(known.map_or_else(|| Arc::new(Counted::new(key, limit.rate)), Arc::clone));
        }
        let mut pool = Self { shared: Arc::clone(shared), counted, cells: Default::default() };
        let name: Arc<str> = app.into();
        for target in Target::ALL {
            let applying =
                limits.iter().zip(&pool.counted).filter(|(limit, _)| limit.targets.contains(target));
            let applying: Vec<_> = applying.map(|(_, counted)| Arc::clone(counted)).collect();
            if !applying.is_empty() {
                pool.cells[target.index()] = Some(pool.cells_of(&name, applying, earlier));
            }
        }
        pool
    }

    /// Those that are known of these limits, or new ones.
    fn cells_of(&self, app: &Arc<str>, limits: Vec<Arc<Counted>>, earlier: Option<&Self>) -> Arc<Cells> {
        let known = self.cells.iter().chain(earlier.iter().flat_map(|earlier| &earlier.cells)).flatten();
        let same = |cells: &&Arc<Cells>| {
            cells.limits.len() == limits.len()
                && cells.limits.iter().zip(&limits).all(|(a, b)| Arc::ptr_eq(a, b))
        };
        if let Some(cells) = known.into_iter().find(same) {
            return Arc::clone(cells);
        }
        let cells = Arc::new(Cells::new(Arc::clone(app), limits));
        self.shared.watch(&cells);
        cells
    }

    /// Whether Redis answers.
    pub fn is_up(&self) -> bool {
        self.shared.is_up()
    }
}

/// Where Redis counts a limit: all replicas with the same limit call it the same, and one that was changed begins anew.
/// What is in braces tells a Redis Cluster to keep an app's limits together.
fn key(app: &str, limit: &Limit) -> String {
    let Limit { name, rate, .. } = limit;
    format!("xinyao:{{{app}}}:rate:{name}:{}/{}s+{}", rate.count, rate.per.as_secs(), rate.burst)
}

impl Limits {
    /// As configured for `app`; all replicas share them while Redis answers. What `earlier` has as well goes on.
    pub fn shared(settings: &[RateLimit], app: &str, shared: &Arc<Shared>, earlier: Option<&Self>) -> Self {
        let mut limits = Self::of(settings, |rate| shared.alone(rate));
        let earlier = earlier.and_then(|earlier| earlier.pool.as_ref());
        limits.pool = Some(Pool::new(&limits.limits, app, shared, earlier));
        limits
    }

    /// Takes a cell of those at hand.
    pub(super) fn take(
        &self,
        pool: &Pool,
        target: Target,
        from: usize,
        (now, waited): (Instant, Duration),
        standing: &mut Option<Standing>,
    ) -> Verdict {
        let Some(cells) = &pool.cells[target.index()] else { return Verdict::Admitted };
        match cells.take(&pool.shared, now) {
            Took::Cell => {
                *standing = self.counted(pool, target, now);
                Verdict::Admitted
            }
            Took::Empty(empty) => self.empty(target, empty, waited, standing),
            Took::Ask => Verdict::Ask,
            Took::Unreachable => self.admit_alone(target, from, waited, standing),
        }
    }

    /// Has a cell at hand, if there is one.
    pub async fn fetch(&self, target: Target) {
        if let Some(pool) = &self.pool
            && let Some(cells) = &pool.cells[target.index()]
        {
            cells.fetch(&pool.shared).await;
        }
    }

    /// Asks Redis for a cell; to be [heeded](Self::heed).
    pub async fn ask(&self, target: Target) -> Told {
        match &self.pool {
            Some(Pool { shared, cells, .. }) => match &cells[target.index()] {
                Some(cells) => cells.ask(shared).await,
                None => Told::Cell,
            },
            None => Told::Unreachable,
        }
    }

    /// What comes of what Redis said.
    pub fn heed(
        &self,
        told: Told,
        target: Target,
        waited: Duration,
        standing: &mut Option<Standing>,
    ) -> Verdict {
        match (told, &self.pool) {
            (Told::Cell, Some(pool)) => {
                *standing = self.counted(pool, target, Instant::now());
                Verdict::Admitted
            }
            (Told::Empty(empty), _) => self.empty(target, empty, waited, standing),
            (Told::Cell | Told::Unreachable, pool) => {
                if let Some(pool) = pool {
                    pool.shared.count_fallback();
                }
                self.admit_alone(target, 0, waited, standing)
            }
        }
    }

    /// One of the limits that `target` has is used up.
    fn empty(
        &self,
        target: Target,
        Empty { limit, wait }: Empty,
        waited: Duration,
        standing: &mut Option<Standing>,
    ) -> Verdict {
        let at = self.applying(target).nth(limit).map_or(0, |(at, _)| at);
        match self.not_for(at, wait, waited, standing) {
            // All are asked again: none has been charged.
            Verdict::Wait { delay, .. } => Verdict::Wait { at: 0, delay },
            verdict => verdict,
        }
    }

    /// How near `target` is to its limits, as Redis last said, and what is at hand here.
    pub(super) fn counted(&self, pool: &Pool, target: Target, now: Instant) -> Option<Standing> {
        let held = pool.cells[target.index()].as_ref().map_or(0, |cells| cells.held());
        let standings = self.applying(target).map(|(at, limit)| {
            let left = pool.counted[at].remaining(pool.shared.since(now));
            let remaining = left.saturating_add(held).min(limit.rate.burst);
            Standing { at, remaining, reset: limit.reset(remaining) }
        });
        standings.min_by_key(|standing| standing.remaining)
    }

    /// How many limit number `at` has left.
    pub(super) fn remaining_of(&self, at: usize) -> u32 {
        let pool = self.pool.as_ref().filter(|pool| pool.is_up());
        match pool {
            Some(pool) => pool.counted[at].remaining(pool.shared.since(Instant::now())),
            None => self.limits[at].remaining(),
        }
    }
}
