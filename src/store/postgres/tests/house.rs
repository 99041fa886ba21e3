//! What every store must satisfy, of one replica by itself.

use std::sync::Arc;

use jiff::Timestamp;

use super::Cluster;
use crate::store::log::record::nanos;
use crate::store::postgres::{PostgresStore, expire};
use crate::store::suite::{self, House};
use crate::store::{Seq, ShardId, Store};

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
        let now = nanos(Timestamp::now());
        let removed = store.database.ask(move |client| {
            Box::pin(async move {
                let transaction = client.transaction().await?;
                expire::pass(&transaction, ShardId(0), seq, now).await?;
                let first = i64::try_from(seq.0).unwrap();
                transaction.execute("UPDATE shard SET first = $1 WHERE id = 0", &[&first]).await?;
                transaction.commit().await
            })
        });
        removed.await.unwrap();
        store.latest.clear();
    }

    async fn sweep(&mut self, now: Timestamp) {
        let store = self.store();
        let before = nanos(now - std::time::Duration::from_hours(30 * 24));
        let swept = store
            .database
            .ask(move |client| Box::pin(async move { expire::forget_old(client, before).await }));
        swept.await.unwrap();
    }

    fn refuse(&mut self, refuse: bool) {
        self.store().room.refuse(refuse);
    }
}

suite::suite! { OneReplica::new();
    progress::a_new_subscriber_begins_where_it_is_told,
    progress::what_comes_while_a_subscriber_enters_is_for_it,
    progress::a_known_subscriber_goes_on_where_it_stopped,
    progress::a_frontier_never_goes_back,
    progress::retries_are_due_in_order,
    progress::what_is_delivered_leaves_the_retry_set,
    progress::probes_use_up_no_attempts,
    progress::what_retention_passes_is_expired,
    progress::a_full_store_still_delivers,
    progress::retries_and_frontiers_outlive_a_restart,
    progress::what_is_forgotten_or_gone_is_no_error,
    operate::a_pause_is_remembered,
    operate::a_purge_drops_what_waits,
    operate::forgetting_leaves_nothing,
    operate::a_replay_leaves_the_frontier_alone,
    operate::a_replay_outlives_a_restart,
    operate::events_are_replayed_by_id,
    operate::dead_letters_are_revived_and_discarded,
    operate::a_dead_letter_outlives_its_segment,
    query::pages_neither_skip_nor_repeat,
    query::filters_narrow,
    query::deliveries_have_their_states,
    query::dead_letters_are_paged,
    query::figures_add_up,
    query::an_unknown_event_is_none,
}
