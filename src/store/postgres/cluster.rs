//! Who shares the store.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::Client;
use tokio_postgres::{Error, Row};

use super::PostgresStore;
use super::keeper::shard_id;
use super::seat::LEASE;
use crate::store::log::record::time;
use crate::store::{About, Answer, Cluster, Replica};

/// Most that are told of.
const MANY: i64 = 1000;

const REPLICAS: &str = "
SELECT name, epoch, started_at, extract(epoch FROM lease_until - clock_timestamp())::float8, about,
  ARRAY(SELECT id FROM shard WHERE holder = epoch ORDER BY id),
  coalesce(epoch = (SELECT keeper FROM ledger_book), false)
FROM replica WHERE NOT fenced ORDER BY epoch LIMIT $1";

async fn replicas(client: &mut Client) -> Result<Vec<Replica>, Error> {
    let replicas = client.prepare_cached(REPLICAS).await?;
    Ok(client.query(&replicas, &[&MANY]).await?.iter().map(replica).collect())
}

fn replica(row: &Row) -> Replica {
    let silent_seconds = LEASE.as_secs_f64() - row.get::<_, f64>(3);
    Replica {
        name: row.get(0),
        epoch: row.get(1),
        started_at: time(row.get(2)),
        silent_for: Duration::try_from_secs_f64(silent_seconds).unwrap_or_default(),
        shards: row.get::<_, Vec<i32>>(5).into_iter().map(shard_id).collect(),
        keeps_ledger: row.get(6),
        // One that tells what can't be read is there all the same.
        about: serde_json::from_str(row.get(4)).unwrap_or_default(),
    }
}

impl Cluster for PostgresStore {
    fn replica(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.name))
    }

    fn replicas(&self) -> Answer<'_, Vec<Replica>> {
        Box::pin(async move {
            self.answering()?;
            self.database.ask(|client| Box::pin(replicas(client))).await
        })
    }

    fn tell_about(&self, about: About) {
        let about = About { waiting_events: self.local.waiting(), ..about };
        match serde_json::to_string(&about) {
            Ok(about) => self.seat.tell(&about),
            Err(error) => tracing::warn!(%error, "the other replicas are told nothing of this one"),
        }
    }
}
