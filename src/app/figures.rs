//! What operators are alerted by and no room counts by itself: readiness, the store's size, requests in doubt.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::admin::Check;
use crate::store::{RequestState, Store, StoreError};

/// How often the store is asked.
const REFRESH: Duration = Duration::from_secs(15);
/// Requests in doubt are counted up to here.
const MANY: usize = 1000;

/// Looks at what must hold for requests to be taken.
pub(super) type Checks = Arc<dyn Fn() -> Vec<Check> + Send + Sync>;

/// What the store told last.
#[derive(Debug, Default)]
pub(super) struct Figures {
    size_bytes: AtomicU64,
    max_size_bytes: AtomicU64,
    unknown_requests: AtomicU64,
    /// Replicas that share the store; 0: none does.
    replicas: AtomicU64,
    /// 1: one of them keeps the ledger.
    ledger_kept: AtomicU64,
    /// Where the store is; one that somebody gave is nowhere.
    path: Option<PathBuf>,
}

impl Figures {
    /// Figures of a store at `path`.
    pub(super) fn of(path: Option<PathBuf>) -> Self {
        Self { path, ..Self::default() }
    }

    /// Bytes that the store's disk has left for this user.
    fn free_bytes(&self) -> Option<u64> {
        let folder = self.path.as_deref()?.parent().filter(|folder| !folder.as_os_str().is_empty());
        let disk = nix::sys::statvfs::statvfs(folder.unwrap_or(Path::new("."))).ok()?;
        Some(disk.blocks_available() as u64 * disk.fragment_size() as u64)
    }

    /// Keeps them up to date; does not end.
    pub(super) fn keep(self: &Arc<Self>, store: Arc<dyn Store>) -> impl Future<Output = ()> + use<> {
        let figures = Arc::clone(self);
        async move {
            loop {
                if let Err(error) = figures.refresh(&*store).await {
                    tracing::debug!(%error, "the store does not tell its figures");
                }
                tokio::time::sleep(REFRESH).await;
            }
        }
    }

    async fn refresh(&self, store: &dyn Store) -> Result<(), StoreError> {
        let (size_bytes, max_size_bytes) = store.size().await?;
        self.size_bytes.store(size_bytes, Ordering::Relaxed);
        self.max_size_bytes.store(max_size_bytes, Ordering::Relaxed);
        let unknown = store.requests(Some(RequestState::Unknown), MANY, None).await?;
        self.unknown_requests.store(unknown.rows.len() as u64, Ordering::Relaxed);
        if store.replica().is_some() {
            let replicas = store.replicas().await?;
            self.replicas.store(replicas.len() as u64, Ordering::Relaxed);
            let kept = replicas.iter().any(|replica| replica.keeps_ledger);
            self.ledger_kept.store(u64::from(kept), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// [`Figures`] and checks, for a scrape.
pub(super) struct Metrics {
    pub(super) figures: Arc<Figures>,
    pub(super) checks: Checks,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("figures", &self.figures).finish_non_exhaustive()
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Whether a check of /readyz holds";
        let mut family = encoder.encode_descriptor("xinyao_ready", help, None, MetricType::Gauge)?;
        for check in (self.checks)() {
            let labels = [("check", check.name)];
            ConstGauge::new(u64::from(check.ok)).encode(family.encode_family(&labels)?)?;
        }
        if let Some(free_bytes) = self.figures.free_bytes() {
            let (name, help) = ("xinyao_store_free_bytes", "What the store's disk has left");
            let gauge = ConstGauge::new(free_bytes);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let Figures { size_bytes, max_size_bytes, unknown_requests, replicas, ledger_kept, path: _ } =
            &*self.figures;
        let mut gauges = vec![
            ("xinyao_store_size_bytes", "What the store takes on disk", size_bytes),
            ("xinyao_store_max_size_bytes", "What it may take, store.max_size", max_size_bytes),
            ("xinyao_unknown_requests", "Requests whose outcome is unknown, up to 1000", unknown_requests),
        ];
        if replicas.load(Ordering::Relaxed) > 0 {
            let help = "Replicas that share the store, this one included";
            gauges.push(("xinyao_cluster_replicas", help, replicas));
            gauges.push(("xinyao_cluster_ledger_kept", "Whether one of them keeps the ledger", ledger_kept));
        }
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value.load(Ordering::Relaxed));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
