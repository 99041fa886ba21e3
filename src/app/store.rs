//! The store that everything is kept in, opened before anything is taken in and closed after all else.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use prometheus_client::collector::Collector;

use crate::store::{self, CommitMetrics, EmbeddedStore, Recovered, Settings, Store, StoreLock};

/// A store.
pub(super) struct Opened {
    /// What the others see of it.
    pub(super) store: Arc<dyn Store>,
    embedded: Option<Arc<EmbeddedStore>>,
    path: Option<PathBuf>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("embedded", &self.embedded).finish_non_exhaustive()
    }
}

impl Opened {
    /// A store that somebody else opened and closes.
    pub(super) fn given(store: Arc<dyn Store>) -> Self {
        Self { store, embedded: None, path: None }
    }

    /// The embedded one, from disk; what a crash left behind is looked after first.
    pub(super) async fn embedded(settings: Settings, lock: StoreLock) -> anyhow::Result<Self> {
        let path = settings.path.clone();
        let opened = tokio::task::spawn_blocking(move || store::open_locked(&settings, lock)).await?;
        let (store, recovered) =
            opened.with_context(|| format!("cannot open {} (store.path)", path.display()))?;
        let Recovered { events, cut_bytes, indexed, .. } = recovered;
        tracing::info!(events, cut_bytes, indexed, "the store is open");
        let store = Arc::new(store);
        Ok(Self { store: Arc::clone(&store) as _, embedded: Some(store), path: Some(path) })
    }

    /// Where it is on disk, if it is.
    pub(super) fn path(&self) -> Option<PathBuf> {
        self.path.clone()
    }

    /// What it counts of itself.
    pub(super) fn metrics(&self) -> Option<Box<dyn Collector>> {
        let embedded = self.embedded.as_ref()?;
        Some(Box::new(CommitMetrics(embedded.commits())))
    }

    /// Writes what waits.
    pub(super) async fn close(&self) {
        if let Some(embedded) = &self.embedded {
            embedded.close().await;
        }
    }
}
