//! The local log: events that came while PostgreSQL was away wait in the embedded store of this host, and are brought
//! to PostgreSQL in their order.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};

use super::straight::Straight;
use super::writer::{MAX_GROUP, MAX_GROUP_BYTES};
use crate::store::embedded::EmbeddedStore;
use crate::store::log::Stored;
use crate::store::log::record::nanos;
use crate::store::{Event, NewEvent, StoreError};

/// After a failure it is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// How far is looked back for a duplicate of an event that was taken in before the start.
const WINDOW_NANOS: i64 = 600 * 1_000_000_000;

/// The local log.
#[derive(Debug)]
pub(super) struct Local {
    pub store: Arc<EmbeddedStore>,
    /// There may be something to forward.
    pub hurry: Notify,
    progress: watch::Sender<()>,
    /// When the first event came that waits, in nanoseconds; 0: none waits.
    oldest: AtomicI64,
    failing: Mutex<bool>,
}

impl Local {
    /// Takes the embedded store as the local log.
    ///
    /// # Errors
    /// It can't be written, or deliveries wait in it from a time when it was the only store.
    pub async fn new(store: Arc<EmbeddedStore>) -> Result<Self, StoreError> {
        let waiting = store.waiting_subscribers();
        if !waiting.is_empty() {
            return Err(StoreError::Unavailable(format!(
                "deliveries wait there for {}; run without store.postgres until nothing waits \
                 (xinyao-gateway status), or move the file and its folder away",
                waiting.join(", ")
            )));
        }
        store.begin_forwarding().await?;
        let progress = watch::Sender::new(());
        Ok(Self {
            store,
            hurry: Notify::new(),
            progress,
            oldest: AtomicI64::new(0),
            failing: Mutex::new(false),
        })
    }

    /// How many events wait.
    pub fn waiting(&self) -> u64 {
        self.store.waiting()
    }

    /// When the first of them came.
    pub fn oldest(&self) -> Option<Timestamp> {
        let nanos = self.oldest.load(Ordering::Relaxed);
        (nanos != 0 && self.waiting() > 0).then(|| crate::store::log::record::time(nanos))
    }

    /// Waits until none does.
    pub async fn forwarded(&self) {
        let mut progress = self.progress.subscribe();
        while self.waiting() > 0 {
            if progress.changed().await.is_err() {
                return;
            }
        }
    }

    /// Brings events to PostgreSQL; does not end.
    pub async fn forward(self: Arc<Self>, straight: Arc<Straight>) {
        let mut up = straight.seat.up();
        loop {
            if self.waiting() == 0 {
                self.hurry.notified().await;
                continue;
            }
            let answers = *up.borrow_and_update();
            let forwarded = if answers {
                self.step(&straight).await
            } else {
                Err(StoreError::Unavailable("PostgreSQL is away".into()))
            };
            self.tell(&forwarded);
            if forwarded.is_err() {
                self.look_at_oldest().await;
                tokio::time::timeout(PAUSE, up.changed()).await.ok();
            }
        }
    }

    /// Brings a group. What is there already, since nobody could tell when it was asked for, is not brought again.
    async fn step(&self, straight: &Straight) -> Result<(), StoreError> {
        let run = self.store.next_waiting(MAX_GROUP, MAX_GROUP_BYTES).await?;
        if let Some(gap) = run.gap {
            let events = gap.until.0 - gap.from.0;
            tracing::error!(events, "events are gone that waited on this host for PostgreSQL");
        }
        let window = Some(self.store.window()).filter(|window| *window > 0).unwrap_or(WINDOW_NANOS);
        let mut group: Vec<NewEvent> = run.events.into_iter().map(|stored| again(stored, window)).collect();
        if let Some(first) = group.first() {
            self.oldest.store(nanos(first.received_at), Ordering::Relaxed);
        }
        let there = straight.places(&group).await?;
        group.retain(|event| !there.contains_key(&event.id));
        for group in apart(group) {
            straight.keep(&group).await?;
        }
        self.store.forwarded(run.next);
        self.progress.send_replace(());
        if self.waiting() == 0 {
            tracing::info!("no event waits on this host any more");
            self.store.release().await?;
        }
        Ok(())
    }

    async fn look_at_oldest(&self) {
        if let Ok(run) = self.store.next_waiting(1, 0).await
            && let Some(stored) = run.events.first()
        {
            self.oldest.store(nanos(stored.event.received_at), Ordering::Relaxed);
        }
    }

    /// The log is told when it begins and when it ends.
    fn tell(&self, forwarded: &Result<(), StoreError>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match forwarded {
            Err(error) if !*failing => {
                tracing::warn!(%error, waiting = self.waiting(), "events wait on this host for PostgreSQL");
            }
            Ok(()) if *failing => {
                tracing::info!(waiting = self.waiting(), "events from this host go to PostgreSQL again");
            }
            _ => {}
        }
        *failing = forwarded.is_err();
    }
}

/// The event as it came.
fn again(stored: Stored, window: i64) -> NewEvent {
    let Event { id, received_at, app, label, kind, task_id, call_sn, content_type, body, .. } =
        Arc::unwrap_or_clone(stored.event);
    let since = received_at.saturating_sub(SignedDuration::from_nanos(window)).unwrap_or(Timestamp::MIN);
    let unless_since = stored.key.map(|key| (key, since));
    NewEvent { id, received_at, app, label, kind, task_id, call_sn, content_type, unless_since, body }
}

/// Groups in which no key is twice.
fn apart(events: Vec<NewEvent>) -> Vec<Arc<[NewEvent]>> {
    let mut groups = Vec::new();
    let (mut group, mut keys) = (Vec::new(), std::collections::HashSet::new());
    for event in events {
        if event.unless_since.is_some_and(|(key, _)| !keys.insert(key)) {
            groups.push(Arc::from(std::mem::take(&mut group)));
            keys = event.unless_since.iter().map(|(key, _)| *key).collect();
        }
        group.push(event);
    }
    groups.push(Arc::from(group));
    groups.retain(|group: &Arc<[NewEvent]>| !group.is_empty());
    groups
}
