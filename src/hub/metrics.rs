//! What is counted of callbacks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

use crate::telemetry::histogram::{COARSE, Histogram};
use crate::xinyao::callback::Kind;

/// Label of what has no app or kind that is known.
const NONE: &str = "none";

/// How a callback ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is kept, and was acknowledged.
    Accepted,
    /// It was acknowledged: the same came before.
    Duplicate,
    /// A query got an answer: `answered`, `fallback` or `unanswered`.
    Answered(&'static str),
    /// It was refused, and why.
    Rejected(&'static str),
    /// A query's copy is lost to subscribers; it is counted beside the query itself.
    CopyLost,
    /// Whoever pushed it did not wait for the answer.
    ClientGone,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Answered(how) => f.write_str(how),
            Self::Rejected(reason) => write!(f, "rejected_{reason}"),
            Self::CopyLost => f.write_str("copy_lost"),
            Self::ClientGone => f.write_str("client_gone"),
        }
    }
}

/// App, kind and outcome. Apps are those that are configured, so that there is a bound.
type Labels = (Option<Arc<str>>, Option<Kind>, Outcome);

#[derive(Debug, Default)]
struct Counts {
    callbacks: BTreeMap<Labels, u64>,
    acks: Option<Histogram>,
    queries: BTreeMap<&'static str, Histogram>,
}

/// What is counted of callbacks; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Arc<Mutex<Counts>>);

impl Metrics {
    /// Counts a callback that has ended.
    pub fn count(&self, app: Option<&Arc<str>>, kind: Option<Kind>, outcome: Outcome, took: Duration) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.callbacks.entry((app.cloned(), kind, outcome)).or_default() += 1;
        match outcome {
            Outcome::Accepted | Outcome::Duplicate => {
                counts.acks.get_or_insert_with(|| Histogram::new(COARSE)).observe(took);
            }
            Outcome::Answered(how) => {
                counts.queries.entry(how).or_insert_with(|| Histogram::new(COARSE)).observe(took);
            }
            Outcome::Rejected(_) | Outcome::CopyLost | Outcome::ClientGone => {}
        }
    }
}

impl Metrics {
    /// How many callbacks were acknowledged or answered, and how many were not.
    pub fn totals(&self) -> (u64, u64) {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.callbacks.iter().fold((0, 0), |(taken, not), ((_, _, outcome), count)| match outcome {
            Outcome::Accepted | Outcome::Duplicate | Outcome::Answered(_) => (taken + count, not),
            Outcome::Rejected(_) | Outcome::ClientGone => (taken, not + count),
            // Its query is counted.
            Outcome::CopyLost => (taken, not),
        })
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let help = "Callbacks, by how they ended";
        let mut family = encoder.encode_descriptor("xinyao_callbacks", help, None, MetricType::Counter)?;
        for ((app, kind, outcome), count) in &counts.callbacks {
            let labels = [
                ("app", app.as_deref().unwrap_or(NONE).to_owned()),
                ("event", kind.map_or(NONE, Kind::name).to_owned()),
                ("outcome", outcome.to_string()),
            ];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let (name, help) = ("xinyao_callback_ack_seconds", "From a callback's head to its acknowledgement");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        if let Some(acks) = &counts.acks {
            family.encode_histogram::<NoLabelSet>(acks.sum(), acks.count(), &acks.buckets(), None)?;
        }
        let (name, help) = ("xinyao_inbound_query_seconds", "From an inbound query's head to its answer");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (outcome, took) in &counts.queries {
            let labels = [("outcome", *outcome)];
            let mut one = family.encode_family(&labels)?;
            one.encode_histogram::<NoLabelSet>(took.sum(), took.count(), &took.buckets(), None)?;
        }
        Ok(())
    }
}
