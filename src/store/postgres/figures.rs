//! Figures of subscribers. What is ahead of one is added up from tallies of blocks; only the block that a frontier
//! stands in is counted by rows.

use std::collections::{BTreeMap, HashMap};

use deadpool_postgres::Client;
use tokio_postgres::{Error, Row};

use super::counting;
use super::keeper::{seq, shard_id};
use super::query::{count, kind};
use crate::store::SubscriberFigures;
use crate::store::log::record::time;

const STANDINGS: &str = "
SELECT s.id, s.name, s.paused, f.shard, f.next, f.delivered, f.failed, f.expired
FROM subscriber AS s LEFT JOIN frontier AS f ON f.subscriber = s.id ORDER BY s.name, f.shard";

const AHEAD: &str = "
WITH behind AS MATERIALIZED (
  SELECT f.subscriber, f.shard, greatest(f.next, h.first) AS next
  FROM frontier AS f JOIN shard AS h ON h.id = f.shard WHERE f.next < h.next),
place AS MATERIALIZED (SELECT DISTINCT shard, next FROM behind),
counted AS (
  SELECT p.shard, p.next, e.app, e.kind, e.events FROM place AS p CROSS JOIN LATERAL (
    SELECT app, kind, count(*) AS events FROM event
    WHERE shard = p.shard AND seq >= p.next AND seq < (p.next / 4096 + 1) * 4096 GROUP BY 1, 2) AS e
  UNION ALL
  SELECT p.shard, p.next, t.app, t.kind, sum(t.events)
  FROM place AS p JOIN tally AS t ON t.shard = p.shard AND t.block > p.next / 4096 GROUP BY 1, 2, 3, 4)
SELECT b.subscriber, c.app, c.kind, sum(c.events)::bigint
FROM behind AS b JOIN counted AS c USING (shard, next) GROUP BY 1, 2, 3 ORDER BY 2, 3";

const OLDEST: &str = "
SELECT w.subscriber, min(e.received_at) FROM (
  SELECT f.subscriber, f.shard, greatest(f.next, h.first) AS seq
  FROM frontier AS f JOIN shard AS h ON h.id = f.shard WHERE f.next < h.next
  UNION ALL SELECT subscriber, shard, min(seq) FROM retry GROUP BY 1, 2) AS w
JOIN LATERAL (
  SELECT received_at FROM event WHERE shard = w.shard AND seq = w.seq
  UNION ALL SELECT received_at FROM kept WHERE shard = w.shard AND seq = w.seq LIMIT 1) AS e ON true
GROUP BY 1";

const RETRYING: &str = "SELECT subscriber, count(*) FROM retry GROUP BY 1";
const DEAD: &str = "SELECT subscriber, count(*) FROM dead GROUP BY 1";

/// The figures of all subscribers, by name.
pub(super) async fn figures(client: &mut Client) -> Result<Vec<SubscriberFigures>, Error> {
    let mut figures = BTreeMap::<String, (i32, SubscriberFigures)>::new();
    for row in client.query(STANDINGS, &[]).await? {
        let name: String = row.get(1);
        let (_, one) = figures.entry(name.clone()).or_insert_with(|| (row.get(0), empty(name, row.get(2))));
        add_frontier(one, &row);
    }
    let (retrying, dead) = (counts(client, RETRYING).await?, counts(client, DEAD).await?);
    let oldest: HashMap<i32, i64> =
        client.query(OLDEST, &[]).await?.iter().map(|row| (row.get(0), row.get(1))).collect();
    let ahead = client.query(AHEAD, &[]).await?;
    let replaying = counting::left(client).await?;
    let complete = |(id, one): (i32, SubscriberFigures)| SubscriberFigures {
        ahead: ahead
            .iter()
            .filter(|row| row.get::<_, i32>(0) == id)
            .map(|row| (row.get(1), kind(row, 2), count(row, 3)))
            .collect(),
        oldest: oldest.get(&id).copied().map(time),
        retrying: retrying.get(&id).copied().unwrap_or(0),
        replaying: replaying.get(&id).copied().unwrap_or(0),
        dead: dead.get(&id).copied().unwrap_or(0),
        ..one
    };
    Ok(figures.into_values().map(complete).collect())
}

fn empty(name: String, paused: bool) -> SubscriberFigures {
    SubscriberFigures {
        name,
        paused,
        frontiers: Vec::new(),
        ahead: Vec::new(),
        oldest: None,
        retrying: 0,
        replaying: 0,
        delivered: 0,
        failed: 0,
        dead: 0,
        expired: 0,
    }
}

fn add_frontier(one: &mut SubscriberFigures, row: &Row) {
    let Some(shard) = row.get::<_, Option<i32>>(3) else { return };
    one.frontiers.push((shard_id(shard), seq(row.get(4))));
    one.delivered += count(row, 5);
    one.failed += count(row, 6);
    one.expired += count(row, 7);
}

async fn counts(client: &mut Client, sql: &str) -> Result<HashMap<i32, u64>, Error> {
    Ok(client.query(sql, &[]).await?.iter().map(|row| (row.get(0), count(row, 1))).collect())
}
