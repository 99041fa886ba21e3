//! Events as rows: how a group of them is kept in one statement, and how they come back.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::Client;
use jiff::Timestamp;
use tokio_postgres::{Error, Row};
use uuid::Uuid;

use super::keeper::{seq, seq_number, shard_number};
use super::partition::{Day, Partitioned, day_of};
use super::values::plain;
use crate::store::log::record::{code, kind_of, nanos, time};
use crate::store::{Batch, Event, EventId, Gap, NewEvent, Place, Seq, ShardId};
use crate::xinyao::callback::Kind;

pub(super) const PARTITIONED: Partitioned =
    // A body of a few KB stays in its row: in a table beside it, it would cost an index and three rows.
    Partitioned { table: "event", with: "toast_tuple_target = 8160", stays: Some(NOT_PASSED) };

/// Whether some shard does not begin behind this day yet, so that somebody may wait for an event of it. An index gives
/// the last one of each shard.
const NOT_PASSED: &str = "
SELECT 1 FROM shard AS s CROSS JOIN LATERAL (
  SELECT e.seq FROM event AS e WHERE e.shard = s.id AND e.day = $1 ORDER BY e.seq DESC LIMIT 1) AS last
WHERE last.seq >= s.first LIMIT 1";

/// Events of one block of `tally`.
pub(super) const BLOCK: i64 = 4096;

/// `day` is that of `received_at`, but never before the day of the event before it in its shard: so each day is one
/// run of every shard, and a shard's oldest events go with its oldest day.
pub(super) const TABLES: &str = "
CREATE TABLE event (
  seq bigint NOT NULL, received_at bigint NOT NULL, shard integer NOT NULL, day integer NOT NULL,
  id uuid NOT NULL, kind smallint NOT NULL, app text NOT NULL, label text, task_id text, call_sn text,
  content_type bytea, body bytea NOT NULL, PRIMARY KEY (shard, seq, day), UNIQUE (id, day))
  PARTITION BY RANGE (day);
ALTER TABLE event ALTER body SET STORAGE EXTERNAL;
CREATE INDEX event_class ON event (app, kind, id);
CREATE INDEX event_task ON event (task_id, id) WHERE task_id IS NOT NULL;
CREATE INDEX event_call ON event (call_sn, id) WHERE call_sn IS NOT NULL;
-- how many of each app and kind stand in each 4096 events of a shard, and when the first and the last of them came
CREATE TABLE tally (
  shard integer, block bigint, app text, kind smallint, events bigint NOT NULL, early bigint NOT NULL,
  late bigint NOT NULL, PRIMARY KEY (shard, block, app, kind)) WITH (fillfactor = 50);
-- what an event is known by for as long as its like is refused; after `until` it may go
CREATE TABLE duplicate (
  key uuid PRIMARY KEY, id uuid NOT NULL, received_at bigint NOT NULL, since bigint NOT NULL,
  until bigint NOT NULL);
CREATE INDEX duplicate_until ON duplicate (until);
";

/// The columns that [`event`] reads, in its order.
pub(super) const COLUMNS: &str =
    "shard, seq, id, received_at, kind, app, label, task_id, call_sn, content_type, body";

/// Keeps a group of events. A key that is taken is told with the event that has it; it changes nothing else, and is
/// updated only so that what another replica commits at the same time is seen. Its rows are locked in their order, so
/// that two replicas never wait for each other.
const APPEND: &str = "
WITH held AS MATERIALIZED (
  SELECT r.epoch FROM replica AS r WHERE r.epoch = $1 AND NOT r.fenced
    AND EXISTS (SELECT 1 FROM shard WHERE id = $2 AND holder = $1) FOR KEY SHARE OF r),
taken AS (
  INSERT INTO duplicate AS old (key, id, received_at, since, until)
  SELECT key, id, at, since, greatest(at, $15) + (at - since)
  FROM held, unnest($3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[]) AS given (id, key, at, since)
  WHERE key IS NOT NULL ORDER BY key
  ON CONFLICT (key) DO UPDATE SET
    id = CASE WHEN old.received_at < excluded.since THEN excluded.id ELSE old.id END,
    since = CASE WHEN old.received_at < excluded.since THEN excluded.since ELSE old.since END,
    until = CASE WHEN old.received_at < excluded.since THEN excluded.until ELSE old.until END,
    received_at = CASE WHEN old.received_at < excluded.since THEN excluded.received_at ELSE old.received_at END
  RETURNING key, id),
repeated AS MATERIALIZED (SELECT key, id FROM taken WHERE id NOT IN (SELECT unnest($3::uuid[]))),
moved AS (
  UPDATE shard SET next = next + cardinality($3::uuid[]) - (SELECT count(*) FROM repeated), day = $16
  FROM held WHERE id = $2
  RETURNING next - cardinality($3::uuid[]) + (SELECT count(*) FROM repeated) AS first),
written AS (
  INSERT INTO event (seq, received_at, shard, day, id, kind, app, label, task_id, call_sn, content_type, body)
  SELECT first + row_number() OVER () - 1, at, $2, day, id, kind, app, label, task_id, call_sn, content_type, body
  FROM moved, unnest($3::uuid[], $4::uuid[], $5::bigint[], $7::integer[], $8::smallint[], $9::text[], $10::text[],
    $11::text[], $12::text[], $13::bytea[], $14::bytea[])
    AS given (id, key, at, day, kind, app, label, task_id, call_sn, content_type, body)
  WHERE key IS NULL OR key NOT IN (SELECT key FROM repeated)
  RETURNING seq, app, kind, received_at),
tallied AS (
  INSERT INTO tally AS old (shard, block, app, kind, events, early, late)
  SELECT $2, seq / 4096, app, kind, count(*), min(received_at), max(received_at) FROM written
  GROUP BY 2, 3, 4
  ON CONFLICT (shard, block, app, kind) DO UPDATE SET events = old.events + excluded.events,
    early = least(old.early, excluded.early), late = greatest(old.late, excluded.late))
SELECT first, NULL::uuid, NULL::uuid FROM moved UNION ALL SELECT NULL, key, id FROM repeated";

/// What became of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    /// The number of the first that is kept; the others follow it in the group's order.
    pub first: Seq,
    /// Keys that were taken, and by which events.
    pub repeated: HashMap<Uuid, EventId>,
}

/// Under which seat, into which shard, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Under {
    pub epoch: i64,
    pub shard: ShardId,
    /// The day of the shard's last event.
    pub day: Day,
    pub now: Timestamp,
}

/// The days of a group's events, after one of `day`.
pub(super) fn days(events: &[NewEvent], day: Day) -> Vec<Day> {
    let days = events.iter().scan(day, |day, event| {
        *day = day_of(nanos(event.received_at)).max(*day);
        Some(*day)
    });
    days.collect()
}

/// Keeps a group, in which no key is twice. `None`: the seat is no longer held, and nothing was kept.
pub(super) async fn append(
    client: &mut Client,
    under: Under,
    events: &[NewEvent],
) -> Result<Option<Kept>, Error> {
    let append = client.prepare_cached(APPEND).await?;
    let days = days(events, under.day);
    let last = days.last().copied().unwrap_or(under.day);
    let keys: Vec<_> =
        events.iter().map(|event| event.unless_since.map(|(key, _)| Uuid::from_bytes(key))).collect();
    let since: Vec<_> =
        events.iter().map(|event| event.unless_since.map(|(_, since)| nanos(since))).collect();
    let ids: Vec<_> = events.iter().map(|event| event.id.0).collect();
    let times: Vec<_> = events.iter().map(|event| nanos(event.received_at)).collect();
    let kinds: Vec<_> = events.iter().map(|event| i16::from(code(event.kind))).collect();
    let apps: Vec<_> = events.iter().map(|event| &*event.app).collect();
    let labels: Vec<_> = events.iter().map(|event| event.label.as_deref().map(plain)).collect();
    let tasks: Vec<_> = events.iter().map(|event| event.task_id.as_deref().map(plain)).collect();
    let calls: Vec<_> = events.iter().map(|event| event.call_sn.as_deref().map(plain)).collect();
    let types: Vec<_> = events.iter().map(|event| event.content_type.as_deref()).collect();
    let bodies: Vec<_> = events.iter().map(|event| &event.body[..]).collect();
    let rows = client
        .query(
            &append,
            &[
                &under.epoch,
                &shard_number(under.shard),
                &ids,
                &keys,
                &times,
                &since,
                &days,
                &kinds,
                &apps,
                &labels,
                &tasks,
                &calls,
                &types,
                &bodies,
                &nanos(under.now),
                &last,
            ],
        )
        .await?;
    let first = rows.iter().find_map(|row| row.get::<_, Option<i64>>(0));
    let repeated = rows.iter().filter_map(|row| Some((row.get::<_, Option<Uuid>>(1)?, EventId(row.get(2)))));
    Ok(first.map(|first| Kept { first: seq(first), repeated: repeated.collect() }))
}

/// Which of these events are there.
pub(super) async fn places(
    client: &mut Client,
    ids: &[EventId],
    earliest: Day,
) -> Result<HashMap<EventId, Place>, Error> {
    let find = "SELECT id, shard, seq FROM event WHERE id = ANY($1) AND day >= $2";
    let find = client.prepare_cached(find).await?;
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = client.query(&find, &[&ids, &earliest]).await?;
    let place = |row: &Row| Place { shard: super::keeper::shard_id(row.get(1)), seq: seq(row.get(2)) };
    Ok(rows.iter().map(|row| (EventId(row.get(0)), place(row))).collect())
}

/// The event of a row of [`COLUMNS`], which begin at `column`.
pub(super) fn event(row: &Row, column: usize) -> Event {
    let text = |at: usize| row.get::<_, Option<String>>(column + at);
    let bytes = |at: usize| row.get::<_, Option<Vec<u8>>>(column + at).map(Bytes::from);
    let kind = u8::try_from(row.get::<_, i16>(column + 4)).ok().and_then(kind_of);
    Event {
        place: Place { shard: super::keeper::shard_id(row.get(column)), seq: seq(row.get(column + 1)) },
        id: EventId(row.get(column + 2)),
        received_at: time(row.get(column + 3)),
        kind: kind.unwrap_or(Kind::Unknown),
        app: text(5).unwrap_or_default().into(),
        label: text(6).map(Into::into),
        task_id: text(7),
        call_sn: text(8),
        content_type: bytes(9),
        body: bytes(10).unwrap_or_default(),
    }
}

/// Events of a shard from `from` on; see [`crate::store::Log::read`].
pub(super) async fn read(
    client: &mut Client,
    shard: ShardId,
    from: Seq,
    max_events: usize,
    max_bytes: usize,
) -> Result<Batch, Error> {
    // The sizes of bodies are known without their being read.
    let read = format!(
        "SELECT s.first, e.* FROM shard AS s LEFT JOIN LATERAL (
           SELECT {COLUMNS} FROM (
             SELECT event.*, sum(octet_length(body)) OVER (ORDER BY seq) AS bytes FROM event
             WHERE shard = $1 AND seq >= greatest($2, s.first) ORDER BY seq LIMIT $3) AS next
           WHERE bytes <= $4 OR bytes = octet_length(body)) AS e ON true
         WHERE s.id = $1 ORDER BY e.seq"
    );
    let read = client.prepare_cached(&read).await?;
    let limit = i64::try_from(max_events).unwrap_or(i64::MAX);
    let bytes = i64::try_from(max_bytes).unwrap_or(i64::MAX);
    let rows = client.query(&read, &[&shard_number(shard), &seq_number(from), &limit, &bytes]).await?;
    let first = rows.first().map_or(Seq(1), |row| seq(row.get(0)));
    let begin = first.max(from);
    let events = rows.iter().filter(|row| row.get::<_, Option<i64>>(2).is_some());
    let events: Vec<_> = events.map(|row| Arc::new(event(row, 1))).collect();
    let next = events.last().map_or(begin, |event| event.place.seq.next());
    Ok(Batch { events, next, gap: (begin > from).then_some(Gap { from, until: begin }) })
}
