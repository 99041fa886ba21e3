//! Limits as operators see them.

use serde::Serialize;

use super::{Limit, Limits};
use crate::xinyao::{Target, TargetSet};

/// A limit, and how much of it is left.
#[derive(Debug, Clone, Serialize)]
pub struct LimitStatus {
    /// Its name in `RateLimit` fields.
    pub name: String,
    /// What it counts; `*`: everything.
    pub endpoints: Vec<&'static str>,
    /// How many in `per_seconds`.
    pub limit: u32,
    /// In how long.
    pub per_seconds: u64,
    /// How many at once.
    pub burst: u32,
    /// How long a request may be delayed before it is refused.
    pub max_wait_ms: u64,
    /// How many would be let in now.
    pub remaining: u32,
    /// Until the burst is whole again.
    pub reset_seconds: u64,
}

impl Limit {
    fn status(&self, remaining: u32) -> LimitStatus {
        LimitStatus {
            name: self.name.clone(),
            endpoints: names(self.targets),
            limit: self.rate.count,
            per_seconds: self.rate.per.as_secs(),
            burst: self.rate.burst,
            max_wait_ms: u64::try_from(self.max_wait.as_millis()).unwrap_or(u64::MAX),
            remaining,
            reset_seconds: self.reset(remaining),
        }
    }
}

impl Limits {
    /// Each of them, the narrowest first.
    pub fn status(&self) -> Vec<LimitStatus> {
        self.limits.iter().enumerate().map(|(at, limit)| limit.status(self.remaining_of(at))).collect()
    }
}

/// The names of targets; `*`: all of them.
pub fn names(targets: TargetSet) -> Vec<&'static str> {
    if targets == TargetSet::ALL {
        return vec!["*"];
    }
    Target::ALL.into_iter().filter(|target| targets.contains(*target)).map(Target::name).collect()
}
