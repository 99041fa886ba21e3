//! What every store must satisfy, of one replica by itself.

use std::sync::Arc;

use jiff::Timestamp;

use super::Cluster;
use crate::store::log::record::nanos;
use crate::store::postgres::{PostgresStore, once, retention};
use crate::store::suite::{self, House};
use crate::store::{Ledger as _, Seq, ShardId, Store};

struct OneReplica {
    cluster: Cluster,
    store: Option<Arc<PostgresStore>>,
}

impl OneReplica {
    fn new() -> Self {
        Self { cluster: Cluster::new(), store: None }
    }

    fn store(&self) -> Arc<PostgresStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    async fn start(&mut self) -> Arc<PostgresStore> {
        let store = Arc::new(self.cluster.replica("one").await);
        // It takes the ledger a moment after its seat.
        store.ledger_shards().wait_for(|shards| !shards.is_empty()).await.unwrap();
        self.store = Some(Arc::clone(&store));
        store
    }
}

impl House for OneReplica {
    async fn open(&mut self) -> Arc<dyn Store> {
        self.start().await
    }

    async fn reopen(&mut self) -> Option<Arc<dyn Store>> {
        self.store().close().await;
        Some(self.start().await)
    }

    async fn remove_before(&mut self, seq: Seq) {
        let store = self.store();
        store.settled().await.unwrap();
        let (now, ends) = (nanos(Timestamp::now()), [(ShardId(0), seq)]);
        let removed = store.database.ask(move |client| {
            Box::pin(async move {
                assert!(retention::pass(client, &ends, now).await?);
                let remove = "DELETE FROM event WHERE shard = 0 AND seq < $1";
                client.execute(remove, &[&i64::try_from(seq.0).unwrap()]).await
            })
        });
        removed.await.unwrap();
        store.latest.clear();
    }

    async fn sweep(&mut self, now: Timestamp) {
        let store = self.store();
        store.retention.sweep_at(now).await.unwrap();
        once::forget_old(&store.database, now).await.unwrap();
    }

    fn refuse(&mut self, refuse: bool) {
        self.store().room.refuse(refuse);
    }
}

suite::suite!(OneReplica::new());
