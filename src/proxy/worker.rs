//! One worker thread's share of the proxy. What is counted up and down for each request is its own, so that
//! threads do not take each other's cache lines: its connections, its counts, and its copies of the apps.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::admission::Admission;
use super::app::App;
use super::lane::Open;
use super::metrics::Counts;
use super::running::Running;
use super::upstream::Upstream;
use super::way::Way;
use crate::xinyao::Target;

/// One worker thread's share. Only its own thread takes its locks, but for a scrape.
pub struct Worker {
    /// The configuration that it runs.
    pub running: Arc<Running>,
    /// Who calls from where.
    pub admission: Admission,
    /// Stands for callers that are not known.
    pub nobody: Arc<App>,
    /// To the SaaS's API.
    pub api: Arc<Way>,
    recordings: Arc<Way>,
    counts: Arc<Mutex<Counts>>,
    open: Vec<Arc<AtomicUsize>>,
    date: Mutex<LastDate>,
}

/// A `Date` field and what it means: for a second long, all answers say the same.
#[derive(Default)]
struct LastDate {
    text: Vec<u8>,
    seconds: Option<u64>,
}

/// What an answer's `Date` says.
#[derive(Debug, Clone, Copy)]
pub struct Date {
    /// Unix seconds.
    pub seconds: u64,
    /// Whether the answer before said something else.
    pub is_new: bool,
}

impl Worker {
    /// A worker of `running` that counts in `counts`.
    pub fn new(running: Arc<Running>, counts: Arc<Mutex<Counts>>) -> Arc<Self> {
        let (api, recordings) = (Way::new(&running.api), Way::new(&running.recordings));
        let open = running.sources.addresses().iter().map(|_| Arc::default()).collect();
        Self::of(running, counts, api, recordings, open)
    }

    /// The same worker under another configuration; it keeps the connections of ways that stay as they are.
    pub fn under(&self, running: Arc<Running>) -> Arc<Self> {
        let way = |known: &Arc<Way>, upstream: &Arc<Upstream>| {
            if Arc::ptr_eq(&known.upstream, upstream) { Arc::clone(known) } else { Way::new(upstream) }
        };
        let (api, recordings) = (way(&self.api, &running.api), way(&self.recordings, &running.recordings));
        let known = self.running.sources.addresses();
        let open = running.sources.addresses().iter().map(|address| {
            let at = known.iter().position(|known| known == address);
            at.map_or_else(Arc::default, |at| Arc::clone(&self.open[at]))
        });
        let open = open.collect();
        Self::of(running, Arc::clone(&self.counts), api, recordings, open)
    }

    fn of(
        running: Arc<Running>,
        counts: Arc<Mutex<Counts>>,
        api: Arc<Way>,
        recordings: Arc<Way>,
        open: Vec<Arc<AtomicUsize>>,
    ) -> Arc<Self> {
        let apps: Vec<Arc<App>> = running.apps.iter().map(|app| Arc::new(app.for_worker())).collect();
        Arc::new(Self {
            admission: Admission::new(&apps, &running.settings.apps),
            nobody: Arc::new(running.nobody.for_worker()),
            api,
            recordings,
            counts,
            open,
            date: Mutex::default(),
            running,
        })
    }

    /// Changes the counts.
    pub fn count(&self, change: impl FnOnce(&mut Counts)) {
        if let Ok(mut counts) = self.counts.lock() {
            change(&mut counts);
        }
    }

    /// The way to what serves `target`.
    pub fn way(&self, target: Target) -> &Arc<Way> {
        match target {
            Target::Recordings => &self.recordings,
            Target::Endpoint(_) | Target::Extra => &self.api,
        }
    }

    /// Counts one more open connection from source number `source`.
    pub fn open(&self, source: usize) -> Open {
        Open::new(&self.open[source])
    }

    /// Open connections from source number `source`, and how many of them are unused.
    pub fn connections(&self, source: usize) -> (usize, usize) {
        let open = self.open.get(source).map_or(0, |open| open.load(Ordering::Relaxed));
        (open, self.api.idle(source) + self.recordings.idle(source))
    }

    /// What an answer's `Date` says.
    pub fn date(&self, text: &[u8]) -> Option<Date> {
        let mut last = self.date.lock().ok()?;
        let is_new = last.text != text;
        if is_new {
            last.seconds = super::clock::parse_date(text);
            last.text.clear();
            last.text.extend_from_slice(text.get(..29).unwrap_or(text));
        }
        last.seconds.map(|seconds| Date { seconds, is_new })
    }

    /// Lets go of connections that are no longer wanted.
    pub fn sweep(&self) {
        let timeout = self.running.settings.egress.idle_timeout;
        self.api.sweep(timeout);
        self.recordings.sweep(timeout);
    }
}
