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
use super::shown::{Counts, State};
use crate::hub::schedule::until;
use crate::store::SubscriberFigures;

/// Shows what the loops have counted, and the store's figures as of the last
/// [`refresh`](Dispatch::refresh).
#[derive(Debug)]
pub struct Metrics(pub Arc<Dispatch>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let shown: Vec<(String, State, Counts)> = {
            let running = self.0.running();
            let shown = running.iter().map(|(name, one)| (name, &one.shown));
            shown.map(|(name, shown)| (name.clone(), shown.state(), shown.counts())).collect()
        };
        encode_states(&mut encoder, &shown)?;
        encode_counts(&mut encoder, &shown)?;
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

fn encode_states(encoder: &mut DescriptorEncoder, shown: &[(String, State, Counts)]) -> fmt::Result {
    let help = "Whether a subscriber stands so";
    let mut family = encoder.encode_descriptor("xinyao_subscriber_state", help, None, MetricType::Gauge)?;
    for (name, current, _) in shown {
        for state in State::ALL {
            let labels = [("subscriber", name.as_str()), ("state", state.name())];
            ConstGauge::new(u64::from(state == *current)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn encode_counts(encoder: &mut DescriptorEncoder, shown: &[(String, State, Counts)]) -> fmt::Result {
    let help = "Attempts, by what became of the delivery";
    let mut family = encoder.encode_descriptor("xinyao_deliveries", help, None, MetricType::Counter)?;
    for (name, _, counts) in shown {
        let outcomes = [("delivered", counts.delivered), ("failed", counts.failed), ("dead", counts.dead)];
        for (outcome, count) in outcomes {
            let labels = [("subscriber", name.as_str()), ("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    let (name, help) = ("xinyao_delivery_duration_seconds", "How long attempts took");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (name, _, counts) in shown {
        let took = &counts.took;
        let labels = [("subscriber", name.as_str())];
        let mut one = family.encode_family(&labels)?;
        one.encode_histogram::<NoLabelSet>(took.sum(), took.count(), &took.buckets(), None)?;
    }
    Ok(())
}
