//! The subscribers of the demo: internal services that take events, one of them not always.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// As much as a callback may have.
const MAX_BODY: usize = 16 << 20;

/// One that runs until it is dropped.
pub(super) struct Subscriber {
    pub(super) address: SocketAddr,
    book: Arc<Mutex<Book>>,
    serving: JoinHandle<()>,
}

/// What a subscriber remembers.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Ids of the events it took. One that comes again is known by its id.
    pub(super) taken: BTreeSet<String>,
    /// Call records in them.
    pub(super) calls: Vec<Value>,
    /// Intent results in them.
    pub(super) degrees: Vec<Value>,
    /// Attempts that it did not take.
    pub(super) refused: usize,
    first_attempts: usize,
}

impl Subscriber {
    /// One that takes everything; or, if it is flaky, every other event not at once.
    pub(super) async fn start(flaky: bool) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, book) = (listener.local_addr()?, Arc::<Mutex<Book>>::default());
        let serving = tokio::spawn(serve(listener, flaky, Arc::clone(&book)));
        Ok(Self { address, book, serving })
    }

    /// What it remembers. Held for as long as the guard lives: never across an await.
    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, flaky: bool, book: Arc<Mutex<Book>>) {
    let mut connections = JoinSet::new();
    // Only the gateway calls: a failure to accept ends the demo's subscriber, and shows as one that is dead.
    while let Ok((stream, _)) = listener.accept().await {
        let book = Arc::clone(&book);
        let service = service_fn(move |request| answer(request, flaky, Arc::clone(&book)));
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        while connections.try_join_next().is_some() {}
    }
}

type Answered = Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>>;

async fn answer(request: Request<Incoming>, flaky: bool, book: Arc<Mutex<Book>>) -> Answered {
    let (head, body) = request.into_parts();
    let header =
        |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = Limited::new(body, MAX_BODY).collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body)?;
    if head.uri.path() == "/inbound" {
        let prompt = format!("尾号{}的客户您好, 您的还款日是下周一。", last_four(&body["caller"]));
        return said(
            StatusCode::OK,
            &json!({ "code": 0, "msg": "success", "prompt": prompt, "transfer": "" }),
        );
    }
    let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
    if flaky && header("x-xinyao-attempt") == "1" {
        book.first_attempts += 1;
        if book.first_attempts % 2 == 1 {
            book.refused += 1;
            return said(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "code": 1, "msg": "no room just now" }));
        }
    }
    if book.taken.insert(header("webhook-id").to_owned()) {
        book.calls.extend(list(&body["calls"]));
        book.degrees.extend(list(&body["degrees"]));
    }
    said(StatusCode::OK, &json!({ "code": 0, "msg": "success" }))
}

fn said(status: StatusCode, body: &Value) -> Answered {
    Ok(Response::builder().status(status).body(Full::new(body.to_string().into()))?)
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn last_four(caller: &Value) -> String {
    let digits: Vec<char> = caller.as_str().unwrap_or_default().chars().collect();
    digits[digits.len().saturating_sub(4)..].iter().collect()
}
