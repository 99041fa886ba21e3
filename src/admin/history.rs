//! The last hour in samples, for plots: what was counted in each step, and how things stood at its end.
//!
//! One ring in memory, of a fixed number of samples, each of bounded size. It starts empty: a restart forgets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Problem;
use super::asked::{HistoryAsked, Parameters};
use crate::telemetry::histogram::Histogram;

/// The time between two samples.
pub const STEP: Duration = Duration::from_secs(10);
/// Samples of an hour.
const KEPT: usize = 360;
/// Most kinds of errors that a sample tells apart; the rarest are left out.
const MAX_ERRORS: usize = 32;

/// What has been counted since the process began, and how things stand.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Requests by how they ended: a name and a count each, the same names in every reading.
    pub requests: Vec<(&'static str, u64)>,
    /// How long requests took.
    pub took: Histogram,
    /// What was wrong with requests.
    pub errors: Vec<(Complaint, u64)>,
    /// Requests under way now.
    pub in_flight: usize,
    /// Callbacks that were acknowledged or answered.
    pub callbacks: u64,
    /// Callbacks that were refused.
    pub callbacks_refused: u64,
    /// Deliveries done.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Deliveries not yet done.
    pub backlog: u64,
    /// Deliveries given up.
    pub dead_letters: u64,
    /// The SaaS's clock less this host's.
    pub clock_skew_seconds: f64,
}

/// What was wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What was called.
    pub endpoint: &'static str,
    /// How it ended.
    pub outcome: &'static str,
    /// The SaaS's code, a status, or why it was refused.
    pub code: String,
}

/// The ring.
#[derive(Debug)]
pub struct History(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    started: (Timestamp, Instant),
    last: (Reading, Instant),
    samples: VecDeque<Sample>,
}

#[derive(Debug)]
struct Sample {
    at: Timestamp,
    took: Duration,
    /// Counts of this step, levels at its end.
    step: Reading,
}

impl History {
    /// Nothing has happened before this.
    pub fn new(first: Reading, now: Instant) -> Self {
        let started = (Timestamp::now(), now);
        Self(Mutex::new(Ring { started, last: (first, now), samples: VecDeque::with_capacity(KEPT) }))
    }

    /// Takes a sample.
    pub fn take(&self, reading: Reading, now: Instant) {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let step = reading.since(&ring.last.0);
        // By the clock that is never set: samples must not go back in time.
        let since_start = now.saturating_duration_since(ring.started.1);
        let at = ring.started.0.saturating_add(since_start).unwrap_or(ring.started.0);
        let took = now.saturating_duration_since(ring.last.1);
        if ring.samples.len() == KEPT {
            ring.samples.pop_front();
        }
        ring.samples.push_back(Sample { at, took, step });
        ring.last = (reading, now);
    }

    /// The samples from then on, and what went wrong in all that are kept.
    fn shown(&self, since: Option<Timestamp>) -> Value {
        let ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = ring.samples.iter().filter(|sample| since.is_none_or(|since| sample.at >= since));
        let samples: Vec<Value> = wanted.map(Sample::shown).collect();
        json!({
            "step_seconds": STEP.as_secs(),
            "samples": samples,
            "errors": ring.errors(),
        })
    }
}

impl Ring {
    /// The most frequent first.
    fn errors(&self) -> Vec<Value> {
        let mut sums = Vec::<(&Complaint, u64)>::new();
        for (complaint, count) in self.samples.iter().flat_map(|sample| &sample.step.errors) {
            match sums.iter_mut().find(|(known, _)| *known == complaint) {
                Some((_, sum)) => *sum += count,
                None => sums.push((complaint, *count)),
            }
        }
        sums.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let shown = |(of, count): (&Complaint, u64)| json!({ "endpoint": of.endpoint, "outcome": of.outcome, "code": of.code, "count": count });
        sums.into_iter().map(shown).collect()
    }
}

impl Reading {
    /// What was counted since `earlier`. A subscriber that is forgotten takes its counts with it: never less
    /// than none.
    fn since(&self, earlier: &Self) -> Self {
        let requests = self.requests.iter().map(|(name, count)| {
            let before = earlier.requests.iter().find(|(known, _)| known == name);
            (*name, count.saturating_sub(before.map_or(0, |(_, count)| *count)))
        });
        let errors = self.errors.iter().map(|(complaint, count)| {
            let before = earlier.errors.iter().find(|(known, _)| known == complaint);
            (complaint.clone(), count.saturating_sub(before.map_or(0, |(_, count)| *count)))
        });
        let mut errors: Vec<_> = errors.filter(|(_, count)| *count > 0).collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        errors.truncate(MAX_ERRORS);
        Self {
            requests: requests.collect(),
            took: self.took.since(&earlier.took),
            errors,
            callbacks: self.callbacks.saturating_sub(earlier.callbacks),
            callbacks_refused: self.callbacks_refused.saturating_sub(earlier.callbacks_refused),
            delivered: self.delivered.saturating_sub(earlier.delivered),
            failed: self.failed.saturating_sub(earlier.failed),
            ..*self
        }
    }
}

impl Sample {
    fn shown(&self) -> Value {
        let step = &self.step;
        let requests: serde_json::Map<String, Value> =
            step.requests.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        let within = |share| step.took.quantile(share).map(|seconds| seconds * 1000.0);
        json!({
            "at": self.at.to_string(),
            "seconds": self.took.as_secs_f64(),
            "requests": requests,
            "latency_ms": { "p50": within(0.5), "p95": within(0.95), "p99": within(0.99) },
            "in_flight": step.in_flight,
            "callbacks": step.callbacks,
            "callbacks_refused": step.callbacks_refused,
            "delivered": step.delivered,
            "failed": step.failed,
            "backlog": step.backlog,
            "dead_letters": step.dead_letters,
            "clock_skew_seconds": step.clock_skew_seconds,
        })
    }
}

pub(super) fn routes() -> Router<Arc<History>> {
    Router::new().route("/api/v1/history", get(list))
}

async fn list(
    State(history): State<Arc<History>>,
    Parameters(asked): Parameters<HistoryAsked>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(history.shown(asked.meant()?)))
}

#[cfg(test)]
mod tests;
