//! What the store counts of itself.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds, in seconds.
const SECONDS: [f64; 12] = [1e-4, 25e-5, 5e-4, 1e-3, 25e-4, 5e-3, 1e-2, 25e-3, 5e-2, 0.1, 0.5, 1.0];
/// Upper bounds, in events.
const EVENTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Groups that were committed: how long it took, and how many events they had.
#[derive(Debug, Default)]
pub struct Commits(Mutex<(Counts<12>, Counts<10>)>);

#[derive(Debug, Clone, Copy)]
struct Counts<const N: usize> {
    below: [u64; N],
    beyond: u64,
    sum: f64,
}

impl<const N: usize> Default for Counts<N> {
    fn default() -> Self {
        Self { below: [0; N], beyond: 0, sum: 0.0 }
    }
}

impl<const N: usize> Counts<N> {
    fn observe(&mut self, bounds: &[f64; N], value: f64) {
        match bounds.iter().position(|bound| value <= *bound) {
            Some(index) => self.below[index] += 1,
            None => self.beyond += 1,
        }
        self.sum += value;
    }

    fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        bounds: &[f64; N],
    ) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let counts = self.below.iter().copied().chain([self.beyond]);
        let buckets: Vec<(f64, u64)> = bounds.iter().copied().chain([f64::MAX]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        metric.encode_histogram::<NoLabelSet>(self.sum, count, &buckets, None)
    }
}

impl Commits {
    pub(super) fn observe(&self, took: Duration, events: usize) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.0.observe(&SECONDS, took.as_secs_f64());
        counts.1.observe(&EVENTS, events as f64);
    }
}

/// Shows them as `xinyao_store_commit_seconds` and `xinyao_store_batch_events`.
#[derive(Debug)]
pub struct CommitMetrics(pub std::sync::Arc<Commits>);

impl Collector for CommitMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (took, events) = *self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "From the first event of a group to its being synced";
        took.encode(&mut encoder, "xinyao_store_commit_seconds", help, &SECONDS)?;
        events.encode(&mut encoder, "xinyao_store_batch_events", "Events of a group", &EVENTS)
    }
}
