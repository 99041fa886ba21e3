//! The router, its store, and two subscribers: `crm` takes call records, `warehouse` everything.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use jiff::{SignedDuration, Timestamp};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::admin::{
    Check, History, Operations, Reading, Sample, Standing, Subscribers, Views, openapi, router,
};
use crate::store::{
    Appended, Attempt, EventId, Fate, Intake, Ledger, MemoryStore, Missing, MissingNumber, NewEvent, Place,
    Progress, Seq, Settled, ShardId, Start, StoreError, Submission, Unseen,
};
use crate::xinyao::callback::Kind;

pub(super) const TOKEN: &str = "sesame";

/// The API, asked without a network.
pub(super) struct Api {
    pub(super) store: Arc<MemoryStore>,
    router: Router,
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Api {
    pub(super) fn new() -> Self {
        Self::over(MemoryStore::new(), None)
    }

    pub(super) fn with_token() -> Self {
        Self::over(MemoryStore::new(), Some(TOKEN))
    }

    fn over(store: MemoryStore, token: Option<&str>) -> Self {
        let store = Arc::new(store);
        for name in ["crm", "warehouse"] {
            now(store.open(name, Start::Now)).unwrap();
        }
        let operations = Operations {
            query: Arc::clone(&store) as _,
            operate: Arc::clone(&store) as _,
            once: Arc::clone(&store) as _,
            ledger: Arc::clone(&store) as _,
            cluster: Arc::clone(&store) as _,
            missing: Arc::new(|batch, after, limit| {
                Box::pin(std::future::ready(Ok(missing(&batch.told.call_sn, after, limit))))
            }),
            quiet_after: std::time::Duration::from_mins(1),
            subscribers: Arc::new(Two),
            mask_numbers: Arc::new(true.into()),
        };
        let token = token.map(|token| Arc::new(token.into()));
        let views = Views {
            metrics: Registry::default(),
            status: Box::new(|| json!({ "version": "0", "uptime_seconds": 1 })),
            checks: Box::new(|| vec![Check { name: "config", ok: true, detail: "valid".into() }]),
            apps: Box::new(|| {
                json!({
                    "apps": [],
                    "global": { "configured_per_second": 1.0, "allowed_per_second": 1.0, "waiting": 0 },
                })
            }),
            history: Arc::new(History::new(reading(), std::time::Instant::now())),
            config: Box::new(|| json!({})),
            reload: Box::new(|| Box::pin(async { Ok(json!({ "outcome": "ok" })) })),
            token: Box::new(move || token.clone()),
            openapi: openapi::document(),
            operations: Some(operations),
        };
        Self { store, router: router(views) }
    }

    /// There is a batch of that name.
    pub(super) fn batch(&self, call_sn: &str) {
        now(self.store.submit_batch(Submission {
            app: "crm".into(),
            call_sn: call_sn.into(),
            task_id: None,
            call_sn_name: None,
            sent: None,
            accepted: None,
            at: Timestamp::now(),
        }))
        .unwrap();
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "").await
    }

    pub(super) async fn get_with(&self, path: &str, name: &str, value: &str) -> Answer {
        self.send_with("GET", path, "", name, value).await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, body).await
    }

    pub(super) async fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.send_with(method, path, body, "x-none", "").await
    }

    pub(super) async fn send_with(
        &self,
        method: &str,
        path: &str,
        body: &str,
        name: &str,
        value: &str,
    ) -> Answer {
        let request = Request::builder().method(method).uri(path).header(name, value);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// The answer of a request that must succeed, which is what the document says it is.
    pub(super) async fn good(&self, method: &str, path: &str, body: &str) -> Value {
        let answer = self.send(method, path, body).await;
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.text());
        let value = answer.json();
        assert_eq!(misfits(method, path, &value), Vec::<String>::new(), "{method} {path}: {value}");
        value
    }

    /// Keeps an event that came this many seconds ago.
    pub(super) fn event(&self, kind: Kind, seconds_ago: i64) -> (EventId, Place) {
        let id = EventId(Uuid::now_v7());
        let new = NewEvent {
            id,
            received_at: Timestamp::now() - SignedDuration::from_secs(seconds_ago),
            app: "crm".into(),
            label: Some("vip".into()),
            kind,
            task_id: Some("7".into()),
            call_sn: Some("8".into()),
            content_type: Some(Bytes::from_static(b"text/html")),
            unless_since: None,
            body: Bytes::from_static(b"<b>13800138000</b>"),
        };
        let Appended::Kept(place) = now(self.store.append(new)).unwrap() else { panic!("kept twice") };
        (id, place)
    }

    /// Settles a delivery of an attempt that failed.
    pub(super) fn failed(&self, subscriber: &str, place: Place, number: u32, fate: Fate) {
        let attempt = Attempt {
            subscriber: subscriber.into(),
            number,
            at: Timestamp::now(),
            status: Some(500),
            latency_ms: 12,
            error: Some("answered 500 about 13800138000".into()),
            answer: Bytes::from_static(b"no room for 13800138000\xff"),
        };
        let settled = Settled { subscriber: subscriber.into(), place, attempt: Some(attempt), fate };
        now(self.store.settle(vec![settled])).unwrap();
        self.store.advance(subscriber, place.shard, place.seq.next());
    }

    /// The subscriber has come this far.
    pub(super) fn passed(&self, subscriber: &str, place: Place) {
        self.store.advance(subscriber, place.shard, place.seq.next());
    }

    pub(super) fn frontier(&self, subscriber: &str) -> Seq {
        let state = now(self.store.open(subscriber, Start::Now)).unwrap();
        state.frontiers.iter().find(|(shard, _)| *shard == ShardId(0)).unwrap().1
    }
}

/// Of a batch `b`, rows 2 to 6 are missing; of others nobody can say.
fn missing(call_sn: &str, after: u32, limit: usize) -> Result<Missing, Unseen> {
    if call_sn != "b" {
        return Err(Unseen::Elsewhere);
    }
    let mut behind = (2..=6).filter(|row| *row > after);
    let number = |row| MissingNumber { row, repeats: vec![row + 10] };
    let page = behind.by_ref().take(limit).map(number).collect();
    Ok(Missing { sent: 12, distinct: 7, missing: 5, unexpected: 1, page, more: behind.next().is_some() })
}

/// The store in memory answers at once.
fn now<T>(answer: crate::store::Answer<'_, T>) -> Result<T, crate::store::StoreError> {
    futures_util::FutureExt::now_or_never(answer).expect("it answers at once")
}

/// Where `value` is not what the OpenAPI document says that `path` answers.
fn misfits(method: &str, path: &str, value: &Value) -> Vec<String> {
    let document = openapi::document();
    let path = path.split('?').next().unwrap();
    let item = document["paths"].as_object().unwrap().iter().find(|(template, _)| {
        let (template, path): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        template.len() == path.len()
            && template.iter().zip(path).all(|(part, given)| part.starts_with('{') || *part == given)
    });
    let operation = &item.expect("the document has the path").1[method.to_ascii_lowercase()];
    let mut schema = operation["responses"]["200"]["content"]["application/json"]["schema"].clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Nothing has happened yet.
fn reading() -> Reading {
    Reading {
        requests: vec![("ok", 0)],
        took: crate::telemetry::histogram::Histogram::new(crate::telemetry::histogram::SPREAD),
        errors: Vec::new(),
        in_flight: 0,
        callbacks: 0,
        callbacks_refused: 0,
        delivered: 0,
        failed: 0,
        backlog: 0,
        dead_letters: 0,
        clock_skew_seconds: 0.0,
    }
}

struct Two;

impl Subscribers for Two {
    fn standing(&self) -> Vec<Standing> {
        let one = |name: &str, state| Standing {
            name: name.into(),
            url: format!("http://{name}.test/"),
            state,
            in_flight: 1,
            last_error: Some((Timestamp::now(), "answered 500 about 13800138000".into())),
        };
        vec![one("crm", "active"), one("warehouse", "probing")]
    }

    fn wants(&self, subscriber: &str, _: &str, kind: Kind) -> bool {
        self.kinds(subscriber).contains(&kind)
    }

    fn kinds(&self, subscriber: &str) -> Vec<Kind> {
        match subscriber {
            "crm" => vec![Kind::CallRecord],
            "warehouse" => Kind::ALL.to_vec(),
            _ => Vec::new(),
        }
    }

    fn give_up<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(std::future::ready(Ok(false)))
    }

    fn test<'a>(&'a self, subscriber: &'a str) -> BoxFuture<'a, Option<Vec<Sample>>> {
        let samples = self.kinds(subscriber).into_iter().map(|kind| Sample {
            kind,
            status: Some(200),
            latency_ms: 3,
            error: None,
            answer: Bytes::from_static(b"13800138000"),
        });
        Box::pin(std::future::ready(Some(samples.collect())))
    }
}
