//! Does what operators ask for, each in one statement; every replica hears of it at its next renewal.

use deadpool_postgres::Client;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::query::count;
use super::{PostgresStore, counting};
use crate::store::log::record::{code, nanos};
use crate::store::{Answer, EventFilter, EventId, MAX_RETRIES, Operate, StoreError};

/// Ends a statement that did something if `done` has rows.
macro_rules! told {
    () => {
        "bumped AS (UPDATE control SET generation = generation + 1 WHERE EXISTS (SELECT 1 FROM done)) "
    };
}

const PAUSE: &str = concat!(
    "WITH done AS (UPDATE subscriber SET paused = $2 WHERE name = $1 RETURNING id), ",
    told!(),
    "SELECT count(*) FROM done"
);

const FORGET: &str = concat!(
    "WITH done AS (DELETE FROM subscriber WHERE name = $1 RETURNING id), ",
    told!(),
    "SELECT count(*) FROM done"
);

/// `$2`: what its replays still had.
const PURGE: &str = concat!(
    "WITH done AS MATERIALIZED (SELECT id FROM subscriber WHERE name = $1),
waiting AS MATERIALIZED (
  SELECT r.subscriber, r.shard, r.seq FROM done JOIN retry AS r ON r.subscriber = done.id
  ORDER BY r.shard, r.seq FOR UPDATE OF r),
dropped AS (
  DELETE FROM retry AS r USING waiting AS w
  WHERE r.subscriber = w.subscriber AND r.shard = w.shard AND r.seq = w.seq RETURNING 1),
replays AS (DELETE FROM replay AS r USING done WHERE r.subscriber = done.id),
behind AS MATERIALIZED (
  SELECT f.subscriber, f.shard, f.next, h.next AS tail
  FROM done JOIN frontier AS f ON f.subscriber = done.id JOIN shard AS h ON h.id = f.shard
  ORDER BY f.shard FOR NO KEY UPDATE OF f),
moved AS (
  UPDATE frontier AS f SET next = greatest(f.next, b.tail) FROM behind AS b
  WHERE f.subscriber = b.subscriber AND f.shard = b.shard), ",
    told!(),
    "SELECT coalesce(sum($2 + (SELECT count(*) FROM dropped)
  + (SELECT coalesce(sum(greatest(tail - next, 0)), 0) FROM behind)), 0)::bigint FROM done"
);

const REPLAY: &str = concat!(
    "WITH done AS (
  INSERT INTO replay (subscriber, shard, next, until, app, kinds, task_id, call_sn, since, before)
  SELECT s.id, g.*, $5, $6, $7, $8, $9, $10
  FROM subscriber AS s, unnest($2::integer[], $3::bigint[], $4::bigint[]) AS g (shard, next, until) WHERE s.name = $1
  ORDER BY g.shard RETURNING id), ",
    told!(),
    "SELECT count(*) FROM done"
);

/// The subscriber whose retry set gets rows; one at a time fills it.
macro_rules! filled {
    () => {
        "WITH filled AS MATERIALIZED (SELECT id FROM subscriber WHERE name = $1 FOR NO KEY UPDATE),
room AS MATERIALIZED (
  SELECT $4 - (SELECT count(*) FROM retry AS r WHERE r.subscriber = filled.id) AS rows FROM filled), "
    };
}

/// Puts `wanted` into the retry set, due at `$3`, in the order of `number` and as far as there is room. Who tries one
/// of them just now keeps its claim.
macro_rules! try_again {
    () => {
        ", ranked AS MATERIALIZED (
  SELECT w.*, r.seq IS NOT NULL AS known, row_number() OVER (PARTITION BY r.seq IS NULL ORDER BY w.number) AS rank
  FROM wanted AS w LEFT JOIN retry AS r USING (subscriber, shard, seq)),
done AS (
  INSERT INTO retry (subscriber, shard, seq, due, attempts, spent)
  SELECT subscriber, shard, seq, $3, greatest(attempts, (
    SELECT max(a.number) FROM attempt AS a
    WHERE a.shard = k.shard AND a.seq = k.seq AND a.subscriber = k.subscriber)), 0
  FROM ranked AS k WHERE known OR rank <= (SELECT rows FROM room)
  ORDER BY subscriber, shard, seq
  ON CONFLICT (subscriber, shard, seq) DO UPDATE SET due = excluded.due, attempts = excluded.attempts, spent = 0
  RETURNING seq), "
    };
}

const REPLAY_IDS: &str = concat!(
    filled!(),
    "wanted AS MATERIALIZED (
  SELECT filled.id AS subscriber, e.shard, e.seq, min(g.number) AS number, 0 AS attempts
  FROM filled, unnest($2::uuid[]) WITH ORDINALITY AS g (id, number) JOIN LATERAL (
    SELECT e.shard, e.seq FROM event AS e JOIN shard AS h ON h.id = e.shard AND e.seq >= h.first WHERE e.id = g.id
    UNION ALL SELECT shard, seq FROM kept WHERE id = g.id LIMIT 1) AS e ON true
  GROUP BY 1, 2, 3)",
    try_again!(),
    told!(),
    "SELECT count(*) FROM done"
);

/// What a letter says of its attempts counts, though retention may have removed them.
const REVIVE: &str = concat!(
    filled!(),
    "meant AS MATERIALIZED (
  SELECT d.id FROM filled JOIN dead AS d ON d.subscriber = filled.id
  WHERE cardinality($2::uuid[]) = 0 OR d.event_id = ANY ($2)
  ORDER BY d.id LIMIT (SELECT greatest(rows, 0) FROM room)),
wanted AS (
  DELETE FROM dead AS d USING meant AS m WHERE d.id = m.id
  RETURNING d.subscriber, d.shard, d.seq, d.id AS number, d.attempts)",
    try_again!(),
    told!(),
    "SELECT count(*) FROM done"
);

const DISCARD: &str = concat!(
    "WITH done AS (
  DELETE FROM dead AS d USING subscriber AS s
  WHERE s.name = $1 AND d.subscriber = s.id AND (cardinality($2::uuid[]) = 0 OR d.event_id = ANY ($2))
  RETURNING d.id), ",
    told!(),
    "SELECT count(*) FROM done"
);

async fn act(client: &mut Client, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
    let act = client.prepare_cached(sql).await?;
    Ok(count(&client.query_one(&act, parameters).await?, 0))
}

async fn replay(client: &mut Client, name: &str, filter: &EventFilter) -> Result<u64, Error> {
    let counted = counting::in_all(client, filter).await?;
    let meant: u64 = counted.iter().map(|one| one.count).sum();
    if meant == 0 {
        return Ok(0);
    }
    let shards: Vec<i32> = counted.iter().map(|one| one.shard).collect();
    let from: Vec<i64> = counted.iter().map(|one| one.from).collect();
    let until: Vec<i64> = counted.iter().map(|one| one.until).collect();
    let kinds: Vec<i16> = filter.kinds.iter().map(|kind| code(*kind).into()).collect();
    let (since, before) = (filter.since.map(nanos), filter.until.map(nanos));
    let EventFilter { app, task_id, call_sn, .. } = filter;
    let made: [&(dyn ToSql + Sync); 10] =
        [&name, &shards, &from, &until, app, &kinds, task_id, call_sn, &since, &before];
    Ok(if act(client, REPLAY, &made).await? == 0 { 0 } else { meant })
}

async fn purge(client: &mut Client, name: &str) -> Result<u64, Error> {
    let left = counting::left_to(client, name).await?;
    let left = i64::try_from(left).unwrap_or(i64::MAX);
    act(client, PURGE, &[&name, &left]).await
}

async fn try_again(client: &mut Client, sql: &str, name: &str, ids: &[EventId]) -> Result<u64, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let most = i64::try_from(MAX_RETRIES).unwrap_or(i64::MAX);
    act(client, sql, &[&name, &ids, &nanos(Timestamp::now()), &most]).await
}

impl PostgresStore {
    /// Does it, and lets those here know who follow the store.
    async fn operate<T: Send + 'static>(
        &self,
        action: impl for<'c> FnOnce(&'c mut Client) -> BoxFuture<'c, Result<T, Error>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.settled().await?;
        let done = self.database.ask(action).await;
        self.seat.changed();
        done
    }
}

impl Operate for PostgresStore {
    fn set_paused(&self, subscriber: &str, paused: bool) -> Answer<'_, bool> {
        let name = subscriber.to_owned();
        Box::pin(self.operate(move |client| {
            Box::pin(async move { Ok(act(client, PAUSE, &[&name, &paused]).await? > 0) })
        }))
    }

    fn purge(&self, subscriber: &str) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(self.operate(move |client| Box::pin(async move { purge(client, &name).await })))
    }

    fn forget(&self, subscriber: &str) -> Answer<'_, bool> {
        let name = subscriber.to_owned();
        Box::pin(
            self.operate(move |client| Box::pin(async move { Ok(act(client, FORGET, &[&name]).await? > 0) })),
        )
    }

    fn replay(&self, subscriber: &str, filter: EventFilter) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(self.operate(move |client| Box::pin(async move { replay(client, &name, &filter).await })))
    }

    fn replay_ids(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(
            self.operate(move |client| {
                Box::pin(async move { try_again(client, REPLAY_IDS, &name, &ids).await })
            }),
        )
    }

    fn revive(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(
            self.operate(move |client| Box::pin(async move { try_again(client, REVIVE, &name, &ids).await })),
        )
    }

    fn discard(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        Box::pin(
            self.operate(move |client| Box::pin(async move { act(client, DISCARD, &[&name, &ids]).await })),
        )
    }
}
