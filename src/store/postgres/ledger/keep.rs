//! Who keeps the ledger.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::super::database::Database;
use super::super::seat::{Seat, held};
use crate::store::{ShardId, StoreError};

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

/// Looks who keeps the ledger, and takes it up if nobody does: `follows` are then all shards, else none. Does not end.
pub(in crate::store::postgres) async fn keep(
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

/// Whether this replica keeps the ledger; if nobody does, it does from now on.
///
/// # Errors
/// PostgreSQL does not answer, or there is no seat.
pub(super) async fn keeping(database: &Database, seat: &Seat) -> Result<bool, StoreError> {
    let epoch = seat.epoch()?;
    let keep = database.ask(move |client| {
        Box::pin(async move {
            let keep = client.prepare_cached(KEEP).await?;
            Ok(client.query_one(&keep, &[&epoch]).await?.get::<_, Option<i64>>(0))
        })
    });
    Ok(keep.await? == Some(epoch))
}
