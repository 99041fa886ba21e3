//! The store against what the disk can do: raw appends, one `fdatasync` a group, in the same run.
//!
//! `cargo bench --bench store -- [accept] [keys] [deliver] [reopen] [backlog] [queries]`; all of them without words.
//! `STORE_BENCH_DIR` says which disk. Figures are medians of interleaved runs.

#[path = "shared/raw.rs"]
mod raw;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::runtime::Runtime;
use uuid::Uuid;
use xinyao_gateway::store::{
    Appended, Attempt, EmbeddedStore, EventFilter, EventId, Fate, Intake, Log, NewEvent, Place, Progress,
    Query, Seq, Settings, Settled, ShardId, Start, open,
};
use xinyao_gateway::xinyao::callback::Kind;

use self::raw::Raw;

type Bench = fn(&Runtime);

const BODY: usize = 3 * 1024;
const SHARD: ShardId = ShardId(0);
const ROUNDS: usize = 5;
/// The folder of a child that is to be killed.
const CHILD: &str = "STORE_BENCH_CHILD";
const RUN: Duration = Duration::from_millis(1500);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |word: &str| words.is_empty() || words.iter().any(|given| given == word);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if let Some(folder) = std::env::var_os(CHILD) {
        return fill_until_killed(&runtime, Path::new(&folder));
    }
    let benches: [(&str, Bench); 6] = [
        ("accept", |runtime| accept(runtime, 0)),
        ("keys", |runtime| accept(runtime, 2_000_000)),
        ("deliver", deliver),
        ("reopen", reopen),
        ("backlog", backlog),
        ("queries", queries),
    ];
    for (name, bench) in benches {
        if wanted(name) {
            println!("-- {name}");
            bench(&runtime);
        }
    }
}

/// A folder on the disk that is measured, removed afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let disk = std::env::var_os("STORE_BENCH_DIR").map_or_else(|| "target/tmp".into(), PathBuf::from);
        let path = disk.join(format!("store-bench-{}", Uuid::now_v7()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        path: folder.join("gateway.db"),
        retention: Duration::from_hours(7 * 24),
        max_size_bytes: 64 << 30,
        cluster: None,
    }
}

/// What one run came to.
struct Outcome {
    per_second: f64,
    p99_ms: f64,
    bytes_per_event: f64,
}

fn accept(runtime: &Runtime, keys: u64) {
    let folder = Folder::new();
    let store = Arc::new(open(&settings(&folder.0)).unwrap().0);
    fill_keys(runtime, &store, keys);
    for writers in [64, 256] {
        let (mut raw, mut own) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            raw.push(run_raw(runtime, &folder.0, writers));
            own.push(run_store(runtime, &store, writers));
        }
        let (raw, own) = (median(raw), median(own));
        println!(
            "{writers:4} writers: raw {:.0}/s, p99 {:.1} ms, {:.0} B/event; store {:.0}/s ({:.2} of raw), \
             p99 {:.1} ms ({:.2} of raw), {:.0} B/event ({:.2} of payload)",
            raw.per_second,
            raw.p99_ms,
            raw.bytes_per_event,
            own.per_second,
            own.per_second / raw.per_second,
            own.p99_ms,
            own.p99_ms / raw.p99_ms,
            own.bytes_per_event,
            own.bytes_per_event / BODY as f64,
        );
    }
    runtime.block_on(store.close());
}

fn median(mut outcomes: Vec<Outcome>) -> Outcome {
    let mut pick = |of: fn(&Outcome) -> f64| {
        outcomes.sort_by(|a, b| of(a).total_cmp(&of(b)));
        of(&outcomes[outcomes.len() / 2])
    };
    Outcome {
        per_second: pick(|outcome| outcome.per_second),
        p99_ms: pick(|outcome| outcome.p99_ms),
        bytes_per_event: pick(|outcome| outcome.bytes_per_event),
    }
}

/// Has `writers` do it again and again for the time of a run, then `drain`.
fn measure<F: Future<Output = ()>>(
    runtime: &Runtime,
    writers: usize,
    mut one: impl FnMut() -> F + Clone,
    drain: impl Future<Output = ()>,
) -> Outcome {
    let written = bytes_written();
    let begun = Instant::now();
    let mut took: Vec<Duration> = runtime.block_on(async {
        let writers = (0..writers).map(|_| {
            let mut one = one.clone();
            async move {
                let mut took = Vec::new();
                while begun.elapsed() < RUN {
                    let begun = Instant::now();
                    one().await;
                    took.push(begun.elapsed());
                }
                took
            }
        });
        join_all(writers).await.into_iter().flatten().collect()
    });
    let elapsed = begun.elapsed();
    runtime.block_on(drain);
    let _ = &mut one;
    took.sort_unstable();
    Outcome {
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p99_ms: took[took.len() * 99 / 100].as_secs_f64() * 1000.0,
        bytes_per_event: (bytes_written() - written) as f64 / took.len() as f64,
    }
}

fn run_store(runtime: &Runtime, store: &Arc<EmbeddedStore>, writers: usize) -> Outcome {
    let body = Bytes::from(vec![b'x'; BODY]);
    let one = || {
        let (store, event) = (Arc::clone(store), event(body.clone()));
        async move { assert!(matches!(store.append(event).await.unwrap(), Appended::Kept(_))) }
    };
    measure(runtime, writers, one, drained(store))
}

async fn drained(store: &EmbeddedStore) {
    store.events(EventFilter::default(), 1, None).await.unwrap();
}

fn event(body: Bytes) -> NewEvent {
    let id = Uuid::now_v7();
    let now = Timestamp::now();
    let key = u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..));
    NewEvent {
        id: EventId(id),
        received_at: now,
        app: "crm".into(),
        label: None,
        kind: Kind::CallRecord,
        task_id: Some("5682792453545984".into()),
        call_sn: Some("20261124080000".into()),
        content_type: Some(Bytes::from_static(b"application/json")),
        unless_since: Some((key.to_le_bytes(), now - Duration::from_mins(10))),
        body,
    }
}

fn fill_keys(runtime: &Runtime, store: &Arc<EmbeddedStore>, keys: u64) {
    let body = Bytes::from_static(b"{}");
    runtime.block_on(async {
        for _ in 0..keys / 512 {
            join_all((0..512).map(|_| store.append(event(body.clone())))).await;
        }
        drained(store).await;
    });
}

fn run_raw(runtime: &Runtime, folder: &Path, writers: usize) -> Outcome {
    let raw = Raw::new(folder);
    let appender = raw.appender();
    let body = Bytes::from(vec![b'x'; BODY]);
    let one = || {
        let (appender, body) = (appender.clone(), body.clone());
        async move { appender.append(body).await }
    };
    let outcome = measure(runtime, writers, one, async {});
    drop(appender);
    outcome
}

/// Five subscribers, each of which gets 100,000 events.
fn deliver(runtime: &Runtime) {
    const EVENTS: u64 = 100_000;
    const BATCH: usize = 512;
    let folder = Folder::new();
    let store = Arc::new(open(&settings(&folder.0)).unwrap().0);
    let names: Vec<Arc<str>> = (0..5).map(|number| format!("subscriber-{number}").into()).collect();
    runtime.block_on(async {
        for name in &names {
            Progress::open(&*store, name, Start::Now).await.unwrap();
        }
    });
    fill_keys(runtime, &store, EVENTS);
    let tail = *store.tail(SHARD).borrow();
    let written = bytes_written();
    let begun = Instant::now();
    runtime.block_on(async {
        let subscribers = names.iter().map(async |name| {
            let mut next = Seq(1);
            while next < tail {
                // As the dispatcher does: nobody waits for what was delivered to be written down.
                let mut settling = Vec::new();
                while next < tail && settling.len() < 32 {
                    let batch = store.read(SHARD, next, BATCH, 4 << 20).await.unwrap();
                    let settled = batch.events.iter().map(|event| delivered(name, event.place)).collect();
                    settling.push(store.settle(settled));
                    store.advance(name, SHARD, batch.next);
                    next = batch.next;
                }
                join_all(settling).await.into_iter().for_each(Result::unwrap);
            }
        });
        join_all(subscribers).await;
        drained(&store).await;
    });
    let deliveries = (tail.0 - 1) as f64 * names.len() as f64;
    println!(
        "{:.0} deliveries/s written down, {:.0} B each",
        deliveries / begun.elapsed().as_secs_f64(),
        (bytes_written() - written) as f64 / deliveries
    );
    runtime.block_on(store.close());
}

fn delivered(name: &Arc<str>, place: Place) -> Settled {
    let attempt = Attempt {
        subscriber: Arc::clone(name),
        number: 1,
        at: Timestamp::now(),
        status: Some(200),
        latency_ms: 3,
        error: None,
        answer: Bytes::from_static(b"{\"code\":0}"),
    };
    Settled { subscriber: Arc::clone(name), place, attempt: Some(attempt), fate: Fate::Delivered }
}

/// A log of 1 GB, opened after a kill in the midst of appending, after an orderly end, and without its index.
fn reopen(runtime: &Runtime) {
    const EVENTS: u64 = 330_000;
    let folder = Folder::new();
    fill(runtime, &folder.0, EVENTS);
    fill_and_kill(&folder.0);
    for after in ["a kill", "an orderly end"] {
        let begun = Instant::now();
        let (store, recovered) = open(&settings(&folder.0)).unwrap();
        let took = begun.elapsed();
        runtime.block_on(drained(&store));
        let bytes = runtime.block_on(store.size()).unwrap().0;
        println!(
            "after {after}: {} events, {:.2} GB on the disk, opened in {took:.2?}; the index lacked {} of them, \
             and had them {:.2?} after the beginning",
            recovered.events,
            bytes as f64 / 1e9,
            recovered.indexed,
            begun.elapsed()
        );
        runtime.block_on(store.close());
    }
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(folder.0.join(format!("gateway.db{suffix}"))).ok();
    }
    let begun = Instant::now();
    let (store, recovered) = open(&settings(&folder.0)).unwrap();
    println!("with the index lost: {} events taken in again in {:.2?}", recovered.indexed, begun.elapsed());
    runtime.block_on(store.close());
}

fn fill(runtime: &Runtime, folder: &Path, events: u64) {
    let store = open(&settings(folder)).unwrap().0;
    let body = Bytes::from(vec![b'x'; BODY]);
    runtime.block_on(async {
        Progress::open(&store, "dead", Start::Now).await.unwrap();
        for _ in 0..events / 512 {
            join_all((0..512).map(|_| store.append(event(body.clone())))).await;
        }
        store.close().await;
    });
}

fn fill_and_kill(folder: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(line, "filled\n");
}

fn fill_until_killed(runtime: &Runtime, folder: &Path) {
    let store = open(&settings(folder)).unwrap().0;
    let body = Bytes::from(vec![b'x'; BODY]);
    runtime.block_on(async {
        for round in 0_u32.. {
            join_all((0..512).map(|_| store.append(event(body.clone())))).await;
            if round == 100 {
                println!("filled");
            }
        }
    });
}

/// What a backlog of 100,000 events for a dead subscriber costs in memory, and how long a restart takes.
fn backlog(runtime: &Runtime) {
    let folder = Folder::new();
    let before = resident();
    fill(runtime, &folder.0, 100_000);
    let begun = Instant::now();
    let (store, recovered) = open(&settings(&folder.0)).unwrap();
    let took = begun.elapsed();
    runtime.block_on(drained(&store));
    let ahead: u64 =
        runtime.block_on(store.figures()).unwrap()[0].ahead.iter().map(|(.., count)| count).sum();
    println!(
        "{ahead} of {} events ahead of a dead subscriber: {:.0} MiB resident more than without; restarted in {took:.2?}",
        recovered.events,
        resident().saturating_sub(before) as f64 / f64::from(1 << 20),
    );
    let asked = Instant::now();
    runtime.block_on(store.figures()).unwrap();
    println!("its figures: {:.2?}", asked.elapsed());
    runtime.block_on(store.close());
}

/// What operators ask over a million events of 100 tasks, the slowest of ten times each.
fn queries(runtime: &Runtime) {
    const EVENTS: u64 = 1_000_000;
    let folder = Folder::new();
    let store = open(&settings(&folder.0)).unwrap().0;
    let mut middle = None;
    let number = std::cell::Cell::new(0_u64);
    runtime.block_on(async {
        Progress::open(&store, "dead", Start::Now).await.unwrap();
        while number.get() < EVENTS {
            let events = (0..512).map(|_| {
                let task = number.replace(number.get() + 1) % 100;
                NewEvent { task_id: Some(task.to_string()), ..event(Bytes::from_static(b"{}")) }
            });
            let events: Vec<NewEvent> = events.collect();
            if number.get() > EVENTS / 2 {
                middle.get_or_insert((events[0].id, events[0].received_at));
            }
            join_all(events.into_iter().map(|event| store.append(event))).await;
        }
        drained(&store).await;
        let (id, at) = middle.unwrap();
        let narrowed = |task: &str, app: &str| EventFilter {
            task_id: (!task.is_empty()).then(|| task.to_owned()),
            app: (!app.is_empty()).then(|| app.to_owned()),
            ..EventFilter::default()
        };
        let around =
            EventFilter { since: Some(at), until: Some(at + Duration::from_secs(1)), ..narrowed("7", "") };
        let filters = [
            ("the newest", EventFilter::default()),
            ("of an app", narrowed("", "crm")),
            ("of a task", narrowed("7", "")),
            ("of a task and a second", around),
            ("of a task that there is not", narrowed("none", "")),
        ];
        for (name, filter) in filters {
            let took = slowest(async || drop(store.events(filter.clone(), 50, None).await.unwrap())).await;
            println!("{name}: {took:.2?}");
        }
        println!("one by its id: {:.2?}", slowest(async || drop(store.event(id).await.unwrap())).await);
        println!("figures: {:.2?}", slowest(async || drop(store.figures().await.unwrap())).await);
        store.close().await;
    });
}

async fn slowest(ask: impl AsyncFn()) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..10 {
        let begun = Instant::now();
        ask().await;
        slowest = slowest.max(begun.elapsed());
    }
    slowest
}

fn bytes_written() -> u64 {
    field("/proc/self/io", "write_bytes:")
}

fn resident() -> u64 {
    field("/proc/self/status", "VmRSS:") * 1024
}

fn field(file: &str, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
