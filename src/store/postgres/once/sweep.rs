//! Forgets what is old enough: requests, and batches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use deadpool_postgres::{Client, Transaction};
use jiff::Timestamp;
use tokio::time::sleep;
use tokio_postgres::Error;

use super::super::database::Database;
use super::super::ledger;
use super::super::schema::SWEEP;
use crate::store::clock_watch::ClockWatch;
use crate::store::log::record::{nanos, time};
use crate::store::{KEEP_REQUESTS, StoreError};

const EVERY: Duration = Duration::from_mins(1);
/// Most that go in one transaction.
const TOGETHER: u64 = 5000;

/// This host's clock: compared with PostgreSQL's at first, and then with one that is never set.
#[derive(Debug)]
pub(in crate::store::postgres) struct Clock(Mutex<(ClockWatch, Instant)>);

impl Clock {
    pub fn new() -> Self {
        Self(Mutex::new((ClockWatch::new(Timestamp::now()), Instant::now())))
    }

    fn compare(&self, theirs: Timestamp) {
        let now = Timestamp::now();
        let watch = ClockWatch::again(theirs.min(now), Duration::ZERO, now);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (watch, Instant::now());
    }

    /// Whether what is old by it may go; and until when times may be younger than they look.
    fn look(&self) -> (bool, Option<Timestamp>) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (watch, at) = &mut *watched;
        let passed = std::mem::replace(at, Instant::now()).elapsed();
        let trusted = watch.trusts(Timestamp::now(), passed);
        (trusted, watch.doubted)
    }

    /// What came until then may be younger than it looks.
    pub fn doubted(&self) -> Timestamp {
        self.look().1.unwrap_or(Timestamp::MIN)
    }
}

/// Looks every minute for what may go; does not end.
pub(in crate::store::postgres) async fn sweep(database: Arc<Database>, clock: Arc<Clock>) {
    let mut compared = false;
    loop {
        match theirs(&database).await {
            Ok(theirs) if !compared => {
                clock.compare(theirs);
                compared = true;
            }
            Ok(_) if clock.look().0 => {
                if let Err(error) = forget_old(&database, Timestamp::now()).await {
                    tracing::warn!(%error, "what is too old to be remembered goes later");
                }
            }
            Ok(_) | Err(_) => {}
        }
        sleep(EVERY).await;
    }
}

async fn theirs(database: &Database) -> Result<Timestamp, StoreError> {
    let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint";
    let now = database.ask(move |client| Box::pin(async move { client.query_one(now, &[]).await }));
    Ok(time(now.await?.get(0)))
}

/// Forgets what is old enough at `now`, unless another replica is about it.
pub(in crate::store::postgres) async fn forget_old(
    database: &Database,
    now: Timestamp,
) -> Result<(), StoreError> {
    while database.ask(move |client| Box::pin(forget_some(client, now))).await? {}
    Ok(())
}

/// Whether there may be more.
async fn forget_some(client: &mut Client, now: Timestamp) -> Result<bool, Error> {
    let transaction = client.transaction().await?;
    let alone = transaction.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&SWEEP]).await?;
    if !alone.get::<_, bool>(0) {
        return Ok(false);
    }
    let requests = expire(&transaction, now).await?;
    let batches = ledger::expire(&transaction, now).await?;
    transaction.commit().await?;
    Ok(requests >= TOGETHER || batches >= ledger::TOGETHER)
}

/// What has been under way for as long as that is not forgotten: its conclusion was lost. An unknown outcome with a
/// key waits for somebody's word, however long.
async fn expire(transaction: &Transaction<'_>, now: Timestamp) -> Result<u64, Error> {
    let oldest = nanos(now.saturating_sub(KEEP_REQUESTS).unwrap_or(Timestamp::MIN));
    let lost = "UPDATE request SET state = 2, ended_at = $1 WHERE id IN (
      SELECT id FROM request WHERE state = 0 AND begun_at < $2 FOR UPDATE SKIP LOCKED)";
    transaction.execute(lost, &[&nanos(now), &oldest]).await?;
    let old = "DELETE FROM request WHERE id IN (
      SELECT id FROM request WHERE begun_at < $1 AND coalesce(ended_at, begun_at) < $1
        AND (state = 1 OR (state = 2 AND key IS NULL))
      ORDER BY begun_at LIMIT $2 FOR UPDATE SKIP LOCKED)";
    let most = i64::try_from(TOGETHER).unwrap_or(i64::MAX);
    transaction.execute(old, &[&oldest, &most]).await
}
