//! How many events are meant. Of whole blocks whose times are all meant, or none, tallies tell; what belongs to a task
//! or a batch is counted by rows.

use std::collections::HashMap;

use deadpool_postgres::Client;
use tokio_postgres::{Error, Row};

use super::keeper::{seq_number, shard_number};
use super::progress::{REPLAY, replay};
use super::query::{Narrowed, borrowed, count};
use crate::store::log::record::nanos;
use crate::store::{EventFilter, Replay};

/// Events that are left to the replays of each subscriber.
pub(super) async fn left(client: &mut Client) -> Result<HashMap<i32, u64>, Error> {
    let replays = format!("SELECT {REPLAY}, r.subscriber FROM replay AS r");
    let mut left = HashMap::new();
    for row in client.query(&replays, &[]).await? {
        *left.entry(row.get(10)).or_default() += left_of(client, &replay(&row)).await?;
    }
    Ok(left)
}

/// Events that are left to the replays of the subscriber of that name.
pub(super) async fn left_to(client: &mut Client, name: &str) -> Result<u64, Error> {
    let replays = format!(
        "SELECT {REPLAY} FROM replay AS r JOIN subscriber AS s ON s.id = r.subscriber WHERE s.name = $1"
    );
    let mut left = 0;
    for row in client.query(&replays, &[&name]).await? {
        left += left_of(client, &replay(&row)).await?;
    }
    Ok(left)
}

async fn left_of(client: &mut Client, replay: &Replay) -> Result<u64, Error> {
    let range =
        "SELECT id AS shard, greatest(first, $2) AS first, $3::bigint AS until FROM shard WHERE id = $1";
    let (shard, from, until) = (shard_number(replay.shard), seq_number(replay.next), seq_number(replay.end));
    let narrowed = Narrowed {
        parameters: vec![Box::new(shard), Box::new(from), Box::new(until)],
        ..Narrowed::default()
    };
    let counted = matching(client, range, narrowed, &replay.filter).await?;
    Ok(counted.first().map_or(0, |one| one.count))
}

/// A part of a shard, and how many of its events are meant.
pub(super) struct Counted {
    pub shard: i32,
    pub from: i64,
    pub until: i64,
    pub count: u64,
}

/// How many events of all shards are meant, by shard; those without any are left out.
pub(super) async fn in_all(client: &mut Client, filter: &EventFilter) -> Result<Vec<Counted>, Error> {
    let ranges = "SELECT id AS shard, first, next AS until FROM shard";
    matching(client, ranges, Narrowed::default(), filter).await
}

/// How many events of each of `ranges` are meant.
async fn matching(
    client: &mut Client,
    ranges: &str,
    mut narrowed: Narrowed,
    filter: &EventFilter,
) -> Result<Vec<Counted>, Error> {
    let since = filter.since.map_or(i64::MIN, nanos);
    let before = filter.until.map_or(i64::MAX, nanos);
    narrowed.parameters.push(Box::new(since));
    narrowed.parameters.push(Box::new(before));
    let (since, before) = (narrowed.parameters.len() - 1, narrowed.parameters.len());
    let in_time = format!("e.received_at >= ${since} AND e.received_at < ${before}");
    let sql = if filter.task_id.is_some() || filter.call_sn.is_some() {
        narrowed.named(filter);
        narrowed.classes("e", filter);
        format!(
            "SELECT r.shard, r.first, r.until, count(*) FROM ({ranges}) AS r
             JOIN event AS e ON e.shard = r.shard AND e.seq >= r.first AND e.seq < r.until
             WHERE {in_time} AND {} GROUP BY 1, 2, 3 ORDER BY 1",
            narrowed.sql()
        )
    } else {
        narrowed.classes("t", filter);
        format!(
            "WITH range AS MATERIALIZED ({ranges}),
             class AS MATERIALIZED (
               SELECT r.*, t.block, t.app, t.kind, t.events,
                 greatest(t.block * 4096, 1) >= r.first AND (t.block + 1) * 4096 <= r.until
                   AND t.early >= ${since} AND t.late < ${before} AS whole
               FROM range AS r JOIN tally AS t ON t.shard = r.shard
                 AND t.block >= r.first / 4096 AND t.block * 4096 < r.until
               WHERE t.late >= ${since} AND t.early < ${before} AND {}),
             part AS (SELECT DISTINCT shard, first, until, block FROM class WHERE NOT whole),
             counted AS (
               SELECT shard, first, until, events FROM class WHERE whole
               UNION ALL
               SELECT p.shard, p.first, p.until, e.events FROM part AS p CROSS JOIN LATERAL (
                 SELECT app, kind, count(*) AS events FROM event AS e
                 WHERE shard = p.shard AND seq >= greatest(p.first, p.block * 4096)
                   AND seq < least(p.until, (p.block + 1) * 4096) AND {in_time} GROUP BY 1, 2) AS e
               JOIN class AS c ON c.shard = p.shard AND c.block = p.block AND c.app = e.app AND c.kind = e.kind
               WHERE NOT c.whole)
             SELECT shard, first, until, sum(events)::bigint FROM counted GROUP BY 1, 2, 3 ORDER BY 1",
            narrowed.sql()
        )
    };
    let rows = client.query(&sql, &borrowed(&narrowed.parameters)).await?;
    let counted =
        |row: &Row| Counted { shard: row.get(0), from: row.get(1), until: row.get(2), count: count(row, 3) };
    Ok(rows.iter().map(counted).collect())
}
