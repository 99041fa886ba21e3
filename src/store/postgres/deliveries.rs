//! How deliveries stand, and the attempts that were made.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use deadpool_postgres::Client;
use tokio_postgres::{Error, Row};

use super::keeper::{seq, seq_number, shard_id, shard_number};
use super::values::natural;
use crate::store::log::record::time;
use crate::store::standing::{Outcome, RetryRow, Standing};
use crate::store::{Attempt, Delivery, EventSummary, Place, Seq, ShardId};

const STANDINGS: &str = "
SELECT s.id, s.name, f.shard, f.began, f.next FROM subscriber AS s JOIN frontier AS f ON f.subscriber = s.id
WHERE f.shard = ANY ($1) ORDER BY s.name";

const RETRIES: &str = "
SELECT r.subscriber, r.shard, r.seq, r.due, r.attempts, r.spent
FROM unnest($1::integer[], $2::bigint[]) AS g (shard, seq) CROSS JOIN subscriber AS s
JOIN retry AS r ON r.subscriber = s.id AND r.shard = g.shard AND r.seq = g.seq";

const DEAD: &str = "
SELECT d.subscriber, d.shard, d.seq FROM unnest($1::integer[], $2::bigint[]) AS g (shard, seq)
JOIN dead AS d ON d.shard = g.shard AND d.seq = g.seq";

const TRIED: &str = "
SELECT a.subscriber, a.shard, a.seq, a.outcome, a.error FROM unnest($1::integer[], $2::bigint[]) AS g (shard, seq)
JOIN attempt AS a ON a.shard = g.shard AND a.seq = g.seq ORDER BY a.at, a.number";

const ATTEMPTS: &str = "
SELECT s.name, a.number, a.at, a.status, a.latency_ms, a.error, a.answer
FROM attempt AS a JOIN subscriber AS s ON s.id = a.subscriber
WHERE a.shard = $1 AND a.seq = $2 ORDER BY a.at, a.number";

/// A delivery: whose, and of which event.
type Key = (i32, Place);

/// What was written down of deliveries.
#[derive(Default)]
struct Known {
    retries: HashMap<Key, RetryRow>,
    dead: HashSet<Key>,
    tried: HashMap<Key, Tried>,
}

/// How many attempts were made, and what came of the last.
struct Tried {
    count: u32,
    outcome: Outcome,
    error: Option<String>,
}

fn key(row: &Row) -> Key {
    (row.get(0), Place { shard: shard_id(row.get(1)), seq: seq(row.get(2)) })
}

/// Adds to events how their deliveries stand.
pub(super) async fn add(client: &mut Client, events: &mut [EventSummary]) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    let shards: Vec<i32> = events.iter().map(|event| shard_number(event.place.shard)).collect();
    let seqs: Vec<i64> = events.iter().map(|event| seq_number(event.place.seq)).collect();
    let known = known(client, &shards, &seqs).await?;
    let standings = client.prepare_cached(STANDINGS).await?;
    let mut by_shard = BTreeMap::<ShardId, Vec<(i32, String, Seq, Seq)>>::new();
    for row in client.query(&standings, &[&shards]).await? {
        let one = (row.get(0), row.get(1), seq(row.get(3)), seq(row.get(4)));
        by_shard.entry(shard_id(row.get(2))).or_default().push(one);
    }
    for event in events {
        let members = by_shard.get(&event.place.shard).map(Vec::as_slice).unwrap_or_default();
        event.deliveries = members
            .iter()
            .filter_map(|(id, name, began, frontier)| {
                let standing = Standing { frontier: *frontier, ..Standing::new(*began) };
                known.delivery(*id, name, standing, event.place)
            })
            .collect();
    }
    Ok(())
}

async fn known(client: &mut Client, shards: &[i32], seqs: &[i64]) -> Result<Known, Error> {
    let mut known = Known::default();
    let (retries, dead) = (client.prepare_cached(RETRIES).await?, client.prepare_cached(DEAD).await?);
    for row in client.query(&retries, &[&shards, &seqs]).await? {
        let (attempts, spent) = (natural(row.get(4)), natural(row.get(5)));
        known.retries.insert(key(&row), RetryRow { due: time(row.get(3)), attempts, spent });
    }
    known.dead = client.query(&dead, &[&shards, &seqs]).await?.iter().map(key).collect();
    let tried = client.prepare_cached(TRIED).await?;
    for row in client.query(&tried, &[&shards, &seqs]).await? {
        let count = known.tried.get(&key(&row)).map_or(0, |tried| tried.count) + 1;
        let tried = Tried { count, outcome: outcome(row.get(3)), error: row.get(4) };
        known.tried.insert(key(&row), tried);
    }
    Ok(known)
}

impl Known {
    fn delivery(&self, id: i32, name: &str, mut standing: Standing, place: Place) -> Option<Delivery> {
        let key = (id, place);
        let (row, tried) = (self.retries.get(&key), self.tried.get(&key));
        if let Some(row) = row {
            standing.retries.put(place.seq, *row);
        }
        let dead = self.dead.contains(&key);
        Some(Delivery {
            subscriber: name.to_owned(),
            state: standing.state(place.seq, dead, tried.map(|tried| tried.outcome))?,
            attempts: tried.map_or(0, |tried| tried.count),
            next_attempt_at: row.map(|row| row.due),
            last_error: tried.and_then(|tried| tried.error.clone()),
        })
    }
}

fn outcome(number: i16) -> Outcome {
    match number {
        1 => Outcome::Delivered,
        2 => Outcome::Dead,
        _ => Outcome::Failed,
    }
}

/// All attempts of an event, in order of time.
pub(super) async fn attempts(client: &mut Client, place: Place) -> Result<Vec<Attempt>, Error> {
    let attempts = client.prepare_cached(ATTEMPTS).await?;
    let rows = client.query(&attempts, &[&shard_number(place.shard), &seq_number(place.seq)]).await?;
    let attempt = |row: &Row| Attempt {
        subscriber: Arc::from(row.get::<_, &str>(0)),
        number: natural(row.get(1)),
        at: time(row.get(2)),
        status: row.get::<_, Option<i16>>(3).and_then(|status| u16::try_from(status).ok()),
        latency_ms: natural(row.get(4)),
        error: row.get(5),
        answer: row.get::<_, Option<Vec<u8>>>(6).map(Bytes::from).unwrap_or_default(),
    };
    Ok(rows.iter().map(attempt).collect())
}
