//! The store that everything is kept in, opened before anything is taken in and closed after all else.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use prometheus_client::collector::Collector;

use crate::net::connect::client_tls;
use crate::store::{
    self, ClusterMetrics, ClusterSettings, CommitMetrics, EmbeddedStore, PostgresStore, Recovered, Settings,
    Store, StoreLock,
};

/// Tells what is amiss, if something is.
pub(super) type Degraded = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// A store.
pub(super) struct Opened {
    /// What the others see of it.
    pub(super) store: Arc<dyn Store>,
    embedded: Option<Arc<EmbeddedStore>>,
    shared: Option<Arc<PostgresStore>>,
    path: Option<PathBuf>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { embedded, shared, .. } = self;
        let mut shown = f.debug_struct("Opened");
        shown.field("embedded", embedded).field("shared", shared).finish_non_exhaustive()
    }
}

impl Opened {
    /// A store that somebody else opened and closes.
    pub(super) fn given(store: Arc<dyn Store>) -> Self {
        Self { store, embedded: None, shared: None, path: None }
    }

    /// The one that the settings say.
    pub(super) async fn open(settings: Settings, lock: StoreLock) -> anyhow::Result<Self> {
        let path = Some(settings.path.clone());
        let embedded = embedded(settings.clone(), lock).await?;
        let Some(cluster) = &settings.cluster else {
            let store = Arc::new(embedded);
            return Ok(Self { store: Arc::clone(&store) as _, embedded: Some(store), shared: None, path });
        };
        let store = Arc::new(shared(&settings, cluster, embedded).await?);
        Ok(Self { store: Arc::clone(&store) as _, embedded: None, shared: Some(store), path })
    }

    /// What is amiss with it while it takes events in all the same.
    pub(super) fn degraded(&self) -> Option<Degraded> {
        let shared = Arc::clone(self.shared.as_ref()?);
        Some(Arc::new(move || shared.degraded()))
    }

    /// Where it is on disk, if it is.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }

    /// What it counts of itself.
    pub(super) fn metrics(&self) -> Vec<Box<dyn Collector>> {
        let mut metrics = Vec::<Box<dyn Collector>>::new();
        if let Some(embedded) = &self.embedded {
            metrics.push(Box::new(CommitMetrics(embedded.commits())));
        }
        if let Some(shared) = &self.shared {
            metrics.push(Box::new(CommitMetrics(shared.commits())));
            metrics.push(Box::new(ClusterMetrics(Arc::clone(shared))));
        }
        metrics
    }

    /// Writes what waits.
    pub(super) async fn close(&self) {
        if let Some(embedded) = &self.embedded {
            embedded.close().await;
        }
        if let Some(shared) = &self.shared {
            shared.close().await;
        }
    }
}

/// From disk; what a crash left behind is looked after first.
async fn embedded(settings: Settings, lock: StoreLock) -> anyhow::Result<EmbeddedStore> {
    let path = settings.path.clone();
    let opened = tokio::task::spawn_blocking(move || store::open_locked(&settings, lock)).await?;
    let (store, recovered) =
        opened.with_context(|| format!("cannot open {} (store.path)", path.display()))?;
    let Recovered { events, cut_bytes, indexed, .. } = recovered;
    tracing::info!(events, cut_bytes, indexed, "the store is open");
    Ok(store)
}

/// The one that replicas share; the embedded one is where events wait while it is away.
async fn shared(
    settings: &Settings,
    cluster: &ClusterSettings,
    local: EmbeddedStore,
) -> anyhow::Result<PostgresStore> {
    let about = || {
        format!(
            "cannot use {} (store.postgres) with {} (store.path)",
            cluster.url.place(),
            settings.path.display()
        )
    };
    let tls = cluster.url.may_use_tls().then(|| client_tls("sslrootcert", cluster.url.ca_file())).transpose();
    let tls = tls.with_context(about)?;
    PostgresStore::open(settings, cluster, tls, local).await.with_context(about)
}
