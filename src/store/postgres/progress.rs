//! How far subscribers have come.

use std::sync::Arc;

use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio_postgres::{Error, Row, Transaction};

use super::keeper::{seq, shard_id};
use super::partition::Partitioned;
use super::schema::MEMBERS;
use super::seat::held;
use super::values::natural;
use super::{PostgresStore, events};
use crate::store::log::record::{kind_of, nanos, time};
use crate::store::{
    Answer, EventFilter, Progress, Replay, ReplayId, Retry, Seq, Settled, ShardId, Start, StoreError,
    SubscriberState,
};

/// Attempts go with the events of their day.
pub(super) const ATTEMPTS: Partitioned =
    Partitioned { table: "attempt", with: "fillfactor = 100", stays: None };

/// The counts of a subscriber stand with its frontiers, each replica's with those of the shard that it writes.
/// An attempt's `day` is that of `at`.
pub(super) const TABLES: &str = "
CREATE TABLE subscriber (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL UNIQUE,
  paused boolean NOT NULL DEFAULT false);
CREATE TABLE frontier (
  subscriber integer REFERENCES subscriber ON DELETE CASCADE, shard integer, began bigint NOT NULL,
  next bigint NOT NULL, delivered bigint NOT NULL DEFAULT 0, failed bigint NOT NULL DEFAULT 0,
  expired bigint NOT NULL DEFAULT 0, PRIMARY KEY (subscriber, shard)) WITH (fillfactor = 50);
-- who is trying it has claimed it for a while
CREATE TABLE retry (
  subscriber integer REFERENCES subscriber ON DELETE CASCADE, shard integer, seq bigint, due bigint NOT NULL,
  attempts integer NOT NULL, spent integer NOT NULL, claimed_by bigint, claimed_until timestamptz,
  PRIMARY KEY (subscriber, shard, seq)) WITH (fillfactor = 80);
CREATE INDEX retry_due ON retry (subscriber, due, shard, seq);
CREATE TABLE dead (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subscriber integer NOT NULL REFERENCES subscriber ON DELETE CASCADE, shard integer NOT NULL, seq bigint NOT NULL,
  event_id uuid NOT NULL, app text NOT NULL, kind smallint NOT NULL, task_id text, call_sn text,
  dead_at bigint NOT NULL, attempts integer NOT NULL, error text, UNIQUE (shard, seq, subscriber));
CREATE INDEX dead_subscriber ON dead (subscriber, id);
CREATE TABLE attempt (
  at bigint NOT NULL, seq bigint NOT NULL, day integer NOT NULL, shard integer NOT NULL, subscriber integer NOT NULL,
  number integer NOT NULL, latency_ms integer NOT NULL, outcome smallint NOT NULL, status smallint, error text,
  answer bytea, PRIMARY KEY (shard, seq, subscriber, at, number, day)) PARTITION BY RANGE (day);
CREATE TABLE replay (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  subscriber integer NOT NULL REFERENCES subscriber ON DELETE CASCADE, shard integer NOT NULL, next bigint NOT NULL,
  until bigint NOT NULL, app text, kinds smallint[] NOT NULL, task_id text, call_sn text, since bigint,
  before bigint);
CREATE INDEX replay_subscriber ON replay (subscriber, shard);
-- events that retention removed before a subscriber got them
CREATE TABLE gap (
  subscriber integer REFERENCES subscriber ON DELETE CASCADE, shard integer, first bigint, until bigint NOT NULL,
  recorded_at bigint NOT NULL, PRIMARY KEY (subscriber, shard, first));
-- events of dead letters whose day is gone
CREATE TABLE kept (
  shard integer, seq bigint, id uuid NOT NULL UNIQUE, received_at bigint NOT NULL, kind smallint NOT NULL,
  app text NOT NULL, label text, task_id text, call_sn text, content_type bytea, body bytea NOT NULL,
  PRIMARY KEY (shard, seq));
";

const KNOWN: &str = "
SELECT s.paused, h.id, f.next FROM subscriber AS s
LEFT JOIN (frontier AS f JOIN shard AS h ON h.id = f.shard AND h.holder = $2) ON f.subscriber = s.id
WHERE s.name = $1 ORDER BY h.id";

/// A new subscriber begins in each shard with the first event that came at `$2` or later, as far as there is one; with
/// the shard's next otherwise. Both are as of one moment, and what comes after it has a higher number.
const ENTER: &str = "
WITH entered AS (INSERT INTO subscriber (name) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id)
INSERT INTO frontier (subscriber, shard, began, next)
SELECT entered.id, h.id, begins.seq, begins.seq FROM entered, shard AS h, LATERAL (SELECT coalesce((
  SELECT e.seq FROM event AS e WHERE e.shard = h.id AND e.seq >= h.first AND e.received_at >= $2
    AND e.seq >= (SELECT min(block) * 4096 FROM tally AS t WHERE t.shard = h.id AND t.late >= $2)
  ORDER BY e.seq LIMIT 1), h.next) AS seq) AS begins";

/// What is free to be tried: a claim lapses with the seat that made it, or after a while.
macro_rules! free {
    () => {
        "(r.claimed_by IS NULL OR r.claimed_until < clock_timestamp()
           OR NOT EXISTS (SELECT 1 FROM replica AS c WHERE c.epoch = r.claimed_by AND NOT c.fenced))"
    };
}

/// What others are just claiming is passed over. A claim of one's own is made anew only once it is half over.
const DUE: &str = concat!(
    held!(),
    ", found AS MATERIALIZED (
  SELECT r.* FROM held, subscriber AS s JOIN retry AS r ON r.subscriber = s.id
  WHERE s.name = $2 AND r.due <= $3 AND (r.claimed_by = $1 OR ",
    free!(),
    ")
  ORDER BY r.due, r.shard, r.seq LIMIT $4 FOR UPDATE OF r SKIP LOCKED),
claimed AS (
  UPDATE retry AS r SET claimed_by = $1, claimed_until = clock_timestamp() + interval '10 minutes' FROM found AS f
  WHERE r.subscriber = f.subscriber AND r.shard = f.shard AND r.seq = f.seq
    AND (f.claimed_by IS DISTINCT FROM $1 OR f.claimed_until < clock_timestamp() + interval '5 minutes'))
SELECT EXISTS (SELECT 1 FROM held), f.due, f.attempts, f.spent, e.*
FROM (SELECT 1) AS one LEFT JOIN (found AS f JOIN LATERAL (
  SELECT shard, seq, id, received_at, kind, app, label, task_id, call_sn, content_type, body FROM event
  WHERE shard = f.shard AND seq = f.seq
  UNION ALL SELECT shard, seq, id, received_at, kind, app, label, task_id, call_sn, content_type, body FROM kept
  WHERE shard = f.shard AND seq = f.seq LIMIT 1) AS e ON true) ON true
ORDER BY f.due, f.shard, f.seq"
);

/// What is claimed here and due is being tried, or was given out and will be asked for again.
const NEXT_DUE: &str = concat!(
    "SELECT r.due FROM subscriber AS s JOIN retry AS r ON r.subscriber = s.id
WHERE s.name = $2 AND ((r.claimed_by = $1 AND r.due > $3) OR (r.claimed_by IS DISTINCT FROM $1 AND ",
    free!(),
    ")) ORDER BY r.due LIMIT 1"
);

const RETRIES: &str =
    "SELECT count(*) FROM subscriber AS s JOIN retry AS r ON r.subscriber = s.id WHERE s.name = $1";

/// What [`replay`] reads.
pub(super) const REPLAY: &str =
    "r.id, r.shard, r.next, r.until, r.app, r.kinds, r.task_id, r.call_sn, r.since, r.before";

const REPLAYS: &str = "
SELECT r.id, r.shard, r.next, r.until, r.app, r.kinds, r.task_id, r.call_sn, r.since, r.before
FROM subscriber AS s JOIN replay AS r ON r.subscriber = s.id JOIN shard AS h ON h.id = r.shard AND h.holder = $2
WHERE s.name = $1 ORDER BY r.id";

/// A shard that is not written to is over for now when nothing of it is left to do: of the shard `h`.
pub(super) const DRAINED: &str = "
NOT EXISTS (SELECT 1 FROM frontier AS f WHERE f.shard = h.id AND f.next < h.next)
AND NOT EXISTS (
  SELECT 1 FROM subscriber AS s JOIN retry AS r ON r.subscriber = s.id AND r.shard = h.id)
AND NOT EXISTS (SELECT 1 FROM replay AS r WHERE r.shard = h.id)";

/// All subscribers begin with the first event of a new shard. Its maker holds [`MEMBERS`].
pub(super) async fn follow_new_shard(transaction: &Transaction<'_>, shard: i32) -> Result<(), Error> {
    let follow = "INSERT INTO frontier (subscriber, shard, began, next) SELECT id, $1, 1, 1 FROM subscriber";
    transaction.execute(follow, &[&shard]).await.map(drop)
}

async fn known(client: &Client, name: &str, epoch: i64) -> Result<Option<SubscriberState>, Error> {
    let known = client.prepare_cached(KNOWN).await?;
    let rows = client.query(&known, &[&name, &epoch]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let frontier = |row: &Row| Some((shard_id(row.get::<_, Option<i32>>(1)?), seq(row.get(2))));
    Ok(Some(SubscriberState { paused: first.get(0), frontiers: rows.iter().filter_map(frontier).collect() }))
}

async fn enter(client: &mut Client, name: &str, since: i64) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MEMBERS]).await?;
    transaction.execute(ENTER, &[&name, &since]).await?;
    transaction.commit().await
}

async fn due(
    client: &mut Client,
    epoch: i64,
    name: &str,
    now: Timestamp,
    max: usize,
) -> Result<Option<Vec<Retry>>, Error> {
    let due = client.prepare_cached(DUE).await?;
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let rows = client.query(&due, &[&epoch, &name, &nanos(now), &max]).await?;
    let held = rows.first().is_some_and(|row| row.get(0));
    let retry = |row: &Row| {
        let due = time(row.get::<_, Option<i64>>(1)?);
        let (attempts, spent) = (natural(row.get(2)), natural(row.get(3)));
        Some(Retry { event: Arc::new(events::event(row, 4)), due, attempts, spent })
    };
    Ok(held.then(|| rows.iter().filter_map(retry).collect()))
}

/// The replay of a row of [`REPLAY`].
pub(super) fn replay(row: &Row) -> Replay {
    let kinds: Vec<i16> = row.get(5);
    let filter = EventFilter {
        app: row.get(4),
        kinds: kinds.into_iter().filter_map(|kind| kind_of(u8::try_from(kind).ok()?)).collect(),
        task_id: row.get(6),
        call_sn: row.get(7),
        since: row.get::<_, Option<i64>>(8).map(time),
        until: row.get::<_, Option<i64>>(9).map(time),
    };
    let (next, end) = (seq(row.get(2)), seq(row.get(3)));
    Replay { id: ReplayId(row.get(0)), shard: shard_id(row.get(1)), next, end, filter }
}

impl PostgresStore {
    async fn take_up(&self, name: Arc<str>, since: i64) -> Result<SubscriberState, StoreError> {
        self.settler()?.flush().await?;
        let epoch = self.seat.epoch()?;
        let open = self.database.ask(move |client| {
            Box::pin(async move {
                if let Some(state) = known(client, &name, epoch).await? {
                    return Ok(Some(state));
                }
                enter(client, &name, since).await?;
                known(client, &name, epoch).await
            })
        });
        let forgotten = || StoreError::Unavailable("the subscriber is being forgotten".into());
        open.await?.ok_or_else(forgotten)
    }
}

impl Progress for PostgresStore {
    fn open(&self, subscriber: &str, start: Start) -> Answer<'_, SubscriberState> {
        let (name, asked): (Arc<str>, _) = (subscriber.into(), Timestamp::now());
        Box::pin(async move {
            let since = self.entering.since(&name, start, asked);
            let state = self.take_up(Arc::clone(&name), since).await;
            if state.is_ok() {
                self.entering.entered(&name);
            }
            state
        })
    }

    fn settle(&self, settled: Vec<Settled>) -> Answer<'_, ()> {
        Box::pin(async move { self.settler()?.settle(settled).await })
    }

    fn advance(&self, subscriber: &str, shard: ShardId, frontier: Seq) {
        // What comes meanwhile is not passed, though it is written later.
        let frontier = frontier.min(*self.seat.tail(shard).borrow());
        if let Ok(settler) = self.settler() {
            settler.advance(subscriber, shard, frontier);
        }
    }

    fn due(&self, subscriber: &str, now: Timestamp, max: usize) -> Answer<'_, Vec<Retry>> {
        let name: Arc<str> = subscriber.into();
        Box::pin(async move {
            let epoch = self.seat.epoch()?;
            let due = self
                .database
                .ask(move |client| Box::pin(async move { due(client, epoch, &name, now, max).await }));
            due.await?.ok_or_else(|| self.seat.lost(epoch))
        })
    }

    fn next_due(&self, subscriber: &str) -> Answer<'_, Option<Timestamp>> {
        let name: Arc<str> = subscriber.into();
        Box::pin(async move {
            let (epoch, now) = (self.seat.epoch()?, nanos(Timestamp::now()));
            let next = self.database.ask(move |client| {
                Box::pin(async move {
                    let next = client.prepare_cached(NEXT_DUE).await?;
                    client.query_opt(&next, &[&epoch, &&*name, &now]).await
                })
            });
            Ok(next.await?.map(|row| time(row.get(0))))
        })
    }

    fn retries(&self, subscriber: &str) -> Answer<'_, usize> {
        let name: Arc<str> = subscriber.into();
        Box::pin(async move {
            let count = self.database.ask(move |client| {
                Box::pin(async move {
                    let count = client.prepare_cached(RETRIES).await?;
                    client.query_one(&count, &[&&*name]).await
                })
            });
            Ok(usize::try_from(count.await?.get::<_, i64>(0)).unwrap_or(0))
        })
    }

    fn replays(&self, subscriber: &str) -> Answer<'_, Vec<Replay>> {
        let name: Arc<str> = subscriber.into();
        Box::pin(async move {
            self.settler()?.flush().await?;
            let epoch = self.seat.epoch()?;
            let replays = self.database.ask(move |client| {
                Box::pin(async move {
                    let replays = client.prepare_cached(REPLAYS).await?;
                    client.query(&replays, &[&&*name, &epoch]).await
                })
            });
            Ok(replays.await?.iter().map(replay).collect())
        })
    }

    fn advance_replay(&self, replay: ReplayId, next: Seq) {
        if let Ok(settler) = self.settler() {
            settler.advance_replay(replay, next);
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.seat.changes()
    }
}
