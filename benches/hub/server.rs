//! Subscribers and responders, each on a thread of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::load::{body_of, number};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
const SAID: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 55\r\n\r\n\
    {\"code\":0,\"msg\":\"success\",\"prompt\":\"hi\",\"transfer\":\"1\"}";

/// How a server behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It answers at once.
    Well,
    /// It takes a second for each.
    Slow,
    /// It never answers.
    Hangs,
    /// Nobody is there.
    Gone,
    /// It answers queries at once.
    Answers,
}

/// A server, until the process ends.
pub struct Server {
    pub address: SocketAddr,
    /// What it has got.
    pub count: Arc<AtomicUsize>,
    /// When it got which number first.
    pub seen: Arc<Mutex<HashMap<usize, Instant>>>,
}

impl Server {
    pub fn start(manner: Manner) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (count, seen) = (Arc::<AtomicUsize>::default(), Arc::<Mutex<_>>::default());
        if manner != Manner::Gone {
            let notes = Notes { manner, count: Arc::clone(&count), seen: Arc::clone(&seen) };
            thread::spawn(move || serve(listener, &notes));
        }
        Self { address, count, seen }
    }

    /// Waits until it has got so many.
    pub fn until(&self, count: usize) {
        let until = Instant::now() + Duration::from_mins(1);
        while self.count.load(Ordering::Relaxed) < count {
            assert!(Instant::now() < until, "{} of {count}", self.count.load(Ordering::Relaxed));
            thread::sleep(Duration::from_millis(5));
        }
    }
}

#[derive(Clone)]
struct Notes {
    manner: Manner,
    count: Arc<AtomicUsize>,
    seen: Arc<Mutex<HashMap<usize, Instant>>>,
}

fn serve(listener: std::net::TcpListener, notes: &Notes) {
    listener.set_nonblocking(true).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let notes = notes.clone();
            tokio::spawn(async move { converse(stream, &notes).await });
        }
    });
}

/// One request after the other, until the other end has had enough.
async fn converse(mut stream: TcpStream, notes: &Notes) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = Vec::new();
    while stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
        let Some(body) = body_of(&buffer) else { continue };
        if let Some(number) = number(body) {
            notes.seen.lock().unwrap().entry(number).or_insert_with(Instant::now);
        }
        buffer.clear();
        notes.count.fetch_add(1, Ordering::Relaxed);
        match notes.manner {
            Manner::Hangs | Manner::Gone => std::future::pending().await,
            Manner::Slow => tokio::time::sleep(Duration::from_secs(1)).await,
            Manner::Well | Manner::Answers => {}
        }
        let answer = if notes.manner == Manner::Answers { SAID } else { OK };
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}
