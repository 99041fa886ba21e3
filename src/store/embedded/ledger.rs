//! Batches: steps for the index's thread, questions for the readers.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{EmbeddedStore, SHARD};
use crate::store::sqlite::{ledger, told};
use crate::store::{
    Answer, BatchEntry, BatchRecord, Ledger, LedgerKey, LedgerStart, Page, Sent, Seq, ShardId, Submission,
};

impl EmbeddedStore {
    fn question<T: Send + 'static>(
        &self,
        question: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Answer<'_, T> {
        Box::pin(self.readers.ask(|connection, _| question(connection).map_err(|error| told(&error))))
    }
}

impl Ledger for EmbeddedStore {
    fn ledger_shards(&self) -> watch::Receiver<Arc<[ShardId]>> {
        self.shards.subscribe()
    }

    fn ledger_key(&self) -> Answer<'_, LedgerKey> {
        Box::pin(async move { Ok(self.ledger(SHARD).await?.key) })
    }

    fn ledger(&self, shard: ShardId) -> Answer<'_, LedgerStart> {
        let mut key = [0; 32];
        key[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        key[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
        self.step(move |connection| ledger::start(connection, shard, key).map_err(|error| told(&error)))
    }

    fn enter_batches(&self, shard: ShardId, next: Seq, entries: Vec<BatchEntry>) -> Answer<'_, ()> {
        self.step(move |connection| {
            ledger::enter(connection, shard, next, &entries, Timestamp::now()).map_err(|error| told(&error))
        })
    }

    fn submit_batch(&self, submission: Submission) -> Answer<'_, ()> {
        self.step(move |connection| ledger::submit(connection, &submission).map_err(|error| told(&error)))
    }

    fn keep_sent(&self, app: &str, call_sn: &str, sent: Sent) -> Answer<'_, ()> {
        let (app, call_sn) = (app.to_owned(), call_sn.to_owned());
        self.step(move |connection| {
            ledger::keep_sent(connection, &app, &call_sn, &sent).map_err(|error| told(&error))
        })
    }

    fn sent(&self, app: &str, call_sn: &str) -> Answer<'_, Sent> {
        let (app, call_sn) = (app.to_owned(), call_sn.to_owned());
        self.question(move |connection| ledger::sent(connection, &app, &call_sn))
    }

    fn batch_parts(&self, app: &str, call_sn: &str) -> Answer<'_, Vec<Bytes>> {
        let (app, call_sn) = (app.to_owned(), call_sn.to_owned());
        self.question(move |connection| ledger::parts(connection, &app, &call_sn))
    }

    fn batches(
        &self,
        app: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<BatchRecord>> {
        self.question(move |connection| ledger::page(connection, app.as_deref(), limit, cursor.as_deref()))
    }

    fn batch(&self, call_sn: &str) -> Answer<'_, Option<BatchRecord>> {
        let call_sn = call_sn.to_owned();
        self.question(move |connection| ledger::one(connection, &call_sn))
    }

    fn quiet_batches(&self, before: Timestamp) -> Answer<'_, u64> {
        self.question(move |connection| ledger::quiet(connection, before))
    }
}
