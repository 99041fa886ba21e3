//! What came of deliveries becomes rows: one statement for many of them.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio_postgres::Error;

use super::keeper::{seq_number, shard_number};
use super::partition::{Day, day_of};
use super::seat::held;
use super::values::{integer, plain};
use crate::store::log::record::nanos;
use crate::store::{Fate, ReplayId, Seq, Settled, ShardId};

/// Writes down what came of deliveries, each place of a subscriber once.
///
/// A row of the retry set is its claimant's; one that nobody claims, and what has no row, is the shard's holder's. What
/// comes from others is over, and so is what retention removed. Locks are taken in the order of the rows' keys, as
/// everywhere: so nobody waits for one that waits for it.
const SETTLE: &str = concat!(
    held!(),
    ", given AS MATERIALIZED (
  SELECT s.id AS subscriber, g.*, h.holder = $1 AS own, h.first
  FROM held, unnest($4::text[], $5::integer[], $6::bigint[], $7::smallint[], $8::bigint[], $9::integer[],
      $10::integer[], $11::bigint[], $12::integer[], $13::smallint[], $14::integer[], $15::text[], $16::bytea[])
    WITH ORDINALITY AS g (name, shard, seq, fate, due, spent, number, at, day, status, latency_ms, error, answer, n)
  JOIN subscriber AS s ON s.name = g.name JOIN shard AS h ON h.id = g.shard),
mine AS MATERIALIZED (
  SELECT g.*, coalesce(g.number, w.attempts, 0) AS attempts
  FROM (SELECT * FROM given ORDER BY subscriber, shard, seq) AS g LEFT JOIN LATERAL (
    SELECT r.attempts, r.claimed_by, r.claimed_until > clock_timestamp()
      AND EXISTS (SELECT 1 FROM replica AS c WHERE c.epoch = r.claimed_by AND NOT c.fenced) AS claimed
    FROM retry AS r WHERE r.subscriber = g.subscriber AND r.shard = g.shard AND r.seq = g.seq FOR UPDATE) AS w ON true
  WHERE (w.claimed_by = $1 OR (g.own AND w.claimed IS NOT TRUE))
    AND (g.seq >= g.first OR EXISTS (SELECT 1 FROM kept AS k WHERE k.shard = g.shard AND k.seq = g.seq))),
gone AS (
  DELETE FROM retry AS r USING mine AS m
  WHERE r.subscriber = m.subscriber AND r.shard = m.shard AND r.seq = m.seq AND m.fate <> 0),
put AS (
  INSERT INTO retry (subscriber, shard, seq, due, attempts, spent)
  SELECT subscriber, shard, seq, due, attempts, spent FROM mine WHERE fate = 0 ORDER BY 1, 2, 3
  ON CONFLICT (subscriber, shard, seq) DO UPDATE SET due = excluded.due, attempts = excluded.attempts,
    spent = excluded.spent, claimed_by = NULL, claimed_until = NULL),
buried AS (
  INSERT INTO dead (subscriber, shard, seq, event_id, app, kind, task_id, call_sn, dead_at, attempts, error)
  SELECT m.subscriber, m.shard, m.seq, e.*, coalesce(m.at + m.latency_ms * 1000000::bigint, $3), m.attempts, m.error
  FROM mine AS m JOIN LATERAL (
    SELECT id, app, kind, task_id, call_sn FROM event WHERE shard = m.shard AND seq = m.seq
    UNION ALL SELECT id, app, kind, task_id, call_sn FROM kept WHERE shard = m.shard AND seq = m.seq
    LIMIT 1) AS e ON true
  WHERE m.fate = 2 ORDER BY m.n
  ON CONFLICT (shard, seq, subscriber) DO UPDATE SET id = DEFAULT, dead_at = excluded.dead_at,
    attempts = excluded.attempts, error = excluded.error),
tried AS (
  INSERT INTO attempt (day, shard, seq, subscriber, at, number, outcome, status, latency_ms, error, answer)
  SELECT day, shard, seq, subscriber, at, number, fate, status, latency_ms, error, answer FROM mine
  WHERE number IS NOT NULL
  ON CONFLICT DO NOTHING RETURNING subscriber, outcome),
counted AS MATERIALIZED (
  SELECT subscriber, count(*) FILTER (WHERE outcome = 1) AS delivered, count(*) FILTER (WHERE outcome <> 1) AS failed
  FROM tried GROUP BY subscriber),
locked AS MATERIALIZED (
  SELECT f.subscriber, c.delivered, c.failed FROM counted AS c JOIN frontier AS f ON f.subscriber = c.subscriber
  WHERE f.shard = $2 ORDER BY f.subscriber FOR NO KEY UPDATE OF f),
counts AS (
  UPDATE frontier AS f SET delivered = f.delivered + n.delivered, failed = f.failed + n.failed
  FROM locked AS n WHERE f.subscriber = n.subscriber AND f.shard = $2)
SELECT EXISTS (SELECT 1 FROM held), CASE WHEN $17 THEN set_config('synchronous_commit', 'off', true) END"
);

/// Moves frontiers and replays of shards that this seat holds; none goes back.
const ADVANCE: &str = concat!(
    held!(),
    ", given AS MATERIALIZED (
  SELECT s.id AS subscriber, g.shard, least(g.next, h.next) AS next
  FROM held, unnest($2::text[], $3::integer[], $4::bigint[]) AS g (name, shard, next)
  JOIN subscriber AS s ON s.name = g.name JOIN shard AS h ON h.id = g.shard AND h.holder = $1),
locked AS MATERIALIZED (
  SELECT f.subscriber, f.shard, g.next FROM given AS g JOIN frontier AS f USING (subscriber, shard)
  ORDER BY f.subscriber, f.shard FOR NO KEY UPDATE OF f),
moved AS (
  UPDATE frontier AS f SET next = greatest(f.next, n.next) FROM locked AS n
  WHERE f.subscriber = n.subscriber AND f.shard = n.shard AND f.next < n.next),
replayed AS MATERIALIZED (
  SELECT g.* FROM held, unnest($5::bigint[], $6::bigint[]) AS g (id, next)),
done AS (DELETE FROM replay AS r USING replayed AS g WHERE r.id = g.id AND g.next >= r.until),
further AS (
  UPDATE replay AS r SET next = greatest(r.next, g.next) FROM replayed AS g
  WHERE r.id = g.id AND g.next < r.until AND r.next < g.next)
SELECT EXISTS (SELECT 1 FROM held), set_config('synchronous_commit', 'off', true)"
);

/// Under which seat, and to whose frontiers the counts go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Under {
    pub epoch: i64,
    pub shard: ShardId,
}

/// How far frontiers and replays have come.
#[derive(Debug, Clone, Default)]
pub(super) struct Moved {
    pub frontiers: Vec<(Arc<str>, ShardId, Seq)>,
    pub replays: Vec<(ReplayId, Seq)>,
}

/// The number of a fate; of an attempt's outcome too.
fn fate_number(fate: Fate) -> i16 {
    match fate {
        Fate::Retry { .. } => 0,
        Fate::Delivered => 1,
        Fate::Dead => 2,
    }
}

/// The days of the attempts that are to be written.
pub(super) fn days(settled: &[Settled]) -> impl Iterator<Item = Day> {
    settled.iter().filter_map(|one| Some(day_of(nanos(one.attempt.as_ref()?.at))))
}

/// Writes them down, unless the seat is no longer held: `false`. Before retries and dead letters are answered they
/// are on the disk; deliveries alone are a moment later, and only repeated if they are lost.
pub(super) async fn settle(
    client: &mut Client,
    under: Under,
    now: Timestamp,
    settled: &[Settled],
) -> Result<bool, Error> {
    let settle = client.prepare_cached(SETTLE).await?;
    let attempts = || settled.iter().map(|one| one.attempt.as_ref());
    let retry = |one: &Settled| match one.fate {
        Fate::Retry { due, spent } => (nanos(due), integer(spent)),
        Fate::Delivered | Fate::Dead => (0, 0),
    };
    let names: Vec<&str> = settled.iter().map(|one| &*one.subscriber).collect();
    let shards: Vec<i32> = settled.iter().map(|one| shard_number(one.place.shard)).collect();
    let seqs: Vec<i64> = settled.iter().map(|one| seq_number(one.place.seq)).collect();
    let fates: Vec<i16> = settled.iter().map(|one| fate_number(one.fate)).collect();
    let (due, spent): (Vec<i64>, Vec<i32>) = settled.iter().map(retry).unzip();
    let numbers: Vec<_> = attempts().map(|one| Some(integer(one?.number))).collect();
    let times: Vec<_> = attempts().map(|one| Some(nanos(one?.at))).collect();
    let days: Vec<_> = attempts().map(|one| Some(day_of(nanos(one?.at)))).collect();
    let statuses: Vec<_> = attempts().map(|one| i16::try_from(one?.status?).ok()).collect();
    let latencies: Vec<_> = attempts().map(|one| Some(integer(one?.latency_ms))).collect();
    let errors: Vec<_> = attempts().map(|one| one?.error.as_deref().map(plain)).collect();
    let errors: Vec<_> = errors.iter().map(|error| error.as_deref()).collect();
    let answers: Vec<_> =
        attempts().map(|one| Some(&one?.answer[..]).filter(|answer| !answer.is_empty())).collect();
    let lazily = settled.iter().all(|one| one.fate == Fate::Delivered);
    let row = client
        .query_one(
            &settle,
            &[
                &under.epoch,
                &shard_number(under.shard),
                &nanos(now),
                &names,
                &shards,
                &seqs,
                &fates,
                &due,
                &spent,
                &numbers,
                &times,
                &days,
                &statuses,
                &latencies,
                &errors,
                &answers,
                &lazily,
            ],
        )
        .await?;
    Ok(row.get(0))
}

/// Moves them, unless the seat is no longer held: `false`.
pub(super) async fn advance(client: &mut Client, epoch: i64, moved: &Moved) -> Result<bool, Error> {
    let advance = client.prepare_cached(ADVANCE).await?;
    let names: Vec<&str> = moved.frontiers.iter().map(|(name, ..)| &**name).collect();
    let shards: Vec<i32> = moved.frontiers.iter().map(|(_, shard, _)| shard_number(*shard)).collect();
    let nexts: Vec<i64> = moved.frontiers.iter().map(|(.., next)| seq_number(*next)).collect();
    let (replays, reached): (Vec<i64>, Vec<i64>) =
        moved.replays.iter().map(|(id, next)| (id.0, seq_number(*next))).unzip();
    let row = client.query_one(&advance, &[&epoch, &names, &shards, &nexts, &replays, &reached]).await?;
    Ok(row.get(0))
}
