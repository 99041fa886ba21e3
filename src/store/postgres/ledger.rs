//! Batches: a row each, and what is known of their calls in parts that are only added to.
//!
//! The calls of one batch come in by all replicas and so stand in all shards, and a number counts once: one replica
//! keeps the ledger, and follows them all. Another takes it up when the seat of that one is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_postgres::{Error, Row};

use super::database::Database;
use super::keeper::{seq, seq_number, shard_number};
use super::seat::{Seat, held};
use super::{PostgresStore, plain, signed, unsigned};
use crate::store::log::record::{nanos, time};
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

/// How often it is looked whether somebody keeps the ledger.
const EVERY: Duration = Duration::from_secs(2);

/// A seat that is lost or given up keeps nothing.
const KEEP: &str = concat!(
    held!(),
    ", taken AS (
      UPDATE ledger_book SET keeper = held.epoch FROM held
      WHERE keeper IS NULL OR NOT EXISTS (SELECT 1 FROM replica WHERE epoch = keeper AND NOT fenced)
      RETURNING keeper)
    SELECT coalesce((SELECT keeper FROM taken), keeper) FROM ledger_book"
);

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

const ENTER: &str = concat!(
    held!(),
    ", kept AS (SELECT 1 FROM ledger_book JOIN held ON keeper = epoch),
    moved AS (
      INSERT INTO ledger AS known (shard, next) SELECT $2::integer, $3::bigint FROM kept
      ON CONFLICT (shard) DO UPDATE SET next = excluded.next),
    entry AS (
      SELECT * FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bigint[], $10::bigint[],
        $11::text[], $12::text[], $13::bigint[], $14::bigint[], $15::bytea[])
      AS entry (call_sn, app, task_id, task_name, call_sn_name, returned, connected, by_state, by_degree,
        first_record_at, last_record_at, part)),
    entered AS (
      INSERT INTO batch AS known (call_sn, app, task_id, task_name, call_sn_name, returned, connected, by_state,
        by_degree, first_record_at, last_record_at, heard_at)
      SELECT call_sn, app, task_id, task_name, call_sn_name, returned, connected, by_state, by_degree,
        first_record_at, last_record_at, $16::bigint FROM entry, kept ORDER BY call_sn, app
      ON CONFLICT (call_sn, app) DO UPDATE SET task_id = coalesce(excluded.task_id, known.task_id),
        task_name = coalesce(excluded.task_name, known.task_name),
        call_sn_name = coalesce(excluded.call_sn_name, known.call_sn_name), returned = excluded.returned,
        connected = excluded.connected, by_state = excluded.by_state, by_degree = excluded.by_degree,
        first_record_at = least(known.first_record_at, excluded.first_record_at),
        last_record_at = greatest(known.last_record_at, excluded.last_record_at), heard_at = excluded.heard_at
      RETURNING id, call_sn, app),
    added AS (
      INSERT INTO batch_part (batch, part) SELECT id, part FROM entered JOIN entry USING (call_sn, app)
      WHERE length(part) > 0)
    SELECT EXISTS (SELECT 1 FROM held), EXISTS (SELECT 1 FROM kept)"
);

const SENT: &str = "SELECT submitted_at, unseen, numbers FROM batch LEFT JOIN batch_sent ON batch = batch.id
  WHERE call_sn = $1 AND app = $2";

const ROW: &str = "SELECT id, call_sn, app, task_id, task_name, call_sn_name, submitted_at, sent, accepted,
    returned, connected, by_state, by_degree, first_record_at, last_record_at FROM batch";

/// Looks who keeps the ledger, and takes it up if nobody does: `follows` are then all shards, else none. Does not end.
pub(super) async fn keep(
    database: Arc<Database>,
    seat: Arc<Seat>,
    follows: Arc<watch::Sender<Arc<[ShardId]>>>,
) {
    let mut held = seat.shards();
    let mut keeps = false;
    loop {
        let keeping = keeping(&database, &seat).await.unwrap_or(false);
        if keeping && !keeps {
            tracing::info!("this replica keeps the ledger of batches");
        }
        keeps = keeping;
        let shards: Arc<[ShardId]> = if keeps { seat.known().into() } else { Arc::from([]) };
        follows.send_if_modified(|known| {
            let other = **known != *shards;
            *known = shards;
            other
        });
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            Ok(()) = held.changed() => {}
        }
    }
}

async fn keeping(database: &Database, seat: &Seat) -> Result<bool, StoreError> {
    let epoch = seat.epoch()?;
    let keep = database.ask(move |client| {
        Box::pin(async move {
            let keep = client.prepare_cached(KEEP).await?;
            Ok(client.query_one(&keep, &[&epoch]).await?.get::<_, Option<i64>>(0))
        })
    });
    Ok(keep.await? == Some(epoch))
}

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

/// Columns of entries.
#[derive(Default)]
struct Arrays {
    call_sn: Vec<String>,
    app: Vec<String>,
    task_id: Vec<Option<String>>,
    task_name: Vec<Option<String>>,
    call_sn_name: Vec<Option<String>>,
    returned: Vec<i64>,
    connected: Vec<i64>,
    by_state: Vec<String>,
    by_degree: Vec<String>,
    first_record_at: Vec<Option<i64>>,
    last_record_at: Vec<Option<i64>>,
    part: Vec<Vec<u8>>,
}

impl Arrays {
    fn of(entries: &[BatchEntry]) -> Self {
        let mut all = Self::default();
        let named = |text: &Option<String>| text.as_deref().map(|text| plain(text).into_owned());
        let json = |map: serde_json::Result<String>| map.unwrap_or_else(|_| "{}".into());
        for entry in entries {
            all.call_sn.push(plain(&entry.call_sn).into_owned());
            all.app.push(entry.app.clone());
            all.task_id.push(named(&entry.task_id));
            all.task_name.push(named(&entry.task_name));
            all.call_sn_name.push(named(&entry.call_sn_name));
            all.returned.push(signed(entry.returned));
            all.connected.push(signed(entry.connected));
            all.by_state.push(json(serde_json::to_string(&entry.by_state)));
            all.by_degree.push(json(serde_json::to_string(&entry.by_degree)));
            all.first_record_at.push(entry.first_record_at.map(nanos));
            all.last_record_at.push(entry.last_record_at.map(nanos));
            all.part.push(entry.part.to_vec());
        }
        all
    }

    /// Whether the seat is held, and whether it keeps the ledger.
    async fn enter(self, client: &mut Client, under: Under) -> Result<(bool, bool), Error> {
        let enter = client.prepare_cached(ENTER).await?;
        let Under { epoch, shard, next, now } = under;
        let row = client
            .query_one(
                &enter,
                &[
                    &epoch,
                    &shard,
                    &next,
                    &self.call_sn,
                    &self.app,
                    &self.task_id,
                    &self.task_name,
                    &self.call_sn_name,
                    &self.returned,
                    &self.connected,
                    &self.by_state,
                    &self.by_degree,
                    &self.first_record_at,
                    &self.last_record_at,
                    &self.part,
                    &now,
                ],
            )
            .await?;
        Ok((row.get(0), row.get(1)))
    }
}

/// Under which seat, how far and when something is entered.
struct Under {
    epoch: i64,
    shard: i32,
    next: i64,
    now: i64,
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

async fn page(
    client: &mut Client,
    app: Option<String>,
    limit: usize,
    before: i64,
) -> Result<Page<BatchRecord>, Error> {
    let rows = format!("{ROW} WHERE id < $1 AND ($2::text IS NULL OR app = $2) ORDER BY id DESC LIMIT $3");
    let rows = client.prepare_cached(&rows).await?;
    let mut rows = client.query(&rows, &[&before, &app, &signed(limit as u64 + 1)]).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next_cursor = rows.last().filter(|_| more).map(|last| last.get::<_, i64>(0).to_string());
    Ok(Page { rows: rows.iter().map(record).collect(), next_cursor })
}

/// Of several apps' it is the one whose outnum was seen.
async fn one(client: &mut Client, call_sn: String) -> Result<Option<BatchRecord>, Error> {
    let one = format!("{ROW} WHERE call_sn = $1 ORDER BY submitted_at IS NULL, id LIMIT 1");
    let one = client.prepare_cached(&one).await?;
    Ok(client.query_opt(&one, &[&plain(&call_sn)]).await?.as_ref().map(record))
}

async fn quiet(client: &mut Client, before: i64) -> Result<u64, Error> {
    let quiet = "SELECT count(*) FROM batch WHERE returned < accepted
      AND greatest(last_record_at, submitted_at) < $1 AND submitted_at IS NOT NULL";
    let quiet = client.prepare_cached(quiet).await?;
    Ok(unsigned(client.query_one(&quiet, &[&before]).await?.get(0)))
}

fn record(row: &Row) -> BatchRecord {
    let at = |column: usize| row.get::<_, Option<i64>>(column).map(time);
    let number = |column: usize| row.get::<_, Option<i64>>(column).map(unsigned);
    let told = BatchEntry {
        call_sn: row.get(1),
        app: row.get(2),
        task_id: row.get(3),
        task_name: row.get(4),
        call_sn_name: row.get(5),
        returned: number(9).unwrap_or(0),
        connected: number(10).unwrap_or(0),
        by_state: serde_json::from_str::<BTreeMap<i64, u64>>(row.get(11)).unwrap_or_default(),
        by_degree: serde_json::from_str(row.get(12)).unwrap_or_default(),
        first_record_at: at(13),
        last_record_at: at(14),
        part: Bytes::new(),
    };
    BatchRecord { told, submitted_at: at(6), sent: number(7), accepted: number(8) }
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
            let entered = self.database.ask(move |client| Box::pin(entries.enter(client, under)));
            match entered.await? {
                (true, true) => Ok(()),
                (true, false) => {
                    Err(StoreError::Unavailable("another replica keeps the ledger of batches".into()))
                }
                (false, _) => Err(self.seat.lost(epoch)),
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
        Box::pin(self.database.ask(move |client| Box::pin(page(client, app, limit, before))))
    }

    fn batch(&self, call_sn: &str) -> Answer<'_, Option<BatchRecord>> {
        let call_sn = call_sn.to_owned();
        Box::pin(self.database.ask(move |client| Box::pin(one(client, call_sn))))
    }

    fn quiet_batches(&self, before: Timestamp) -> Answer<'_, u64> {
        let before = nanos(before);
        Box::pin(self.database.ask(move |client| Box::pin(quiet(client, before))))
    }
}

#[cfg(test)]
mod tests;
