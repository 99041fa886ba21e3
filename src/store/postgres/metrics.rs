//! What the store counts of itself.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use super::PostgresStore;

/// Shows them.
#[derive(Debug)]
pub struct ClusterMetrics(pub Arc<PostgresStore>);

impl Collector for ClusterMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let store = &*self.0;
        let mut up = encoder.encode_descriptor(
            "xinyao_store_up",
            "Whether the shared store answers",
            None,
            MetricType::Gauge,
        )?;
        let up = up.encode_family(&[("store", "postgres")])?;
        ConstGauge::new(u64::from(store.is_up())).encode(up)?;
        let age = store
            .local
            .oldest()
            .map_or(0.0, |oldest| Timestamp::now().duration_since(oldest).as_secs_f64().max(0.0));
        let help = "How long the first event has waited on this host for the shared store";
        let descriptor =
            encoder.encode_descriptor("xinyao_store_waiting_seconds", help, None, MetricType::Gauge)?;
        ConstGauge::new(age).encode(descriptor)?;
        let epoch = store.seat.epoch().unwrap_or(0).unsigned_abs();
        let shards = store.seat.shards().borrow().len() as u64;
        for (name, help, value) in [
            (
                "xinyao_store_waiting_events",
                "Events that wait on this host for the shared store",
                store.local.waiting(),
            ),
            ("xinyao_cluster_epoch", "The epoch of this replica's seat; 0: it has none", epoch),
            ("xinyao_cluster_shards", "Shards that this replica delivers from", shards),
        ] {
            let descriptor = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(value).encode(descriptor)?;
        }
        let help = "Shards that this replica took over from others";
        let descriptor =
            encoder.encode_descriptor("xinyao_cluster_adoptions", help, None, MetricType::Counter)?;
        ConstCounter::new(store.seat.adoptions()).encode(descriptor)
    }
}
