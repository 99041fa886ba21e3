//! One worker thread's share of the proxy: its connections and its counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::lane::{Lane, Open};
use super::metrics::Counts;
use super::pool::Pool;
use super::running::Running;
use super::upstream::Upstream;

/// One worker thread's share. Only its own thread takes its locks, but for a scrape.
pub struct Worker {
    /// The configuration that it runs.
    pub running: Arc<Running>,
    counts: Arc<Mutex<Counts>>,
    api: Mutex<Pool>,
    recordings: Mutex<Pool>,
    open: Vec<Arc<AtomicUsize>>,
    date: Mutex<LastDate>,
}

/// A `Date` field and what it means: for a second long, all answers say the same.
#[derive(Default)]
struct LastDate {
    text: Vec<u8>,
    seconds: Option<u64>,
}

impl Worker {
    /// A worker of `running` that goes on counting in `counts`.
    pub fn new(running: Arc<Running>, counts: Arc<Mutex<Counts>>) -> Arc<Self> {
        let open = running.sources.addresses().iter().map(|_| Arc::default()).collect();
        let (api, recordings) = Default::default();
        Arc::new(Self { running, counts, api, recordings, open, date: Mutex::default() })
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        if let Ok(mut counts) = self.counts.lock() {
            change(&mut counts);
        }
    }

    fn pool(&self, upstream: &Arc<Upstream>) -> &Mutex<Pool> {
        if Arc::ptr_eq(upstream, &self.running.recordings) { &self.recordings } else { &self.api }
    }

    /// An unused connection to `upstream` along `route`.
    pub fn take(&self, upstream: &Arc<Upstream>, route: super::upstream::Route) -> Option<Lane> {
        self.pool(upstream).lock().ok()?.take(route)
    }

    /// Keeps a connection for the next request.
    pub fn keep(&self, upstream: &Arc<Upstream>, lane: Lane) {
        if let Ok(mut pool) = self.pool(upstream).lock() {
            pool.put(lane);
        }
    }

    /// Counts one more open connection from source number `source`.
    pub fn open(&self, source: usize) -> Open {
        Open::new(&self.open[source])
    }

    /// Open connections from source number `source`, and how many of them are unused.
    pub fn connections(&self, source: usize) -> (usize, usize) {
        let open = self.open.get(source).map_or(0, |open| open.load(Ordering::Relaxed));
        let idle = [&self.api, &self.recordings].map(|pool| pool.lock().map_or(0, |pool| pool.idle(source)));
        (open, idle.iter().sum())
    }

    /// Unix seconds of an answer's `Date`.
    pub fn date(&self, text: &[u8]) -> Option<u64> {
        let mut last = self.date.lock().ok()?;
        if last.text != text {
            last.seconds = super::clock::parse_date(text);
            last.text.clear();
            last.text.extend_from_slice(text.get(..29).unwrap_or(text));
        }
        last.seconds
    }

    /// Lets go of connections that are no longer wanted.
    pub fn sweep(&self) {
        let timeout = self.running.settings.egress.idle_timeout;
        for (upstream, pool) in [(&self.running.api, &self.api), (&self.running.recordings, &self.recordings)]
        {
            let addresses = upstream.name.addresses();
            if let Ok(mut pool) = pool.lock() {
                pool.sweep(timeout, |address: SocketAddr| addresses.contains(&address));
            }
            upstream.retain(&addresses);
        }
    }
}
