//! `xinyao_shared_limits_*`

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::{Shared, Standing};

/// What is told of shared limits, for a scrape.
#[derive(Debug)]
pub struct Metrics(pub Arc<Shared>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let known = self.0.known();
        let help = "Whether limits are shared with the other replicas: Redis answers";
        let up = ConstGauge::new(u64::from(known.standing == Standing::Up));
        let name = "xinyao_shared_limits_up";
        up.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        let help = "Requests that were decided without Redis, at a share of the limits";
        let fallbacks = ConstCounter::new(self.0.fallbacks.load(Ordering::Relaxed));
        let name = "xinyao_shared_limits_fallback";
        fallbacks.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        let (name, help) = ("xinyao_shared_limits_round_trip_seconds", "Calls of Redis that were answered");
        let mut histogram = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let trips = &known.round_trips;
        histogram.encode_histogram::<NoLabelSet>(trips.sum(), trips.count(), &trips.buckets(), None)
    }
}
