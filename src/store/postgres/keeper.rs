//! Takes a seat, renews it every second, and takes over from those who renew theirs no more.
//!
//! Only PostgreSQL's clock decides about a lease. Whoever takes over has the other's row to itself before anything
//! else: no statement of the other's is under way then, and none begins later.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio_postgres::{Error, Row, Transaction};

use super::database::Database;
use super::once;
use super::partition::Partitions;
use super::progress::{DRAINED, follow_new_shard};
use super::schema::{MEMBERS, Prepared, prepare};
use super::seat::{LEASE, Seat, Seated, ShardRow, held};
use crate::store::log::record::nanos;
use crate::store::{Seq, ShardId, StoreError};

const EVERY: Duration = Duration::from_secs(1);
/// Without an answer for so long PostgreSQL counts as away, so that others need not find out for themselves.
const PATIENCE: Duration = Duration::from_secs(3);
/// After PostgreSQL was away, everybody is given so long to renew before others take over.
const STEADY: Duration = Duration::from_secs(3);

const RENEW: &str = "
WITH held AS (
  UPDATE replica SET lease_until = clock_timestamp() + $2::float8 * interval '1 second', about = $3
  WHERE epoch = $1 AND NOT fenced RETURNING epoch)
SELECT EXISTS (SELECT 1 FROM held), (SELECT generation FROM control),
  EXISTS (SELECT 1 FROM replica WHERE NOT fenced AND lease_until < clock_timestamp() AND epoch <> $1),
  id, next, holder, day FROM (SELECT 1) AS one LEFT JOIN shard ON true ORDER BY id";

/// Takes up shards that nobody has and in which something is left to deliver, and gives up those that were taken up and
/// in which nothing is.
fn tidy() -> String {
    let held = held!();
    format!(
        "{held}, adopted AS (
           UPDATE shard SET holder = $1 FROM held WHERE id IN (
             SELECT id FROM shard AS h WHERE holder IS NULL AND NOT ({DRAINED}) ORDER BY id FOR UPDATE SKIP LOCKED)
           RETURNING id),
         freed AS (
           UPDATE shard AS h SET holder = NULL FROM held WHERE holder = $1 AND id <> $2 AND {DRAINED} RETURNING id)
         SELECT id, true FROM adopted UNION ALL SELECT id, false FROM freed"
    )
}

/// What keeps the seat.
pub(super) struct Keeper {
    pub database: Arc<Database>,
    pub seat: Arc<Seat>,
    pub partitions: Arc<Partitions>,
    /// What others know this process by.
    pub name: Arc<str>,
    prepared: bool,
    /// Why this gateway can't work with the database at all.
    unfit: Option<StoreError>,
    generation: Option<i64>,
    /// Since when every renewal was answered.
    steady: Option<Instant>,
}

/// What a renewal brings.
struct Renewed {
    held: bool,
    generation: i64,
    /// Somebody renews no more.
    expired: bool,
    shards: Vec<ShardRow>,
}

impl Keeper {
    pub fn new(
        database: Arc<Database>,
        seat: Arc<Seat>,
        partitions: Arc<Partitions>,
        name: Arc<str>,
    ) -> Self {
        Self {
            database,
            seat,
            partitions,
            name,
            prepared: false,
            unfit: None,
            generation: None,
            steady: None,
        }
    }

    /// Why this gateway can't work with the database, as far as it has seen it.
    pub fn unfit(&self) -> Option<StoreError> {
        self.unfit.clone()
    }

    /// Keeps the seat; does not end.
    pub async fn run(mut self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.seat.hurry.notified() => {}
            }
            self.look().await.ok();
        }
    }

    /// Renews the seat, or takes one.
    ///
    /// # Errors
    /// PostgreSQL does not answer as it should; `seat` says so too.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        let looked = tokio::time::timeout(PATIENCE, self.look_once()).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("PostgreSQL did not answer within {} s", PATIENCE.as_secs())))
        });
        if let Err(error) = &looked {
            if std::mem::take(&mut self.steady).is_some() {
                tracing::warn!(%error, "PostgreSQL is away; callbacks are kept on this host until it is back");
            }
            self.seat.unanswered(error);
        } else if self.steady.is_none() {
            self.steady = Some(Instant::now());
            tracing::info!("PostgreSQL answers");
        }
        looked
    }

    async fn look_once(&mut self) -> Result<(), StoreError> {
        if !self.prepared {
            self.prepare().await?;
        }
        let seated = match self.seat.last() {
            Some(seated) => seated,
            None => self.sit_down().await?,
        };
        let asked = Instant::now();
        let renewed = self.renew(seated.epoch).await?;
        if self.generation.replace(renewed.generation).is_some_and(|before| before != renewed.generation) {
            self.seat.changed();
        }
        if !renewed.held {
            return Err(self.seat.lost(seated.epoch));
        }
        let own = renewed.shards.iter().find(|row| row.id == seated.shard);
        let day = own.map_or(seated.day, |row| row.day);
        self.seat.holds(Seated { until: asked + LEASE, day, ..seated }, &renewed.shards);
        self.partitions.ahead(&self.database, Timestamp::now()).await?;
        let other =
            |row: &ShardRow| row.id != seated.shard && row.holder.is_none_or(|epoch| epoch == seated.epoch);
        if renewed.shards.iter().any(other) {
            self.tidy(seated).await?;
        }
        if renewed.expired && self.steady.is_some_and(|since| since.elapsed() >= STEADY) {
            self.take_over(seated.epoch).await?;
        }
        Ok(())
    }

    async fn prepare(&mut self) -> Result<(), StoreError> {
        let prepared = self.database.ask(|client| Box::pin(prepare(client))).await?;
        self.unfit = why_unfit(prepared);
        self.prepared = self.unfit.is_none();
        self.unfit.clone().map_or(Ok(()), Err)
    }

    async fn sit_down(&self) -> Result<Seated, StoreError> {
        let (name, about) = (Arc::clone(&self.name), self.seat.about());
        let asked = Instant::now();
        let sat = self.database.ask(move |client| Box::pin(sit_down(client, name, about)));
        let (epoch, shard) = sat.await?;
        tracing::info!(epoch, shard = shard.0, "this replica has taken a seat");
        Ok(Seated { epoch, shard, day: 0, until: asked + LEASE })
    }

    async fn renew(&self, epoch: i64) -> Result<Renewed, StoreError> {
        let about = self.seat.about();
        let rows = self.database.ask(move |client| {
            Box::pin(async move {
                let renew = client.prepare_cached(RENEW).await?;
                client.query(&renew, &[&epoch, &LEASE.as_secs_f64(), &&*about]).await
            })
        });
        renewed(&rows.await?)
    }

    /// Takes up shards that nobody has and in which there is something to deliver, and gives up those that were taken
    /// up and in which there is nothing left.
    async fn tidy(&self, seated: Seated) -> Result<(), StoreError> {
        let rows = self.database.ask(move |client| {
            Box::pin(async move {
                let tidy = client.prepare_cached(&tidy()).await?;
                client.query(&tidy, &[&seated.epoch, &shard_number(seated.shard)]).await
            })
        });
        let rows = rows.await?;
        let adopted: Vec<i32> = rows.iter().filter(|row| row.get(1)).map(|row| row.get(0)).collect();
        if !adopted.is_empty() {
            self.seat.adopted(adopted.len());
            tracing::info!(shards = ?adopted, "took up shards that nobody had");
        }
        if !rows.is_empty() {
            self.seat.hurry.notify_one();
        }
        Ok(())
    }

    async fn take_over(&self, epoch: i64) -> Result<(), StoreError> {
        let (gone, shards) = self.database.ask(move |client| Box::pin(take_over(client, epoch))).await?;
        if !gone.is_empty() {
            self.seat.adopted(shards.len());
            tracing::warn!(?gone, ?shards, "took over from replicas that renew their leases no more");
            self.seat.hurry.notify_one();
        }
        Ok(())
    }
}

fn why_unfit(prepared: Prepared) -> Option<StoreError> {
    let why = match prepared {
        Prepared::Ready => return None,
        Prepared::TooNew(version) => {
            format!("its schema {version} was made by a newer gateway; upgrade this one")
        }
        Prepared::TooOld(version) => {
            format!("it is PostgreSQL {}, and the gateway needs 13 or newer", version / 10_000)
        }
    };
    Some(StoreError::Unavailable(format!("store.postgres: {why}")))
}

fn renewed(rows: &[Row]) -> Result<Renewed, StoreError> {
    let first =
        rows.first().ok_or_else(|| StoreError::Damaged("PostgreSQL: the table control is empty".into()))?;
    let shards = rows.iter().filter_map(|row| {
        let id: Option<i32> = row.get(3);
        Some(ShardRow { id: shard_id(id?), next: seq(row.get(4)), holder: row.get(5), day: row.get(6) })
    });
    Ok(Renewed {
        held: first.get(0),
        generation: first.get(1),
        expired: first.get(2),
        shards: shards.collect(),
    })
}

async fn sit_down(client: &mut Client, name: Arc<str>, about: Arc<str>) -> Result<(i64, ShardId), Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MEMBERS]).await?;
    let seat = "INSERT INTO replica (name, about, started_at, lease_until)
      VALUES ($1, $2, $3, clock_timestamp() + $4::float8 * interval '1 second') RETURNING epoch";
    let now = nanos(Timestamp::now());
    let seat = transaction.query_one(seat, &[&&*name, &&*about, &now, &LEASE.as_secs_f64()]).await?;
    let epoch: i64 = seat.get(0);
    let free = "UPDATE shard SET holder = $1 WHERE id = (
      SELECT id FROM shard WHERE holder IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id";
    let shard = match transaction.query_opt(free, &[&epoch]).await? {
        Some(row) => row.get(0),
        None => new_shard(&transaction, epoch).await?,
    };
    transaction.commit().await?;
    Ok((epoch, shard_id(shard)))
}

async fn new_shard(transaction: &Transaction<'_>, epoch: i64) -> Result<i32, Error> {
    let made = "INSERT INTO shard (id, holder) SELECT coalesce(max(id) + 1, 0), $1 FROM shard RETURNING id";
    let shard = transaction.query_one(made, &[&epoch]).await?.get(0);
    follow_new_shard(transaction, shard).await?;
    Ok(shard)
}

async fn take_over(client: &mut Client, epoch: i64) -> Result<(Vec<i64>, Vec<i32>), Error> {
    let transaction = client.transaction().await?;
    let own = "SELECT epoch FROM replica WHERE epoch = $1 AND NOT fenced FOR KEY SHARE";
    if transaction.query_opt(own, &[&epoch]).await?.is_none() {
        return Ok((Vec::new(), Vec::new()));
    }
    let gone =
        "SELECT epoch FROM replica WHERE NOT fenced AND lease_until < clock_timestamp() AND epoch <> $1
      FOR UPDATE SKIP LOCKED";
    let gone = transaction.query(gone, &[&epoch]).await?;
    let gone: Vec<i64> = gone.iter().map(|row| row.get(0)).collect();
    transaction.execute("UPDATE replica SET fenced = true WHERE epoch = ANY($1)", &[&gone]).await?;
    let shards = "UPDATE shard SET holder = $1 WHERE holder = ANY($2) RETURNING id";
    let shards = transaction.query(shards, &[&epoch, &gone]).await?;
    once::take_over(&transaction, &gone).await?;
    transaction.commit().await?;
    Ok((gone, shards.iter().map(|row| row.get(0)).collect()))
}

/// Gives a seat up, so that others need not wait for its lease to end.
pub(super) async fn give_up(client: &mut Client, epoch: i64) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    // Once it is locked, nothing that is written under it is on its way.
    transaction.execute("SELECT 1 FROM replica WHERE epoch = $1 FOR UPDATE", &[&epoch]).await?;
    let own = "UPDATE replica SET fenced = true WHERE epoch = $1 AND NOT fenced";
    transaction.execute(own, &[&epoch]).await?;
    once::take_over(&transaction, &[epoch]).await?;
    transaction.execute("UPDATE shard SET holder = NULL WHERE holder = $1", &[&epoch]).await?;
    transaction.commit().await
}

pub(super) fn shard_id(id: i32) -> ShardId {
    ShardId(u32::try_from(id).unwrap_or(0))
}

pub(super) fn shard_number(shard: ShardId) -> i32 {
    i32::try_from(shard.0).unwrap_or(i32::MAX)
}

pub(super) fn seq(number: i64) -> Seq {
    Seq(u64::try_from(number).unwrap_or(0))
}

pub(super) fn seq_number(seq: Seq) -> i64 {
    i64::try_from(seq.0).unwrap_or(i64::MAX)
}
