//! Clients that call one after the other, and let nothing go wrong.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::{Line, TASKLIST, callback, eventually, post};

/// How many of each kind there are.
const CLIENTS: usize = 4;

/// Apps that call the proxy, on kept connections and on new ones, and a SaaS that pushes.
pub struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: JoinSet<Vec<String>>,
}

impl Load {
    /// Begins.
    pub fn on(proxy: SocketAddr, callbacks: SocketAddr) -> Self {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let each = || (Arc::clone(&over), Arc::clone(&answered));
            clients.spawn(call(proxy, each(), true));
            clients.spawn(call(proxy, each(), false));
            clients.spawn(push(callbacks, each(), client));
        }
        Self { over, answered, clients }
    }

    /// Waits until so many more were answered.
    pub async fn goes_on(&self, count: usize) {
        let from = self.answered.load(Ordering::Relaxed);
        eventually(async || self.answered.load(Ordering::Relaxed) >= from + count).await;
    }

    /// Ends; the bodies of the callbacks that were acknowledged.
    pub async fn end(self) -> Vec<String> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.join_all().await.concat()
    }
}

type Shared = (Arc<AtomicBool>, Arc<AtomicUsize>);

async fn call(proxy: SocketAddr, (over, answered): Shared, keeps: bool) -> Vec<String> {
    let ask = post(TASKLIST, "{}");
    let ask = if keeps { ask } else { ask.header("connection", "close") };
    let mut line = None;
    while !over.load(Ordering::Relaxed) {
        let on = match &mut line {
            Some(line) => line,
            None => line.insert(Line::to(proxy).await),
        };
        let answer = ask.send_on(on).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answered.fetch_add(1, Ordering::Relaxed);
        if answer.header("connection") == "close" || !keeps {
            line = None;
        }
    }
    Vec::new()
}

async fn push(callbacks: SocketAddr, (over, answered): Shared, client: usize) -> Vec<String> {
    let mut acknowledged = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let record = format!(r#"{{"bot_id":"1","call_id":"{client}-{}"}}"#, acknowledged.len());
        let answer = post(&callback(None), &record).send(callbacks).await;
        assert_eq!((answer.status, answer.code()), (200, 0), "{answer:?}");
        acknowledged.push(record);
        answered.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}
