//! The hub through its front door: the real binary, callbacks over HTTP, subscribers over HTTP, on this
//! machine's disk and in the same run as what the disk can do by itself.
//!
//! `cargo bench --bench hub -- [accept] [deliver] [beside] [backlog] [inbound]`; all of them without words.
//! `HUB_BENCH_DIR` says which disk. Load, gateway and subscribers share the machine.

#[path = "../shared/raw.rs"]
mod raw;

mod gateway;
mod load;
mod server;

use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use self::gateway::Gateway;
use self::load::{CALLBACK, Outcome, Settled};
use self::raw::Raw;
use self::server::{Manner, Server};

type Bench = fn(&Runtime);

const LINES: usize = 64;
const ROUNDS: usize = 3;
const RUN: Duration = Duration::from_secs(3);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |word: &str| words.is_empty() || words.iter().any(|given| given == word);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let benches: [(&str, Bench); 5] = [
        ("accept", |runtime| accept(runtime, 0)),
        ("deliver", |runtime| accept(runtime, 3)),
        ("beside", beside),
        ("backlog", backlog),
        ("inbound", inbound),
    ];
    for (name, bench) in benches {
        if wanted(name) {
            println!("-- {name}");
            bench(&runtime);
        }
    }
}

/// Callbacks over 64 connections while `live` subscribers get them, against the disk alone.
fn accept(runtime: &Runtime, live: usize) {
    let servers: Vec<Server> = (0..live).map(|_| Server::start(Manner::Well)).collect();
    let gateway = Gateway::start(&subscribers(&servers));
    let (mut alone, mut own) = (Vec::new(), Vec::new());
    let mut accepted = 0;
    for _ in 0..ROUNDS {
        alone.push(disk(runtime, gateway.folder()));
        let outcome = runtime.block_on(load::callbacks(gateway.callbacks, LINES, RUN));
        accepted += outcome.count;
        own.push(outcome);
        let begun = Instant::now();
        for server in &servers {
            server.until(accepted);
        }
        if live > 0 {
            println!("      {live} subscribers had all of it {:.2?} later", begun.elapsed());
        }
    }
    let (alone, own) = (load::median(alone), load::median(own));
    println!(
        "disk {:.0}/s, p99 {:.1} ms; {live} subscribers: {:.0} acked/s ({:.2} of the disk), p50 {:.1} ms, p99 {:.1} ms",
        alone.per_second,
        alone.p99_ms,
        own.per_second,
        own.per_second / alone.per_second,
        own.p50_ms,
        own.p99_ms
    );
}

fn disk(runtime: &Runtime, folder: &Path) -> Outcome {
    let raw = Raw::new(folder);
    let appender = raw.appender();
    let outcome = runtime.block_on(load::again_and_again(LINES, RUN, |number| {
        let appender = appender.clone();
        async move { appender.append(load::body(number).into()).await }
    }));
    drop(appender);
    outcome
}

fn subscribers(servers: &[Server]) -> String {
    let one = |(number, server): (usize, &Server)| {
        format!("\n  - {{name: s{number}, url: \"http://{}/hook\"}}", server.address)
    };
    let list: String = servers.iter().enumerate().map(one).collect();
    if list.is_empty() { "subscribers: []".to_owned() } else { format!("subscribers:{list}") }
}

/// What a healthy subscriber feels of a dead, a hanging and a slow one, at 1,000 events a second: from the
/// acknowledgement to the delivery.
fn beside(runtime: &Runtime) {
    const EVENTS: usize = 10_000;
    let servers = [Manner::Gone, Manner::Hangs, Manner::Slow, Manner::Well].map(Server::start);
    let gateway = Gateway::start(&subscribers(&servers));
    let well = &servers[3];
    let acked = runtime.block_on(load::at_pace(gateway.callbacks, 16, EVENTS, Duration::from_millis(1)));
    well.until(EVENTS);
    let seen = well.seen.lock().unwrap();
    let waits = acked.iter().map(|(number, acked)| seen[number].saturating_duration_since(*acked));
    let waits = Settled::of(waits.collect());
    println!("{EVENTS} events at 1,000 a second, from ack to delivery: {waits}");
}

/// A backlog of 100,000 events for a dead subscriber: what it costs in memory, and a restart with it.
fn backlog(runtime: &Runtime) {
    const EVENTS: usize = 100_000;
    let mut gateway = Gateway::start(&subscribers(&[Server::start(Manner::Gone)]));
    runtime.block_on(load::some_callbacks(gateway.callbacks, LINES, 500));
    let before = gateway.resident();
    runtime.block_on(load::some_callbacks(gateway.callbacks, LINES, EVENTS));
    std::thread::sleep(Duration::from_secs(2));
    println!("resident {} MiB before, {} MiB with {EVENTS} waiting", before >> 20, gateway.resident() >> 20);
    for signal in ["KILL", "TERM"] {
        let took = gateway.restart(signal);
        println!("after {signal}: ready in {took:.2?}, resident {} MiB", gateway.resident() >> 20);
    }
}

/// Inbound queries through the gateway, and straight to who answers them: the difference is the gateway's.
fn inbound(runtime: &Runtime) {
    let server = Server::start(Manner::Answers);
    let entry =
        format!("inbound_query: [{{responders: [{{name: r, url: \"http://{}/ask\"}}]}}]", server.address);
    let gateway = Gateway::start(&entry);
    let (mut straight, mut through) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        straight.push(runtime.block_on(load::queries(server.address, "/ask", 8, RUN)));
        through.push(runtime.block_on(load::queries(gateway.callbacks, CALLBACK, 8, RUN)));
    }
    let (straight, through) = (load::median(straight), load::median(through));
    println!(
        "8 callers: straight {:.0}/s, p50 {:.2} ms, p99 {:.2} ms; through the gateway {:.0}/s, p50 {:.2} ms, p99 {:.2} ms",
        straight.per_second,
        straight.p50_ms,
        straight.p99_ms,
        through.per_second,
        through.p50_ms,
        through.p99_ms
    );
    let paced = |address, path| runtime.block_on(load::paced_queries(address, path, 500, 4));
    let straight = paced(server.address, "/ask");
    println!("250 a second: straight {straight}; through the gateway {}", paced(gateway.callbacks, CALLBACK));
}
