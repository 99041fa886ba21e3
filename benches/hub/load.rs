//! What the SaaS does, by many connections at once.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The callback URL of `crm` under the key that all gateways have here.
pub const CALLBACK: &str = "/callbacks/crm/1d688e2844b70f3c27399218b0cad03e";
/// Bytes of a callback.
const BODY: usize = 3 * 1024;
const QUERY: &str = r#"{"caller":"13515525820"}"#;

/// What one run came to.
#[derive(Clone, Copy)]
pub struct Outcome {
    pub count: usize,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// How long things took.
pub struct Settled(Vec<Duration>);

impl Settled {
    pub fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        Self(took)
    }

    fn ms(&self, share: usize) -> f64 {
        self.0[self.0.len() * share / 1000].as_secs_f64() * 1000.0
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, p999) = (self.ms(500), self.ms(990), self.ms(999));
        write!(f, "p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms")
    }
}

/// A call record of [`BODY`] bytes that no other one is like. The number stands at a fixed place.
pub fn body(number: usize) -> Vec<u8> {
    let begin = format!(
        r#"{{"call_sn":"{number:010}","task_id":"5682792453545984","bot_id":"1","calls":[{{"state":775,"caller":"02566667777","callee":"13515525820","dialogs":["#
    );
    let end = br#"{"role":"user","text":"..."}]}]}"#;
    let line = r#"{"role":"bot","text":"您好，这里是心耀，请问您现在方便吗？"},"#;
    let mut body = begin.into_bytes();
    while body.len() + line.len() + end.len() <= BODY {
        body.extend_from_slice(line.as_bytes());
    }
    body.resize(BODY - end.len(), b' ');
    body.extend_from_slice(end);
    body
}

/// The number in a [`body`].
pub fn number(body: &[u8]) -> Option<usize> {
    std::str::from_utf8(body.get(12..22)?).ok()?.parse().ok()
}

/// A connection of the SaaS's.
struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    async fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Posts, and waits for the whole answer, which is to be of 200.
    async fn post(&mut self, path: &str, body: &[u8]) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        self.buffer.clear();
        let until = Instant::now() + Duration::from_secs(30);
        while !whole(&self.buffer) {
            assert!(Instant::now() < until);
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the connection is gone");
        }
        assert!(self.buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&self.buffer));
    }
}

/// Whether all of a message is there.
pub fn whole(bytes: &[u8]) -> bool {
    body_of(bytes).is_some()
}

/// The body of a message that is whole.
pub fn body_of(bytes: &[u8]) -> Option<&[u8]> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let length = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    bytes.get(end + 4..end + 4 + length.unwrap_or(0))
}

/// Has `lines` do it again and again for a time; what is done is given a number of its own.
pub async fn again_and_again<F: Future<Output = ()>>(
    lines: usize,
    run: Duration,
    one: impl Fn(usize) -> F,
) -> Outcome {
    let begun = Instant::now();
    let workers = (0..lines).map(async |_| {
        let mut took = Vec::new();
        while begun.elapsed() < run {
            let begun = Instant::now();
            one(fresh()).await;
            took.push(begun.elapsed());
        }
        took
    });
    let took: Vec<Duration> = join_all(workers).await.into_iter().flatten().collect();
    outcome(took, begun.elapsed())
}

fn outcome(took: Vec<Duration>, elapsed: Duration) -> Outcome {
    let per_second = took.len() as f64 / elapsed.as_secs_f64();
    let (count, took) = (took.len(), Settled::of(took));
    Outcome { count, per_second, p50_ms: took.ms(500), p99_ms: took.ms(990) }
}

pub fn median(mut outcomes: Vec<Outcome>) -> Outcome {
    outcomes.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    outcomes[outcomes.len() / 2]
}

/// Callbacks by `lines` connections for a time.
pub async fn callbacks(address: SocketAddr, lines: usize, run: Duration) -> Outcome {
    let begun = Instant::now();
    post_while(address, CALLBACK, lines, || (begun.elapsed() < run).then(|| body(fresh()))).await
}

/// So many callbacks.
pub async fn some_callbacks(address: SocketAddr, lines: usize, count: usize) -> Outcome {
    let left = std::cell::Cell::new(count);
    let next = || {
        let now = left.get().checked_sub(1)?;
        left.set(now);
        Some(body(fresh()))
    };
    post_while(address, CALLBACK, lines, next).await
}

/// Inbound queries by `lines` connections for a time.
pub async fn queries(address: SocketAddr, path: &str, lines: usize, run: Duration) -> Outcome {
    let begun = Instant::now();
    post_while(address, path, lines, || (begun.elapsed() < run).then(|| QUERY.into())).await
}

/// A number that was not given before.
fn fresh() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(1_000_000_000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

async fn post_while(
    address: SocketAddr,
    path: &str,
    lines: usize,
    next: impl Fn() -> Option<Vec<u8>>,
) -> Outcome {
    let begun = Instant::now();
    let workers = (0..lines).map(async |_| {
        let mut line = Line::to(address).await;
        let mut took = Vec::new();
        while let Some(body) = next() {
            let begun = Instant::now();
            line.post(path, &body).await;
            took.push(begun.elapsed());
        }
        took
    });
    let took: Vec<Duration> = join_all(workers).await.into_iter().flatten().collect();
    outcome(took, begun.elapsed())
}

/// Callbacks one after `every`; tells when each was acknowledged.
pub async fn at_pace(
    address: SocketAddr,
    lines: usize,
    count: usize,
    every: Duration,
) -> Vec<(usize, Instant)> {
    let begun = Instant::now();
    let workers = (0..lines).map(async |first| {
        let mut line = Line::to(address).await;
        let mut acked = Vec::new();
        for number in (first..count).step_by(lines) {
            let due = begun + every * u32::try_from(number).unwrap();
            tokio::time::sleep_until(due.into()).await;
            line.post(CALLBACK, &body(number)).await;
            acked.push((number, Instant::now()));
        }
        acked
    });
    join_all(workers).await.into_iter().flatten().collect()
}

/// So many queries, one each 4 ms, by `lines` connections.
pub async fn paced_queries(address: SocketAddr, path: &str, count: usize, lines: usize) -> Settled {
    let begun = Instant::now();
    let workers = (0..lines).map(async |first| {
        let mut line = Line::to(address).await;
        let mut took = Vec::new();
        for number in (first..count).step_by(lines) {
            let due = begun + Duration::from_millis(4) * u32::try_from(number).unwrap();
            tokio::time::sleep_until(due.into()).await;
            let begun = Instant::now();
            line.post(path, QUERY.as_bytes()).await;
            took.push(begun.elapsed());
        }
        took
    });
    Settled::of(join_all(workers).await.into_iter().flatten().collect())
}
