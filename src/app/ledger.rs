//! The ledger's thread: it reads every event, and neither callbacks nor requests wait for it.

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::oneshot;

use crate::ledger::{self, Figures};
use crate::store::Store;

/// The thread; it ends with this.
#[derive(Debug)]
pub(super) struct Ledger {
    /// What is counted.
    pub(super) figures: Arc<Figures>,
    _cut: oneshot::Sender<()>,
}

impl Ledger {
    /// Begins to follow the log.
    pub(super) fn start(store: &Arc<dyn Store>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
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
