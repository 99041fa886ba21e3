//! What a subscriber's loop waits for besides its own deliveries.

use std::sync::Arc;

use futures_util::future::{FutureExt, select_all};
use tokio::sync::watch;

use crate::store::{Log, Progress, Seq, ShardId};

/// Registered before anything is looked at, so that nothing that comes meanwhile is slept through.
pub struct Wake {
    log: Arc<dyn Log>,
    shards: watch::Receiver<Arc<[ShardId]>>,
    changes: watch::Receiver<u64>,
    tails: Vec<(ShardId, watch::Receiver<Seq>)>,
}

impl Wake {
    /// Registers.
    pub fn new(log: Arc<dyn Log>, progress: &dyn Progress) -> Self {
        let (mut shards, mut changes) = (log.shards(), progress.changes());
        // The first look is due whatever they say.
        shards.mark_changed();
        changes.mark_changed();
        Self { log, shards, changes, tails: Vec::new() }
    }

    /// The shards, if they are others than when last asked.
    pub fn new_shards(&mut self) -> Option<Arc<[ShardId]>> {
        if !self.shards.has_changed().unwrap_or(false) {
            return None;
        }
        let shards = Arc::clone(&self.shards.borrow_and_update());
        self.tails = shards.iter().map(|shard| (*shard, self.log.tail(*shard))).collect();
        Some(shards)
    }

    /// Whether an operator did something since last asked.
    pub fn operator_acted(&mut self) -> bool {
        let acted = self.changes.has_changed().unwrap_or(false);
        if acted {
            self.changes.mark_unchanged();
        }
        acted
    }

    /// Asks both again at the next look.
    pub fn look_again(&mut self) {
        self.shards.mark_changed();
        self.changes.mark_changed();
    }

    /// The number that the shard's next event will have.
    pub fn tail(&mut self, shard: ShardId) -> Seq {
        let known = self.tails.iter_mut().find(|(known, _)| *known == shard);
        known.map_or(Seq(0), |(_, tail)| *tail.borrow_and_update())
    }

    /// Waits until one of them changes; of tails only where `tails` says so.
    pub async fn woken(&mut self, tails: bool) {
        let mut waits = vec![changed(&mut self.shards).boxed(), changed(&mut self.changes).boxed()];
        if tails {
            waits.extend(self.tails.iter_mut().map(|(_, tail)| changed(tail).boxed()));
        }
        select_all(waits).await;
    }
}

/// Leaves the change to be seen by who looks.
async fn changed<T: Send + Sync>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        // The store is gone: nothing changes any more.
        std::future::pending::<()>().await;
    }
    receiver.mark_changed();
}
