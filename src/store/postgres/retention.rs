//! What is too old goes, by whole days: first whoever waited for it is told by its figures, then the day is dropped.
//!
//! What is too old by this host's clock and by PostgreSQL's goes: one of them that was set forward removes nothing.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio_postgres::Error;

use super::database::Database;
use super::events::{BLOCK, PARTITIONED};
use super::keeper::{seq, seq_number, shard_id, shard_number};
use super::partition::{self, Day, day_of};
use super::progress::ATTEMPTS;
use super::recent::Latest;
use super::room::{self, Room};
use super::schema::RETENTION;
use super::seat::Seat;
use super::{Partitions, expire};
use crate::store::log::record::{nanos, time};
use crate::store::{Seq, ShardId, StoreError};

const EVERY: Duration = Duration::from_mins(1);
/// How often the room is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(15);
/// How long dead letters are kept, and gaps on record.
const KEEP_DEAD: Duration = Duration::from_hours(30 * 24);
/// Keys of duplicates that go in one statement.
const TOGETHER: i64 = 20_000;

/// Looks after what is too old, and after the room.
#[derive(Debug)]
pub(super) struct Retention {
    pub database: Arc<Database>,
    pub seat: Arc<Seat>,
    pub partitions: Arc<Partitions>,
    pub room: Arc<Room>,
    pub latest: Arc<Latest>,
    /// How long events are kept.
    pub keep: Duration,
}

impl Retention {
    /// Does not end.
    pub async fn run(self: Arc<Self>) {
        let mut swept = None::<tokio::time::Instant>;
        loop {
            if let Err(error) = self.measure().await {
                tracing::debug!(%error, "the size of the database is not known");
            }
            if swept.is_none_or(|swept| swept.elapsed() >= EVERY) && self.seat.epoch().is_ok() {
                if let Err(error) = self.sweep(Timestamp::now()).await {
                    tracing::warn!(%error, "retention is looked after later");
                }
                swept = Some(tokio::time::Instant::now());
            }
            tokio::time::sleep(MEASURE_EVERY).await;
        }
    }

    async fn measure(&self) -> Result<(), StoreError> {
        let bytes = self.database.ask(|client| Box::pin(room::measure(client))).await?;
        self.room.set(bytes);
        Ok(())
    }

    /// Removes what is too old at `now`, or at PostgreSQL's time if that is earlier.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        let now = self.theirs().await?.min(now);
        self.sweep_at(now).await
    }

    async fn theirs(&self) -> Result<Timestamp, StoreError> {
        let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
        let now = self.database.ask(move |client| Box::pin(async move { client.query_one(now, &[]).await }));
        Ok(time(now.await?.get::<_, i64>(0).saturating_mul(1000)))
    }

    /// Removes what is too old then.
    pub async fn sweep_at(&self, now: Timestamp) -> Result<(), StoreError> {
        let ago = |age| nanos(now.saturating_sub(age).unwrap_or(Timestamp::MIN));
        // The day in which the cut falls stays whole.
        let first = day_of(ago(self.keep));
        let past = self.database.ask(move |client| Box::pin(past(client, first)));
        if past.await? {
            self.pass(first, nanos(now)).await?;
            for table in [&PARTITIONED, &ATTEMPTS] {
                self.drop_days(table, first).await?;
            }
        }
        let (dead, now) = (ago(KEEP_DEAD), nanos(now));
        self.database
            .ask(move |client| Box::pin(async move { expire::forget_old(client, dead).await }))
            .await?;
        while self.database.ask(move |client| Box::pin(forget_keys(client, now))).await? >= TOGETHER as u64 {}
        Ok(())
    }

    /// Nobody waits any more for what came before `first`.
    async fn pass(&self, first: Day, now: i64) -> Result<(), StoreError> {
        let ends = self.database.ask(move |client| Box::pin(ends(client, first))).await?;
        for (shard, until) in &ends {
            self.keep_dead(*shard, *until).await?;
        }
        if self.database.ask(move |client| Box::pin(async move { pass(client, &ends, now).await })).await? {
            self.latest.clear();
            self.seat.changed();
        }
        Ok(())
    }

    async fn keep_dead(&self, shard: ShardId, until: Seq) -> Result<(), StoreError> {
        let some = || {
            self.database
                .ask(move |client| Box::pin(async move { expire::keep_dead(client, shard, until).await }))
        };
        while some().await? > 0 {}
        Ok(())
    }

    /// Drops days before `first`. One that is in use just then goes a minute later, and so does one that was not passed
    /// in whole: because another replica was about it, whose cut was an earlier one.
    async fn drop_days(&self, table: &'static partition::Partitioned, first: Day) -> Result<(), StoreError> {
        let days =
            self.database.ask(move |client| Box::pin(async move { partition::days(client, table).await }));
        for day in days.await?.into_iter().filter(|day| *day < first) {
            if self.database.ask(move |client| Box::pin(partition::drop_day(client, table, day))).await? {
                tracing::info!(table = table.table, day, "a day past its retention is removed");
            }
        }
        self.partitions.forget();
        Ok(())
    }
}

/// Whether there are days before `first`.
async fn past(client: &mut Client, first: Day) -> Result<bool, Error> {
    for table in [&PARTITIONED, &ATTEMPTS] {
        if partition::days(client, table).await?.first().is_some_and(|day| *day < first) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where in each shard the first day begins that stays; only of shards in which something goes.
async fn ends(client: &mut Client, first: Day) -> Result<Vec<(ShardId, Seq)>, Error> {
    let ends = "SELECT id, until FROM (
      SELECT s.id, s.first, coalesce(
        (SELECT min(seq) FROM event AS e WHERE e.shard = s.id AND e.day >= $1), s.next) AS until
      FROM shard AS s) AS found WHERE until > first ORDER BY id";
    let rows = client.query(ends, &[&first]).await?;
    Ok(rows.iter().map(|row| (shard_id(row.get(0)), seq(row.get(1)))).collect())
}

/// Moves everybody past those ends; `false`: another replica is about it, or there is nothing to do.
pub(super) async fn pass(client: &mut Client, ends: &[(ShardId, Seq)], now: i64) -> Result<bool, Error> {
    let transaction = client.transaction().await?;
    let alone = transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&RETENTION]).await?;
    if ends.is_empty() || !alone.get::<_, bool>(0) {
        return Ok(false);
    }
    for (shard, until) in ends {
        expire::pass(&transaction, *shard, *until, now).await?;
        let first = "UPDATE shard SET first = greatest(first, $2) WHERE id = $1";
        transaction.execute(first, &[&shard_number(*shard), &seq_number(*until)]).await?;
        let tally = "DELETE FROM tally WHERE shard = $1 AND block < $2";
        transaction.execute(tally, &[&shard_number(*shard), &(seq_number(*until) / BLOCK)]).await?;
    }
    transaction.execute("UPDATE control SET generation = generation + 1", &[]).await?;
    transaction.commit().await?;
    Ok(true)
}

async fn forget_keys(client: &mut Client, now: i64) -> Result<u64, Error> {
    let old = "DELETE FROM duplicate WHERE key IN (
      SELECT key FROM duplicate WHERE until < $1 ORDER BY key LIMIT $2 FOR UPDATE SKIP LOCKED)";
    client.execute(old, &[&now, &TOGETHER]).await
}
