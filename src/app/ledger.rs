//! The ledger's thread: it reads every event, and neither callbacks nor requests wait for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::oneshot;

use crate::admin::FindMissing;
use crate::ledger::{self, Figures};
use crate::store::{LedgerKey, Store};

/// How often the store is asked that does not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// The thread; it ends with this.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What is counted.
    pub(super) figures: Arc<Figures>,
    _cut: oneshot::Sender<()>,
}

/// What the store digests numbers with; empty until it has told.
pub(super) async fn key(store: &Arc<dyn Store>) -> Arc<OnceLock<LedgerKey>> {
    let key = Arc::new(OnceLock::new());
    if !ask(&**store, &key).await {
        let (store, key) = (Arc::clone(store), Arc::clone(&key));
        tokio::spawn(async move {
            while !ask(&*store, &key).await {
                tokio::time::sleep(AGAIN).await;
            }
        });
    }
    key
}

async fn ask(store: &dyn Store, key: &OnceLock<LedgerKey>) -> bool {
    match store.ledger_key().await {
        Ok(told) => _ = key.set(told),
        Err(error) => tracing::debug!(%error, "numbers of uploads are not collected yet"),
    }
    key.get().is_some()
}

/// Finds missing numbers of batches in `store`.
pub(super) fn find_missing(store: &Arc<dyn Store>) -> Arc<FindMissing> {
    let store = Arc::clone(store);
    Arc::new(move |batch, after, limit| {
        let store = Arc::clone(&store);
        Box::pin(async move { ledger::missing(&*store, &batch, after, limit).await })
    })
}

impl Ledger {
    /// Begins to follow the log.
    pub(super) fn start(store: &Arc<dyn Store>) -> anyhow::Result<Self> {
        // Each thread that reads for it has memory of its own, and it has no use for many.
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).enable_all().build()?;
        let (cut, cut_off) = oneshot::channel::<()>();
        let figures = Arc::<Figures>::default();
        let following = ledger::follow(Arc::clone(store), Arc::clone(&figures));
        std::thread::Builder::new()
            .name("ledger".into())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = following => {}
                        _ = cut_off => {}
                    }
                });
            })
            .context("cannot start the ledger's thread")?;
        Ok(Self { figures, _cut: cut })
    }
}
