//! What an event and its deliveries take of PostgreSQL. docs/sizing.md has the figures.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use super::PostgresStore;
use super::server::Postgres;
use super::tests::Cluster;
use crate::store::suite::event;
use crate::store::{
    Appended, Attempt, EventId, Fate, Intake, Log, NewEvent, Place, Progress, Seq, Settled, Start,
};

const EVENTS: u64 = 100_000;
const WRITERS: u64 = 64;
/// Events that come one by one, each in a group by itself.
const ALONE: u64 = 5_000;
const SUBSCRIBERS: [&str; 3] = ["one", "two", "three"];

/// Bytes of each table for an event, its indexes apart.
const TABLES: &str = "
SELECT string_agg(format('  %s: rows %s, indexes %s', kind, rows / 100000, indexes / 100000), E'\\n' ORDER BY kind)
FROM (
  SELECT regexp_replace(relname, '_[0-9]+$', '') AS kind, sum(pg_table_size(oid)) AS rows,
    sum(pg_indexes_size(oid)) AS indexes
  FROM pg_class WHERE relnamespace = 'xinyao_gateway'::regnamespace AND relkind = 'r' GROUP BY 1) AS sizes
WHERE rows + indexes >= 100000";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures"]
async fn bytes_and_time_of_an_event() {
    for body in [1 << 10, 3 << 10] {
        let cluster = Cluster::new();
        let store = Arc::new(cluster.replica("one").await);
        for subscriber in SUBSCRIBERS {
            store.open(subscriber, Start::Now).await.unwrap();
        }
        store.append(like_a_record(EVENTS, body)).await.unwrap();
        let before = Used::of(&cluster.server);
        let writers = (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&store), writer, body)));
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        println!("{EVENTS} events of {body} bytes: {}", before.since(&cluster.server, EVENTS));
        let before = Used::of(&cluster.server);
        let deliveries = SUBSCRIBERS.map(|name| tokio::spawn(deliver(Arc::clone(&store), name)));
        for delivery in deliveries {
            delivery.await.unwrap();
        }
        println!("as many deliveries to each of three: {}", before.since(&cluster.server, EVENTS));
        println!("{}", cluster.server.sql(TABLES));
        let before = Used::of(&cluster.server);
        for number in 0..ALONE {
            store.append(like_a_record(EVENTS + 1 + number, body)).await.unwrap();
        }
        println!("{ALONE} events one by one: {}", before.since(&cluster.server, ALONE));
        store.close().await;
    }
}

async fn write(store: Arc<PostgresStore>, writer: u64, body: usize) {
    for number in (writer..EVENTS).step_by(usize::try_from(WRITERS).unwrap()) {
        let kept = store.append(like_a_record(number, body)).await.unwrap();
        assert!(matches!(kept, Appended::Kept(_)));
    }
}

/// With a key that lies anywhere among all keys, as a digest does.
fn like_a_record(number: u64, body: usize) -> NewEvent {
    let key = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    let now = Timestamp::now();
    NewEvent {
        id: EventId(Uuid::now_v7()),
        received_at: now,
        task_id: Some("1234567".into()),
        call_sn: Some(format!("1773568493{:08}", number / 1000)),
        unless_since: Some((key, now - Duration::from_mins(10))),
        body: Bytes::from(vec![b'x'; body]),
        ..event(1)
    }
}

/// Thirty-two at a time are under way.
async fn deliver(store: Arc<PostgresStore>, name: &'static str) {
    let shard = store.shards().borrow()[0];
    for first in (1..=EVENTS).step_by(32) {
        let settled = (first..first + 32).map(|seq| Settled {
            subscriber: name.into(),
            place: Place { shard, seq: Seq(seq) },
            attempt: Some(Attempt {
                subscriber: name.into(),
                number: 1,
                at: Timestamp::now(),
                status: Some(200),
                latency_ms: 12,
                error: None,
                answer: Bytes::from_static(b"{\"code\":0}"),
            }),
            fate: Fate::Delivered,
        });
        store.settle(settled.collect()).await.unwrap();
        store.advance(name, shard, Seq(first + 32));
    }
}

/// What the server has used so far.
struct Used {
    wal_bytes: u64,
    pages: u64,
    syncs: u64,
    cpu_ticks: u64,
}

impl Used {
    fn of(server: &Postgres) -> Self {
        let numbers = server.sql("SELECT pg_current_wal_lsn() - '0/0', wal_fpi, wal_sync FROM pg_stat_wal");
        let numbers: Vec<u64> = numbers.split('|').map(|number| number.parse().unwrap()).collect();
        Self { wal_bytes: numbers[0], pages: numbers[1], syncs: numbers[2], cpu_ticks: ticks(server.pid()) }
    }

    fn since(&self, server: &Postgres, events: u64) -> String {
        let now = Self::of(server);
        format!(
            "WAL {} bytes each, of which {} whole pages; {} syncs; CPU {} µs each",
            (now.wal_bytes - self.wal_bytes) / events,
            now.pages - self.pages,
            now.syncs - self.syncs,
            (now.cpu_ticks - self.cpu_ticks) * 10_000 / events,
        )
    }
}

/// Hundredths of a second of the server's processes (proc(5), `stat`: ppid, utime, stime).
fn ticks(server: u32) -> u64 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let stats = processes.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
    let fields = stats.filter_map(|stat| {
        let fields: Vec<u64> = stat
            .rsplit_once(") ")?
            .1
            .split(' ')
            .skip(1)
            .map_while(|f| f.parse::<i64>().ok())
            .map(i64::unsigned_abs)
            .collect();
        (fields[0] == u64::from(server)).then(|| fields[10] + fields[11])
    });
    fields.sum()
}
