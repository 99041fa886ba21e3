//! Spans between those who end them and the task that exports them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::span::Span;

/// Most spans that wait.
pub const QUEUE: usize = 2048;
/// Most spans of a batch.
pub const BATCH: usize = 256;
/// How long a span waits for others.
const GATHER: Duration = Duration::from_secs(1);

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    pub(super) exported: AtomicU64,
    pub(super) dropped: AtomicU64,
}

/// Where spans go that have ended.
pub struct Sink {
    spans: mpsc::Sender<Span>,
    counts: Arc<Counts>,
}

/// Where they come out.
pub struct Queue {
    spans: mpsc::Receiver<Span>,
    counts: Arc<Counts>,
}

pub fn queue() -> (Sink, Queue) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let counts = Arc::<Counts>::default();
    (Sink { spans: sender, counts: Arc::clone(&counts) }, Queue { spans: receiver, counts })
}

impl Sink {
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Takes a span, or drops it where there is no room.
    pub fn put(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Queue {
    /// The next spans, once there are enough or the first has waited for a moment. Empty: there will be no more.
    /// Given up halfway, `batch` has what was taken out.
    pub async fn gather(&mut self, batch: &mut Vec<Span>) {
        if batch.is_empty() && self.spans.recv_many(batch, BATCH).await == 0 {
            return;
        }
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            if !matches!(timeout_at(until, self.spans.recv_many(batch, room)).await, Ok(1..)) {
                return;
            }
        }
    }

    /// What is there now, into `batch`.
    pub fn take(&mut self, batch: &mut Vec<Span>) {
        while batch.len() < BATCH
            && let Ok(span) = self.spans.try_recv()
        {
            batch.push(span);
        }
    }

    /// So many spans have reached a collector, and so many were lost.
    pub fn count(&self, exported: u64, dropped: u64) {
        self.counts.exported.fetch_add(exported, Ordering::Relaxed);
        self.counts.dropped.fetch_add(dropped, Ordering::Relaxed);
    }
}
