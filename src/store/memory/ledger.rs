//! Batches.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::watch;

use super::MemoryStore;
use crate::store::{
    Answer, BatchEntry, BatchRecord, Ledger, LedgerKey, LedgerStart, Page, Sent, Seq, ShardId, StoreError,
    Submission, Unseen,
};

const KEY: LedgerKey = LedgerKey([7; 32]);

/// What is kept of batches.
#[derive(Debug, Default)]
pub(super) struct Batches {
    next: Seq,
    rows: BTreeMap<u64, (BatchRecord, Vec<Bytes>)>,
    /// By app and `call_sn`.
    sent: BTreeMap<(String, String), Sent>,
}

impl Batches {
    fn row(&mut self, app: &str, call_sn: &str) -> &mut (BatchRecord, Vec<Bytes>) {
        let same = |row: &BatchRecord| row.told.app == app && row.told.call_sn == call_sn;
        let known = self.rows.iter().find(|(_, (row, _))| same(row)).map(|(id, _)| *id);
        let id = known.unwrap_or_else(|| self.rows.keys().last().map_or(1, |last| last + 1));
        self.rows.entry(id).or_insert_with(|| {
            let told = BatchEntry { app: app.into(), call_sn: call_sn.into(), ..BatchEntry::default() };
            (BatchRecord { told, submitted_at: None, sent: None, accepted: None }, Vec::new())
        })
    }

    fn submit(&mut self, one: Submission) {
        self.sent.remove(&(one.app.clone(), one.call_sn.clone()));
        let (row, _) = self.row(&one.app, &one.call_sn);
        row.told.task_id = one.task_id.or(row.told.task_id.take());
        row.told.call_sn_name = one.call_sn_name.or(row.told.call_sn_name.take());
        row.submitted_at.get_or_insert(one.at);
        row.sent = one.sent.or(row.sent);
        row.accepted = one.accepted.or(row.accepted);
    }

    fn enter(&mut self, mut entry: BatchEntry) {
        let (row, parts) = self.row(&entry.app, &entry.call_sn);
        let part = std::mem::take(&mut entry.part);
        if !part.is_empty() {
            parts.push(part);
        }
        let before = std::mem::take(&mut row.told);
        entry.task_id = entry.task_id.or(before.task_id);
        entry.task_name = entry.task_name.or(before.task_name);
        entry.call_sn_name = entry.call_sn_name.or(before.call_sn_name);
        let first = [entry.first_record_at, before.first_record_at];
        entry.first_record_at = first.into_iter().flatten().min();
        entry.last_record_at = entry.last_record_at.max(before.last_record_at);
        row.told = entry;
    }
}

impl MemoryStore {
    fn enter<T: Send + 'static>(&self, act: impl FnOnce(&mut Batches) -> T) -> Answer<'static, T> {
        let mut kept = self.kept();
        let done = match kept.refusing.clone() {
            Some(why) => Err::<T, StoreError>(why),
            None => Ok(act(&mut kept.batches)),
        };
        Self::answer(done)
    }
}

impl Ledger for MemoryStore {
    fn ledger_shards(&self) -> watch::Receiver<Arc<[ShardId]>> {
        self.shards.subscribe()
    }

    fn ledger_key(&self) -> Answer<'_, LedgerKey> {
        Self::answer(Ok(KEY))
    }

    fn ledger(&self, _: ShardId) -> Answer<'_, LedgerStart> {
        Self::answer(Ok(LedgerStart { next: self.kept().batches.next.max(Seq(1)), key: KEY }))
    }

    fn enter_batches(&self, _: ShardId, next: Seq, entries: Vec<BatchEntry>) -> Answer<'_, ()> {
        self.enter(|batches| {
            for entry in entries {
                batches.enter(entry);
            }
            batches.next = next;
        })
    }

    fn submit_batch(&self, submission: Submission) -> Answer<'_, ()> {
        self.enter(|batches| batches.submit(submission))
    }

    fn keep_sent(&self, app: &str, call_sn: &str, sent: Sent) -> Answer<'_, ()> {
        self.enter(|batches| {
            batches.sent.insert((app.to_owned(), call_sn.to_owned()), sent);
        })
    }

    fn sent(&self, app: &str, call_sn: &str) -> Answer<'_, Sent> {
        let kept = self.kept();
        let sent = kept.batches.sent.get(&(app.to_owned(), call_sn.to_owned())).cloned();
        let same = |row: &BatchRecord| row.told.app == app && row.told.call_sn == call_sn;
        let submitted = kept.batches.rows.values().any(|(row, _)| same(row) && row.submitted_at.is_some());
        let unseen = if submitted { Unseen::NotKept } else { Unseen::Elsewhere };
        Self::answer(Ok(sent.unwrap_or(Err(unseen))))
    }

    fn batch_parts(&self, app: &str, call_sn: &str) -> Answer<'_, Vec<Bytes>> {
        let mut kept = self.kept();
        let same = |row: &BatchRecord| row.told.app == app && row.told.call_sn == call_sn;
        let found = kept.batches.rows.values_mut().find(|(row, _)| same(row));
        Self::answer(Ok(found.map(|(_, parts)| parts.clone()).unwrap_or_default()))
    }

    fn batches(
        &self,
        app: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<BatchRecord>> {
        let kept = self.kept();
        let before = cursor.map_or(u64::MAX, |cursor| cursor.parse().unwrap_or(0));
        let wanted = |row: &BatchRecord| app.as_ref().is_none_or(|app| row.told.app == *app);
        let rows = kept.batches.rows.range(..before).rev().filter(|(_, (row, _))| wanted(row));
        let mut rows: Vec<_> = rows.take(limit + 1).map(|(id, (row, _))| (*id, row.clone())).collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = rows.last().filter(|_| more).map(|(id, _)| id.to_string());
        Self::answer(Ok(Page { rows: rows.into_iter().map(|(_, row)| row).collect(), next_cursor }))
    }

    fn batch(&self, call_sn: &str) -> Answer<'_, Option<BatchRecord>> {
        let kept = self.kept();
        let found = kept.batches.rows.values().map(|(row, _)| row).filter(|row| row.told.call_sn == call_sn);
        Self::answer(Ok(found.min_by_key(|row| row.submitted_at.is_none()).cloned()))
    }

    fn quiet_batches(&self, before: Timestamp) -> Answer<'_, u64> {
        let kept = self.kept();
        let quiet = kept.batches.rows.values().filter(|(row, _)| row.is_quiet(before));
        Self::answer(Ok(quiet.count() as u64))
    }
}
