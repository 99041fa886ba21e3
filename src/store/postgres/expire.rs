//! What retention removes of subscribers.

use deadpool_postgres::Client;
use tokio_postgres::{Error, Transaction};

use super::keeper::{seq_number, shard_number};
use crate::store::{Seq, ShardId};

/// Events that are copied at once.
const CHUNK: i64 = 1000;

const KEEP: &str = "
INSERT INTO kept (shard, seq, id, received_at, kind, app, label, task_id, call_sn, content_type, body)
SELECT e.shard, e.seq, e.id, e.received_at, e.kind, e.app, e.label, e.task_id, e.call_sn, e.content_type, e.body
FROM dead AS d JOIN event AS e ON e.shard = d.shard AND e.seq = d.seq
WHERE d.shard = $1 AND d.seq < $2
  AND NOT EXISTS (SELECT 1 FROM kept AS k WHERE k.shard = d.shard AND k.seq = d.seq)
ORDER BY d.seq LIMIT $3
ON CONFLICT DO NOTHING";

/// Who has not come so far has a gap now.
const PASS: &str = "
WITH waiting AS MATERIALIZED (
  SELECT r.subscriber, r.shard, r.seq FROM subscriber AS s JOIN retry AS r ON r.subscriber = s.id
  WHERE r.shard = $1 AND r.seq < $2
    AND NOT EXISTS (SELECT 1 FROM kept AS k WHERE k.shard = r.shard AND k.seq = r.seq)
  ORDER BY r.subscriber, r.seq FOR UPDATE OF r),
gone AS (
  DELETE FROM retry AS r USING waiting AS w
  WHERE r.subscriber = w.subscriber AND r.shard = w.shard AND r.seq = w.seq RETURNING r.subscriber),
lost AS (SELECT subscriber, count(*) AS rows FROM gone GROUP BY 1),
behind AS MATERIALIZED (
  SELECT f.subscriber, f.next FROM frontier AS f WHERE f.shard = $1 ORDER BY f.subscriber FOR NO KEY UPDATE),
gaps AS (
  INSERT INTO gap (subscriber, shard, first, until, recorded_at)
  SELECT subscriber, $1, next, $2, $3 FROM behind WHERE next < $2
  ON CONFLICT (subscriber, shard, first) DO UPDATE SET until = excluded.until, recorded_at = excluded.recorded_at)
UPDATE frontier AS f SET next = greatest(f.next, $2),
  expired = f.expired + greatest($2 - f.next, 0) + coalesce(l.rows, 0)
FROM behind AS b LEFT JOIN lost AS l ON l.subscriber = b.subscriber
WHERE f.shard = $1 AND f.subscriber = b.subscriber AND (f.next < $2 OR l.rows > 0)";

/// What was kept for dead letters that are no more.
const LET_GO: &str = "
DELETE FROM kept AS k WHERE NOT EXISTS (SELECT 1 FROM dead AS d WHERE d.shard = k.shard AND d.seq = k.seq)
AND NOT EXISTS (
  SELECT 1 FROM subscriber AS s JOIN retry AS r ON r.subscriber = s.id WHERE r.shard = k.shard AND r.seq = k.seq)";

/// Copies some of the events before `until` that dead letters are about. To be called until there are none, before
/// [`pass`]: so that one is short.
pub(super) async fn keep_dead(client: &Client, shard: ShardId, until: Seq) -> Result<u64, Error> {
    let keep = client.prepare_cached(KEEP).await?;
    client.execute(&keep, &[&shard_number(shard), &seq_number(until), &CHUNK]).await
}

/// The events of the shard before `until` go with this transaction: who waited for them waits no longer, and is told
/// by its figures. `now` in nanoseconds.
pub(super) async fn pass(
    transaction: &Transaction<'_>,
    shard: ShardId,
    until: Seq,
    now: i64,
) -> Result<(), Error> {
    let (shard, until) = (shard_number(shard), seq_number(until));
    transaction.execute(KEEP, &[&shard, &until, &i64::MAX]).await?;
    transaction.execute(PASS, &[&shard, &until, &now]).await.map(drop)
}

/// Removes gaps and dead letters from before `before` (in nanoseconds), and the events that were kept for them.
pub(super) async fn forget_old(client: &Client, before: i64) -> Result<(), Error> {
    client.execute("DELETE FROM gap WHERE recorded_at < $1", &[&before]).await?;
    client.execute("DELETE FROM dead WHERE dead_at < $1", &[&before]).await?;
    client.execute(LET_GO, &[]).await.map(drop)
}
