//! Deliveries in figures.

use std::fmt;
use std::sync::{Arc, PoisonError};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Dispatch;
use super::shown::Counts;
use crate::hub::schedule::until;
use crate::store::SubscriberFigures;

/// Shows what the loops have counted, and the store's figures as of the last
/// [`refresh`](Dispatch::refresh).
#[derive(Debug)]
pub struct Metrics(pub Arc<Dispatch>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let counts: Vec<(String, Counts)> = {
            let running = self.0.running();
            running.iter().map(|(name, running)| (name.clone(), running.shown.counts())).collect()
        };
        encode_counts(&mut encoder, &counts)?;
        let figures = self.0.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let now = self.0.parts.clock.now();
        let gauges: [(&str, &str, Reading<'_>); 3] = [
            ("xinyao_backlog_events", "Deliveries not done yet", &|known| self.0.backlog(known) as f64),
            ("xinyao_backlog_oldest_seconds", "Age of the oldest of them", &|known| age(known, now)),
            ("xinyao_dead_letters", "Deliveries given up", &|known| known.dead as f64),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for known in &figures {
                let labels = [("subscriber", known.name.as_str())];
                ConstGauge::new(value(known)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

/// What a gauge says of a subscriber.
type Reading<'a> = &'a dyn Fn(&SubscriberFigures) -> f64;

fn age(figures: &SubscriberFigures, now: Timestamp) -> f64 {
    figures.oldest.map_or(0.0, |oldest| until(oldest, now).as_secs_f64())
}

fn encode_counts(encoder: &mut DescriptorEncoder, counts: &[(String, Counts)]) -> fmt::Result {
    let help = "Attempts, by what became of the delivery";
    let mut family = encoder.encode_descriptor("xinyao_deliveries", help, None, MetricType::Counter)?;
    for (name, counts) in counts {
        let outcomes = [("delivered", counts.delivered), ("failed", counts.failed), ("dead", counts.dead)];
        for (outcome, count) in outcomes {
            let labels = [("subscriber", name.as_str()), ("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let (name, help) = ("xinyao_delivery_duration_seconds", "How long attempts took");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (name, counts) in counts {
        let took = &counts.took;
        let labels = [("subscriber", name.as_str())];
        let mut one = family.encode_family(&labels)?;
        one.encode_histogram::<NoLabelSet>(took.sum(), took.count(), &took.buckets(), None)?;
    }
    Ok(())
}
