//! The store in PostgreSQL against what PostgreSQL can do: 64 connections that insert the same events into the same
//! table, a group a statement, in the same run.
//!
//! `cargo bench --bench postgres -- [1] [4] [16]`: rows of a group; all of them without words. Figures are medians of interleaved runs; as many events are under way in both.

#[path = "../tests/support/postgres.rs"]
mod postgres;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;
use xinyao_gateway::store::{ClusterSettings, EventId, Intake, NewEvent, PostgresStore, Settings, open};
use xinyao_gateway::xinyao::callback::Kind;

use self::postgres::Postgres;

const BODY: usize = 3 * 1024;
const CONNECTIONS: usize = 64;
const ROUNDS: usize = 3;
const RUN: Duration = Duration::from_secs(2);

/// What one run came to.
#[derive(Clone, Copy)]
struct Outcome {
    per_second: f64,
    p99_ms: f64,
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = Postgres::start();
    let folder = tempfile::tempdir().unwrap();
    let store = runtime.block_on(opened(&server, folder.path()));
    let clients = runtime.block_on(join_all((0..CONNECTIONS).map(|_| connect(&server))));
    let plain = "CREATE TABLE xinyao_gateway.plain (LIKE xinyao_gateway.event INCLUDING ALL) WITH
      (toast_tuple_target = 8160); CREATE SEQUENCE xinyao_gateway.numbers CACHE 100";
    server.sql(plain);
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    for rows in [1, 4, 16].into_iter().filter(|rows| words.is_empty() || words.contains(&rows.to_string())) {
        let (mut plain, mut own) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            plain.push(run_plain(&runtime, &clients, rows));
            own.push(run_store(&runtime, &store, CONNECTIONS * rows));
        }
        let (plain, own) = (median(plain), median(own));
        println!(
            "{:4} events under way: plain {:.0}/s, p99 {:.1} ms; store {:.0}/s ({:.2} of plain), p99 {:.1} ms",
            CONNECTIONS * rows,
            plain.per_second,
            plain.p99_ms,
            own.per_second,
            own.per_second / plain.per_second,
            own.p99_ms,
        );
    }
    runtime.block_on(store.close());
}

async fn opened(server: &Postgres, folder: &std::path::Path) -> PostgresStore {
    let cluster = ClusterSettings { url: server.url().parse().unwrap(), replica: "bench".into() };
    let settings = Settings {
        path: folder.join("gateway.db"),
        retention: Duration::from_hours(7 * 24),
        max_size_bytes: 64 << 30,
        cluster: Some(cluster.clone()),
    };
    let local = open(&settings).unwrap().0;
    PostgresStore::open(&settings, &cluster, None, local).await.unwrap()
}

async fn connect(server: &Postgres) -> Client {
    let (client, connection) = tokio_postgres::connect(&server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET search_path TO xinyao_gateway; SET jit = off").await.unwrap();
    client
}

fn event() -> NewEvent {
    let id = Uuid::now_v7();
    let mut body = vec![b'x'; BODY];
    body[..16].copy_from_slice(id.as_bytes());
    let received_at = Timestamp::now();
    NewEvent {
        id: EventId(id),
        received_at,
        app: "crm".into(),
        label: None,
        kind: Kind::CallRecord,
        task_id: Some("7".into()),
        call_sn: Some(format!("batch-{}", fastrand::u32(..10_000))),
        content_type: Some(Bytes::from_static(b"application/json")),
        unless_since: Some((*id.as_bytes(), received_at - Duration::from_mins(10))),
        body: body.into(),
    }
}

/// `writers` that each append one event after the other.
fn run_store(runtime: &Runtime, store: &PostgresStore, writers: usize) -> Outcome {
    let until = Instant::now() + RUN;
    let writing = (0..writers).map(async |_| {
        let mut took = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            store.append(event()).await.unwrap();
            took.push(begun.elapsed());
        }
        took
    });
    outcome(runtime.block_on(join_all(writing)).concat(), 1)
}

/// Connections that each insert one group of `rows` after the other.
fn run_plain(runtime: &Runtime, clients: &[Client], rows: usize) -> Outcome {
    static SEQ: AtomicU64 = AtomicU64::new(1);
    let until = Instant::now() + RUN;
    let writing = clients.iter().map(async |client| {
        let insert =
            "INSERT INTO plain (seq, received_at, shard, day, id, kind, app, label, task_id, call_sn,
            content_type, body)
          SELECT seq, at, 0, 1, id, 1, 'crm', NULL, '7', call_sn, 'application/json', body
          FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::text[], $5::bytea[])
            AS given (seq, at, id, call_sn, body)";
        let insert = client.prepare(insert).await.unwrap();
        let mut took = Vec::new();
        while Instant::now() < until {
            let begun = Instant::now();
            let events: Vec<_> = (0..rows).map(|_| event()).collect();
            let seqs: Vec<_> =
                events.iter().map(|_| i64::try_from(SEQ.fetch_add(1, Ordering::Relaxed)).unwrap()).collect();
            let times: Vec<_> = events.iter().map(|event| event.received_at.as_microsecond()).collect();
            let ids: Vec<_> = events.iter().map(|event| event.id.0).collect();
            let calls: Vec<_> = events.iter().map(|event| event.call_sn.as_deref()).collect();
            let bodies: Vec<_> = events.iter().map(|event| &event.body[..]).collect();
            client.execute(&insert, &[&seqs, &times, &ids, &calls, &bodies]).await.unwrap();
            took.push(begun.elapsed());
        }
        took
    });
    outcome(runtime.block_on(join_all(writing)).concat(), rows)
}

fn outcome(mut took: Vec<Duration>, rows: usize) -> Outcome {
    took.sort_unstable();
    let p99 = took[(took.len() - 1) * 99 / 100];
    let per_second = (took.len() * rows) as f64 / RUN.as_secs_f64();
    Outcome { per_second, p99_ms: p99.as_secs_f64() * 1000.0 }
}

fn median(mut outcomes: Vec<Outcome>) -> Outcome {
    outcomes.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    outcomes[outcomes.len() / 2]
}
