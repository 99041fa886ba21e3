//! The dispatcher as a whole, over a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Empty;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use uuid::Uuid;

use crate::hub::dispatch::testing::settings;
use crate::hub::dispatch::{Dispatch, Metrics, Parts, State, Wanted};
use crate::hub::schedule::HostClock;
use crate::hub::settings::{Apps, SubscriberSettings};
use crate::net::client::Client;
use crate::store::{EventId, Intake, MemoryStore, NewEvent, Query};
use crate::xinyao::callback::Kind;

/// A server that answers 204 to everything.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = service_fn(async |_| Response::builder().status(204).body(Empty::<Bytes>::new()));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
        }
    });
    address
}

async fn append(store: &MemoryStore, app: &str) {
    let new = NewEvent {
        id: EventId(Uuid::now_v7()),
        received_at: Timestamp::now(),
        app: app.into(),
        label: None,
        kind: Kind::CallRecord,
        task_id: None,
        call_sn: None,
        content_type: None,
        unless_since: None,
        body: Bytes::from_static(b"{}"),
    };
    store.append(new).await.unwrap();
}

async fn delivered(store: &MemoryStore, count: u64) {
    let waiting = async {
        while store.figures().await.unwrap().first().is_none_or(|known| known.delivered != count) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("that many were delivered");
}

#[tokio::test]
async fn subscribers_come_go_and_come_back() {
    let store = Arc::new(MemoryStore::new());
    let parts = Parts {
        log: Arc::clone(&store) as _,
        progress: Arc::clone(&store) as _,
        query: Arc::clone(&store) as _,
        clock: Arc::new(HostClock),
        client: Client::new().unwrap(),
        tracer: None,
    };
    let wanted = |subscribers: &[&SubscriberSettings]| Wanted {
        subscribers: subscribers.iter().map(|&one| one.clone()).collect(),
        proxy_url: "http://localhost:8080".into(),
        guarded: Client::new().unwrap(),
    };
    let hook = SubscriberSettings {
        url: format!("http://{}/", server().await),
        apps: Apps::Named(vec!["crm".into()]),
        since: Some(Timestamp::UNIX_EPOCH),
        ..settings("hook")
    };
    let dispatch = Dispatch::start(parts);
    dispatch.apply(&wanted(&[&hook])).unwrap();
    append(&store, "crm").await;
    append(&store, "other").await;
    delivered(&store, 1).await;
    assert_eq!(dispatch.standing("hook").map(|standing| standing.state), Some(State::Active));
    assert!(dispatch.wants("hook", "crm", Kind::CallRecord));
    assert!(!dispatch.wants("hook", "other", Kind::CallRecord));
    assert!(!dispatch.wants("hook", "crm", Kind::Unknown));

    dispatch.apply(&wanted(&[])).unwrap();
    assert_eq!(dispatch.standing("hook"), None);
    append(&store, "crm").await;
    dispatch.apply(&wanted(&[&hook])).unwrap();
    delivered(&store, 2).await;

    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(Arc::clone(&dispatch))));
    // The figures follow the delivery by a moment. The one delivery is the new loop's: the last one, told to
    // end before the event came, begins nothing more.
    let expected = [
        "xinyao_deliveries_total{subscriber=\"hook\",outcome=\"delivered\"} 1",
        "xinyao_delivery_duration_seconds_count{subscriber=\"hook\"} 1",
        "xinyao_backlog_events{subscriber=\"hook\"} 0",
        "xinyao_backlog_oldest_seconds{subscriber=\"hook\"} 0",
        "xinyao_dead_letters{subscriber=\"hook\"} 0",
    ];
    let mut text = String::new();
    let shown = async {
        while !expected.iter().all(|line| text.contains(line)) {
            tokio::task::yield_now().await;
            dispatch.refresh().await.unwrap();
            text.clear();
            encode(&mut text, &registry).unwrap();
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), shown).await;
    assert!(in_time.is_ok(), "{expected:?} in:\n{text}");
    dispatch.stop(Duration::from_secs(5)).await;
    append(&store, "crm").await;
    assert_eq!(store.figures().await.unwrap()[0].delivered, 2);
}
