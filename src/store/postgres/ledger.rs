//! Batches: a row each, and what is known of their calls in parts that are only added to.
//!
//! The calls of one batch come in by all replicas and so stand in all shards, and a number counts once: one replica
//! keeps the ledger, and follows them all. Another takes it up when the seat of that one is lost.

mod batches;
mod enter;
mod keep;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_postgres::{Error, Row};

use self::enter::{Arrays, Under};
pub(super) use self::keep::keep;
use self::keep::keeping;
use super::keeper::{seq, seq_number, shard_number};
use super::{PostgresStore, plain, signed};
use crate::store::log::record::nanos;
use crate::store::{
    Answer, BatchEntry, BatchRecord, KEEP_BATCHES, Ledger, LedgerKey, LedgerStart, Page, Sent, SentNumbers,
    Seq, ShardId, StoreError, Submission, Unseen,
};

/// `ledger_book`: what numbers are digested with, and the epoch that keeps the ledger. `ledger`: how far it has come
/// in a shard. `unseen` as in the embedded store: 1 unreadable, 2 no room.
pub(super) const TABLES: &str = "
CREATE TABLE ledger_book (
  single boolean PRIMARY KEY DEFAULT true CHECK (single), key bytea NOT NULL, keeper bigint);
INSERT INTO ledger_book (key) VALUES (uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()));
CREATE TABLE ledger (shard integer PRIMARY KEY, next bigint NOT NULL);
CREATE TABLE batch (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, call_sn text NOT NULL, app text NOT NULL, task_id text,
  task_name text, call_sn_name text, submitted_at bigint, sent bigint, accepted bigint,
  returned bigint NOT NULL DEFAULT 0, connected bigint NOT NULL DEFAULT 0, by_state text NOT NULL DEFAULT '{}',
  by_degree text NOT NULL DEFAULT '{}', first_record_at bigint, last_record_at bigint, heard_at bigint NOT NULL,
  UNIQUE (call_sn, app));
CREATE INDEX batch_lacking ON batch (id) WHERE returned < accepted;
CREATE INDEX batch_heard ON batch (heard_at);
CREATE TABLE batch_part (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, batch bigint NOT NULL REFERENCES batch ON DELETE CASCADE,
  part bytea NOT NULL);
CREATE INDEX batch_part_batch ON batch_part (batch, id);
CREATE TABLE batch_sent (
  batch bigint PRIMARY KEY REFERENCES batch ON DELETE CASCADE, unseen smallint, numbers bytea NOT NULL);
ALTER TABLE batch_sent ALTER numbers SET STORAGE EXTERNAL;
";

const UNREADABLE: i16 = 1;
const NO_ROOM: i16 = 2;

/// Most batches that are forgotten in one transaction.
pub(super) const TOGETHER: u64 = 100;

const SUBMIT: &str = "
WITH entered AS (
  INSERT INTO batch AS known (call_sn, app, task_id, call_sn_name, submitted_at, sent, accepted, heard_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $5)
  ON CONFLICT (call_sn, app) DO UPDATE SET task_id = coalesce(excluded.task_id, known.task_id),
    call_sn_name = coalesce(excluded.call_sn_name, known.call_sn_name),
    submitted_at = coalesce(known.submitted_at, excluded.submitted_at),
    sent = coalesce(excluded.sent, known.sent), accepted = coalesce(excluded.accepted, known.accepted),
    heard_at = greatest(known.heard_at, excluded.heard_at)
  RETURNING id)
DELETE FROM batch_sent USING entered WHERE batch = entered.id";

const SENT: &str = "SELECT submitted_at, unseen, numbers FROM batch LEFT JOIN batch_sent ON batch = batch.id
  WHERE call_sn = $1 AND app = $2";

async fn start(client: &mut Client, shard: i32) -> Result<LedgerStart, Error> {
    let start = "SELECT coalesce((SELECT next FROM ledger WHERE shard = $1), 1), key FROM ledger_book";
    let row = client.query_one(start, &[&shard]).await?;
    Ok(LedgerStart { next: seq(row.get(0)), key: key(&row, 1) })
}

fn key(row: &Row, column: usize) -> LedgerKey {
    let mut key = [0; 32];
    for (at, byte) in key.iter_mut().zip(row.get::<_, &[u8]>(column)) {
        *at = *byte;
    }
    LedgerKey(key)
}

async fn submit(client: &mut Client, one: Submission) -> Result<(), Error> {
    let submit = client.prepare_cached(SUBMIT).await?;
    let Submission { app, call_sn, task_id, call_sn_name, sent, accepted, at } = one;
    let (call_sn, task_id) = (plain(&call_sn), task_id.as_deref().map(plain));
    let call_sn_name = call_sn_name.as_deref().map(plain);
    let (at, sent, accepted) = (nanos(at), sent.map(signed), accepted.map(signed));
    client.execute(&submit, &[&call_sn, &app, &task_id, &call_sn_name, &at, &sent, &accepted]).await.map(drop)
}

async fn keep_sent(client: &mut Client, app: String, call_sn: String, sent: Sent) -> Result<(), Error> {
    let (unseen, numbers) = match &sent {
        Ok(numbers) => (None, numbers.bytes()),
        Err(Unseen::Unreadable) => (Some(UNREADABLE), &[][..]),
        Err(Unseen::NoRoom) => (Some(NO_ROOM), &[][..]),
        Err(Unseen::Elsewhere | Unseen::NotKept) => return Ok(()),
    };
    let keep = "INSERT INTO batch_sent SELECT id, $1, $2 FROM batch WHERE call_sn = $3 AND app = $4
      ON CONFLICT (batch) DO UPDATE SET unseen = excluded.unseen, numbers = excluded.numbers";
    let keep = client.prepare_cached(keep).await?;
    client.execute(&keep, &[&unseen, &numbers, &plain(&call_sn), &app]).await.map(drop)
}

async fn sent(client: &mut Client, app: String, call_sn: String) -> Result<Sent, Error> {
    let sent = client.prepare_cached(SENT).await?;
    let Some(row) = client.query_opt(&sent, &[&plain(&call_sn), &app]).await? else {
        return Ok(Err(Unseen::Elsewhere));
    };
    let (submitted, unseen): (Option<i64>, Option<i16>) = (row.get(0), row.get(1));
    Ok(match (unseen, row.get::<_, Option<Vec<u8>>>(2), submitted) {
        (None, Some(numbers), _) => Ok(SentNumbers::read(numbers)),
        (Some(UNREADABLE), ..) => Err(Unseen::Unreadable),
        (Some(_), ..) => Err(Unseen::NoRoom),
        (None, None, Some(_)) => Err(Unseen::NotKept),
        (None, None, None) => Err(Unseen::Elsewhere),
    })
}

/// Forgets what nothing was heard of for long. Returns how many.
pub(super) async fn expire(transaction: &Transaction<'_>, now: Timestamp) -> Result<u64, Error> {
    let before = nanos(now.saturating_sub(KEEP_BATCHES).unwrap_or(Timestamp::MIN));
    let old = "DELETE FROM batch WHERE id IN (
      SELECT id FROM batch WHERE heard_at < $1 ORDER BY heard_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
    transaction.execute(old, &[&before, &signed(TOGETHER)]).await
}

async fn parts(client: &mut Client, app: String, call_sn: String) -> Result<Vec<Bytes>, Error> {
    let parts = "SELECT part FROM batch JOIN batch_part ON batch = batch.id WHERE call_sn = $1 AND app = $2
      ORDER BY batch_part.id";
    let parts = client.prepare_cached(parts).await?;
    let parts = client.query(&parts, &[&plain(&call_sn), &app]).await?;
    Ok(parts.iter().map(|row| Bytes::from(row.get::<_, Vec<u8>>(0))).collect())
}

impl Ledger for PostgresStore {
    fn ledger_shards(&self) -> watch::Receiver<Arc<[ShardId]>> {
        self.ledger.subscribe()
    }

    fn ledger_key(&self) -> Answer<'_, LedgerKey> {
        Box::pin(self.database.ask(|client| {
            Box::pin(async move { Ok(key(&client.query_one("SELECT key FROM ledger_book", &[]).await?, 0)) })
        }))
    }

    fn ledger(&self, shard: ShardId) -> Answer<'_, LedgerStart> {
        let number = shard_number(shard);
        Box::pin(async move {
            let start = self.database.ask(move |client| Box::pin(start(client, number))).await?;
            // Whoever kept the ledger before may have seen more of the shard than this process has by now.
            self.seat.reach(shard, start.next);
            Ok(start)
        })
    }

    fn enter_batches(&self, shard: ShardId, next: Seq, entries: Vec<BatchEntry>) -> Answer<'_, ()> {
        Box::pin(async move {
            #[cfg(test)]
            self.room.check(0)?;
            let epoch = self.answering()?;
            let now = nanos(Timestamp::now());
            let under = Under { epoch, shard: shard_number(shard), next: seq_number(next), now };
            let entries = Arrays::of(&entries);
            loop {
                let more = entries.clone();
                let entered = self.database.ask(move |client| Box::pin(more.enter(client, under)));
                match entered.await? {
                    (true, true) => return Ok(()),
                    // A seat that was just taken may not have looked yet.
                    (true, false) if keeping(&self.database, &self.seat).await? => {}
                    (true, false) => {
                        let why = "another replica keeps the ledger of batches".into();
                        return Err(StoreError::Unavailable(why));
                    }
                    (false, _) => return Err(self.seat.lost(epoch)),
                }
            }
        })
    }

    fn submit_batch(&self, submission: Submission) -> Answer<'_, ()> {
        Box::pin(async move {
            self.answering()?;
            #[cfg(test)]
            self.room.check(0)?;
            self.database.ask(move |client| Box::pin(submit(client, submission))).await
        })
    }

    fn keep_sent(&self, app: &str, call_sn: &str, sent: Sent) -> Answer<'_, ()> {
        let (app, call_sn) = (app.to_owned(), call_sn.to_owned());
        Box::pin(async move {
            self.answering()?;
            #[cfg(test)]
            self.room.check(0)?;
            self.database.ask(move |client| Box::pin(keep_sent(client, app, call_sn, sent))).await
        })
    }

    fn sent(&self, app: &str, call_sn: &str) -> Answer<'_, Sent> {
        let (app, call_sn) = (app.to_owned(), call_sn.to_owned());
        Box::pin(self.database.ask(move |client| Box::pin(sent(client, app, call_sn))))
    }

    fn batch_parts(&self, app: &str, call_sn: &str) -> Answer<'_, Vec<Bytes>> {
        let (app, call_sn) = (app.to_owned(), call_sn.to_owned());
        Box::pin(self.database.ask(move |client| Box::pin(parts(client, app, call_sn))))
    }

    fn batches(
        &self,
        app: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<BatchRecord>> {
        let before = cursor.map_or(i64::MAX, |cursor| cursor.parse().unwrap_or(0));
        Box::pin(self.database.ask(move |client| Box::pin(batches::page(client, app, limit, before))))
    }

    fn batch(&self, call_sn: &str) -> Answer<'_, Option<BatchRecord>> {
        let call_sn = call_sn.to_owned();
        Box::pin(self.database.ask(move |client| Box::pin(batches::one(client, call_sn))))
    }

    fn quiet_batches(&self, before: Timestamp) -> Answer<'_, u64> {
        let before = nanos(before);
        Box::pin(self.database.ask(move |client| Box::pin(batches::quiet(client, before))))
    }
}
