//! Copies of inbound queries for subscribers: kept behind the answer, which waits for nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use super::metrics::{Metrics, Outcome};
use crate::store::{Intake, NewEvent};

/// Most copies that wait to be kept.
const WAITING: usize = 1024;
/// Most that are given to the store at a time.
const AT_ONCE: usize = 64;

/// A copy, and its part of the room for bodies.
type Copy = (NewEvent, Option<OwnedSemaphorePermit>);

/// Takes copies; when the last of these is gone, the task that keeps them ends.
#[derive(Debug, Clone)]
pub struct Copies {
    queue: mpsc::Sender<Copy>,
    metrics: Metrics,
}

impl Copies {
    /// Both ends: what takes copies, and the task that keeps them.
    pub fn new(store: Arc<dyn Intake>, metrics: Metrics) -> (Self, impl Future<Output = ()> + Send) {
        let (queue, waiting) = mpsc::channel(WAITING);
        (Self { queue, metrics: metrics.clone() }, keep(waiting, store, metrics))
    }

    /// Has a copy kept. Where there is no room it is lost, and counted: a caller who waits on the phone
    /// comes first.
    pub fn put(&self, event: NewEvent, share: Option<OwnedSemaphorePermit>) {
        if let Err(TrySendError::Full((event, _)) | TrySendError::Closed((event, _))) =
            self.queue.try_send((event, share))
        {
            lost(&self.metrics, &event, "too many wait already");
        }
    }
}

/// Together, so that one sync of the disk serves them all.
async fn keep(mut waiting: mpsc::Receiver<Copy>, store: Arc<dyn Intake>, metrics: Metrics) {
    let mut copies = Vec::new();
    while waiting.recv_many(&mut copies, AT_ONCE).await > 0 {
        join_all(copies.drain(..).map(async |(event, _share)| {
            if let Err(error) = store.append(event.clone()).await {
                lost(&metrics, &event, &error.to_string());
            }
        }))
        .await;
    }
}

fn lost(metrics: &Metrics, event: &NewEvent, why: &str) {
    metrics.count(Some(&event.app), Some(event.kind), Outcome::CopyLost, Duration::ZERO);
    tracing::warn!(id = %event.id, app = %event.app, why, "subscribers get no copy of an inbound query");
}
