//! The writer: it takes what waits as one group, has it kept, and answers everyone.
//!
//! A group goes to PostgreSQL, unless that is away or earlier events wait in the local log: then it goes there too,
//! behind them. Nobody's answer waits for PostgreSQL longer than [`PATIENCE`] and [`LAST_LOOK`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::group::{Group, Outcome, Waiting};
use super::local::Local;
use super::straight::Straight;
use crate::store::{Appended, Intake, NewEvent, StoreError};

/// Most of one group.
pub(super) const MAX_GROUP: usize = 1000;
pub(super) const MAX_GROUP_BYTES: usize = 4 << 20;
/// Most appends that wait.
const MAX_WAITING: usize = 4096;
/// A group that is not answered for so long is given to the local log.
const PATIENCE: Duration = Duration::from_secs(2);
/// So long is waited then for whether it was kept after all.
const LAST_LOOK: Duration = Duration::from_millis(500);
/// For the last events of the local log, so that those that come go straight again.
const CATCH_UP: Duration = Duration::from_millis(500);

/// Gives events to the writer.
#[derive(Debug)]
pub(super) struct Writer {
    requests: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

impl Writer {
    /// The writer, and its work, which ends once nobody gives it anything any more.
    pub fn new(
        straight: Arc<Straight>,
        local: Arc<Local>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let up = straight.seat.up();
        let work = Work { straight, local, up, requests: receiver, again: VecDeque::new() };
        (Self { requests, room: Arc::new(Semaphore::new(MAX_WAITING)) }, work.run())
    }

    pub async fn append(&self, event: NewEvent) -> Outcome {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        self.requests.send(Waiting { event, answer, permit }).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

struct Work {
    straight: Arc<Straight>,
    local: Arc<Local>,
    up: watch::Receiver<bool>,
    requests: mpsc::UnboundedReceiver<Waiting>,
    /// What is to be in another group than its like.
    again: VecDeque<Waiting>,
}

impl Work {
    async fn run(mut self) {
        while let Some(first) = self.next().await {
            let mut bytes = first.event.body.len();
            let mut group = vec![first];
            while group.len() < MAX_GROUP && bytes < MAX_GROUP_BYTES {
                let next = self.again.pop_front().or_else(|| self.requests.try_recv().ok());
                let Some(next) = next else { break };
                bytes += next.event.body.len();
                group.push(next);
            }
            let (events, group) = Group::of(group, &mut self.again);
            let events: Arc<[NewEvent]> = events.into();
            let outcomes = self.keep(&events, bytes as u64).await;
            group.answer(&events, outcomes, &mut self.again);
        }
    }

    async fn next(&mut self) -> Option<Waiting> {
        match self.again.pop_front() {
            Some(waiting) => Some(waiting),
            None => self.requests.recv().await,
        }
    }

    async fn keep(&mut self, group: &Arc<[NewEvent]>, bytes: u64) -> Vec<Outcome> {
        if let Err(full) = self.straight.room.check(bytes) {
            return vec![Err(full); group.len()];
        }
        if !self.may_go_straight().await {
            return self.keep_locally(group, |_| None).await;
        }
        let error = match tokio::time::timeout(PATIENCE, self.straight.keep(group)).await {
            Ok(Ok(outcomes)) => return outcomes.into_iter().map(Ok).collect(),
            Ok(Err(error)) => error,
            Err(_) => StoreError::Unavailable("PostgreSQL did not answer in time".into()),
        };
        tracing::warn!(%error, "events are kept on this host until PostgreSQL takes them");
        self.straight.seat.failed();
        let there = tokio::time::timeout(LAST_LOOK, self.straight.places(group)).await;
        let there = there.ok().and_then(Result::ok).unwrap_or_default();
        self.keep_locally(group, |event| there.get(&event.id).map(|place| Appended::Kept(*place))).await
    }

    /// With a few events left in the local log, those that come wait for them.
    async fn may_go_straight(&mut self) -> bool {
        if !*self.up.borrow_and_update() {
            return false;
        }
        match self.local.waiting() {
            0 => true,
            few if few <= MAX_GROUP as u64 => {
                tokio::time::timeout(CATCH_UP, self.local.forwarded()).await.is_ok()
            }
            _ => false,
        }
    }

    /// Keeps on this host what is not `known` to be kept elsewhere.
    async fn keep_locally(
        &self,
        group: &[NewEvent],
        known: impl Fn(&NewEvent) -> Option<Appended>,
    ) -> Vec<Outcome> {
        let appends = group.iter().map(|event| {
            let known = known(event);
            async move {
                match known {
                    Some(appended) => Ok(appended),
                    None => self.local.store.append(event.clone()).await,
                }
            }
        });
        let outcomes = join_all(appends).await;
        self.local.hurry.notify_one();
        outcomes
    }
}
