//! With `store.postgres`, what was acknowledged is kept whatever happens to the gateway and to PostgreSQL.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use crate::durability::{gateway, noting, push_and_kill, record};
use crate::support::{Authority, Binary, Builder, Gateway, Pair, Postgres, Upstream, callback};
use crate::support::{eventually, get, post};

fn replica(hook: &Upstream, postgres: &Postgres, name: &str) -> Builder {
    gateway(hook).with(format!("store: {{postgres: \"{}\", replica: {name}}}", postgres.url()))
}

async fn pushed(gateway: &Gateway, numbers: std::ops::Range<usize>) -> BTreeSet<usize> {
    for number in numbers.clone() {
        let asked = Instant::now();
        let answer = post(&callback(None), record(number, 100)).send(gateway.callbacks).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    }
    numbers.collect()
}

#[tokio::test]
async fn while_postgresql_is_away_callbacks_are_acknowledged_and_delivered_later() {
    let (hook, got) = noting();
    let mut postgres = Postgres::start();
    let gateway = replica(&hook, &postgres, "one").start();
    let ready = async || gateway.operate("/readyz").await.text();
    let mut acked = pushed(&gateway, 0..20).await;
    eventually(async || got.lock().unwrap().is_superset(&acked)).await;
    assert!(ready().await.contains("\"writable\""));
    postgres.kill();
    acked.extend(pushed(&gateway, 20..60).await);
    eventually(async || ready().await.contains("degraded: ")).await;
    assert_eq!(gateway.operate("/readyz").await.status, 200);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.value("xinyao_store_up{store=\"postgres\"}"), Some(0.0));
    assert!(metrics.value("xinyao_store_waiting_events").unwrap() >= 39.0);
    postgres.resume();
    eventually(async || got.lock().unwrap().is_superset(&acked)).await;
    eventually(async || ready().await.contains("\"writable\"")).await;
    gateway.counts("xinyao_store_waiting_events", 0.0).await;
}

#[tokio::test]
async fn a_gateway_that_starts_while_postgresql_is_away_takes_callbacks_in() {
    let (hook, got) = noting();
    let mut postgres = Postgres::start();
    postgres.kill();
    let gateway = replica(&hook, &postgres, "one").start();
    let acked = pushed(&gateway, 0..20).await;
    postgres.resume();
    eventually(async || got.lock().unwrap().is_superset(&acked)).await;
}

#[tokio::test]
async fn two_replicas_keep_one_of_two_callbacks_that_are_the_same() {
    let (hook, got) = noting();
    let postgres = Postgres::start();
    let (one, other) = (replica(&hook, &postgres, "one").start(), replica(&hook, &postgres, "other").start());
    let acked = pushed(&one, 0..20).await;
    pushed(&other, 0..20).await;
    eventually(async || got.lock().unwrap().is_superset(&acked)).await;
    assert_eq!(hook.seen().len(), 20);
    assert_eq!(postgres.sql("SELECT count(*) FROM xinyao_gateway.event"), "20");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_either_side_is_killed() {
    let (hook, got) = noting();
    let mut postgres = Postgres::start();
    let mut gateway = Binary::run(replica(&hook, &postgres, "one"));
    let next = AtomicUsize::new(0);
    let mut acked = BTreeSet::new();
    for round in 0..3 {
        let pushing = push_and_kill(&gateway, &next);
        if round % 2 == 1 {
            // The process is killed while its store is away.
            postgres.kill();
        }
        acked.extend(pushing.await);
        gateway = gateway.kill_and_run_again();
        if round % 2 == 1 {
            postgres.resume();
        }
    }
    eventually(async || got.lock().unwrap().is_superset(&acked)).await;
    assert_eq!(get("/readyz").send(gateway.admin).await.status, 200);
}

/// Has it speak TLS, with this certificate.
fn serve_tls(postgres: &Postgres, pair: &Pair) {
    for (file, path) in [("server.crt", pair.certificate()), ("server.key", pair.key())] {
        let text = STANDARD.encode(std::fs::read(path).unwrap());
        postgres.sql(&format!("COPY (SELECT '{text}') TO PROGRAM 'base64 -d > {file} && chmod 600 {file}'"));
    }
    postgres.sql("ALTER SYSTEM SET ssl = on");
    postgres.sql("SELECT pg_reload_conf()");
}

#[tokio::test]
async fn the_certificate_of_postgresql_is_looked_at() {
    let (hook, _) = noting();
    let postgres = Postgres::start();
    let authority = Authority::new();
    serve_tls(&postgres, &authority.pair("127.0.0.1"));
    let with = |query: &str| {
        let store = format!("store: {{postgres: \"{}?{query}\"}}", postgres.url());
        gateway(&hook).with(store).start()
    };
    let unknown = with("sslmode=require");
    let told = async |gateway: &Gateway, what: &str| gateway.operate("/readyz").await.text().contains(what);
    eventually(async || told(&unknown, "certificate").await).await;
    let known = with(&format!("sslmode=verify-full&sslrootcert={}", authority.file()));
    eventually(async || told(&known, "\"writable\"").await).await;
    let used = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
      WHERE application_name = 'xinyao-gateway'";
    assert_eq!(postgres.sql(used), "t");
}
