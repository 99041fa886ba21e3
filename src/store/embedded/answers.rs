//! The traits, answered.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::{EmbeddedStore, SHARD};
use crate::store::log::record::nanos;
use crate::store::sqlite::{Command, Outcomes, Questions, Shared, find, told, unreadable};
use crate::store::{
    Answer, Appended, Batch, Cluster, DeadLetter, Event, EventDetail, EventFilter, EventId, EventSummary,
    Intake, Log, NewEvent, Operate, Page, Place, Progress, Query, Replay, ReplayId, Retry, Seq, Settled,
    ShardId, Start, StoreError, SubscriberFigures, SubscriberState,
};

impl Cluster for EmbeddedStore {}

impl Intake for EmbeddedStore {
    fn append(&self, event: NewEvent) -> Answer<'_, Appended> {
        Box::pin(self.writer.append(event))
    }

    fn writable(&self) -> Result<(), StoreError> {
        self.writer.writable()
    }
}

impl Log for EmbeddedStore {
    fn shards(&self) -> watch::Receiver<Arc<[ShardId]>> {
        self.shards.subscribe()
    }

    fn tail(&self, _: ShardId) -> watch::Receiver<Seq> {
        self.writer.tail.clone()
    }

    fn read(&self, _: ShardId, from: Seq, max_events: usize, max_bytes: usize) -> Answer<'_, Batch> {
        let shelf = Arc::clone(&self.shared.shelf);
        Box::pin(async move {
            let run = match shelf.in_memory(from, max_events, max_bytes) {
                Some(run) => run,
                None => blocking(move || shelf.read(from, max_events, max_bytes)).await?,
            };
            let events = run.events.into_iter().map(|stored| stored.event).collect();
            Ok(Batch { events, next: run.next, gap: run.gap })
        })
    }

    fn event_at(&self, place: Place) -> Answer<'_, Option<Arc<Event>>> {
        Box::pin(async move {
            let batch = self.read(SHARD, place.seq, 1, 0).await?;
            Ok(batch.events.into_iter().next().filter(|_| batch.gap.is_none()))
        })
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(read).await;
    let done = done.map_err(|error| StoreError::Unavailable(format!("reading was cut off: {error}")))?;
    done.map_err(|error| unreadable(&error))
}

impl EmbeddedStore {
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(Questions<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.flush().await;
        let ask = move |connection: &Connection, shared: &Shared| question(Questions { connection, shared });
        self.readers.ask(ask).await
    }

    pub(super) async fn sql<T: Send + 'static>(
        &self,
        question: impl FnOnce(Questions<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(move |questions| question(questions).map_err(|error| told(&error))).await
    }

    fn state(&self, subscriber: &str) -> Option<SubscriberState> {
        let members = self.shared.members();
        let standing = &members.by_name.get(subscriber)?.standing;
        Some(SubscriberState { frontiers: vec![(SHARD, standing.frontier)], paused: standing.paused })
    }

    async fn begin(&self, start: Start) -> Result<Seq, StoreError> {
        // Before the index is asked: what comes meanwhile may be in neither.
        let tail = self.shared.shelf.tail();
        let found = match start {
            Start::Now => None,
            Start::Since(at) => self.sql(move |questions| questions.first_since(nanos(at))).await?,
        };
        Ok(found.unwrap_or(tail))
    }
}

impl Progress for EmbeddedStore {
    fn open(&self, subscriber: &str, start: Start) -> Answer<'_, SubscriberState> {
        let name = subscriber.to_owned();
        Box::pin(async move {
            if let Some(state) = self.state(&name) {
                return Ok(state);
            }
            let at = self.begin(start).await?;
            let entering = name.clone();
            self.act(move |work| work.enter(&entering, at)).await?;
            self.state(&name)
                .ok_or_else(|| StoreError::Unavailable("the subscriber is being forgotten".into()))
        })
    }

    fn settle(&self, settled: Vec<Settled>) -> Answer<'_, ()> {
        Box::pin(async move {
            let closed = || StoreError::Unavailable("the store is closed".into());
            let permit = Arc::clone(&self.settling).acquire_owned().await.map_err(|_| closed())?;
            let (answer, answered) = oneshot::channel();
            self.shared.send(Command::Settle(Outcomes { settled, answer, permit }));
            answered.await.map_err(|_| closed())?
        })
    }

    fn advance(&self, subscriber: &str, _: ShardId, frontier: Seq) {
        let frontier = frontier.min(self.shared.shelf.tail());
        let mut members = self.shared.members();
        let Some(member) = members.by_name.get_mut(subscriber) else { return };
        if frontier > member.standing.frontier {
            member.standing.frontier = frontier;
            member.moved = true;
            drop(members);
            self.shared.nudge();
        }
    }

    fn due(&self, subscriber: &str, now: Timestamp, max: usize) -> Answer<'_, Vec<Retry>> {
        let rows = {
            let members = self.shared.members();
            members.by_name.get(subscriber).map(|member| member.standing.retries.due(now, max))
        };
        Box::pin(async move {
            let rows = rows.unwrap_or_default();
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let load = move |connection: &Connection, shared: &Shared| {
                let mut due = Vec::with_capacity(rows.len());
                for (seq, row) in rows {
                    if let Some(event) = find(connection, shared, seq)? {
                        due.push(Retry { event, due: row.due, attempts: row.attempts, spent: row.spent });
                    }
                }
                Ok(due)
            };
            self.readers.ask(load).await
        })
    }

    fn next_due(&self, subscriber: &str) -> Answer<'_, Option<Timestamp>> {
        let members = self.shared.members();
        let due = members.by_name.get(subscriber).and_then(|member| member.standing.retries.next_due());
        Box::pin(std::future::ready(Ok(due)))
    }

    fn retries(&self, subscriber: &str) -> Answer<'_, usize> {
        let members = self.shared.members();
        let count = members.by_name.get(subscriber).map_or(0, |member| member.standing.retries.len());
        Box::pin(std::future::ready(Ok(count)))
    }

    fn replays(&self, subscriber: &str) -> Answer<'_, Vec<Replay>> {
        let members = self.shared.members();
        let replays = members.by_name.get(subscriber).map(|member| member.standing.replays.clone());
        Box::pin(std::future::ready(Ok(replays.unwrap_or_default())))
    }

    fn advance_replay(&self, replay: ReplayId, next: Seq) {
        let mut members = self.shared.members();
        let owner = members
            .by_name
            .values_mut()
            .find(|member| member.standing.replays.iter().any(|one| one.id == replay));
        let Some(member) = owner else { return };
        member.standing.advance_replay(replay, next);
        member.moved = true;
        drop(members);
        self.shared.nudge();
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

impl Query for EmbeddedStore {
    fn events(
        &self,
        filter: EventFilter,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<EventSummary>> {
        Box::pin(self.sql(move |questions| questions.events(&filter, limit, cursor.as_deref())))
    }

    fn event(&self, id: EventId) -> Answer<'_, Option<EventDetail>> {
        Box::pin(self.sql(move |questions| questions.event(id)))
    }

    fn body(&self, id: EventId) -> Answer<'_, Option<Arc<Event>>> {
        Box::pin(self.ask(move |questions| questions.body(id)))
    }

    fn dead_letters(
        &self,
        subscriber: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<DeadLetter>> {
        Box::pin(
            self.sql(move |questions| {
                questions.dead_letters(subscriber.as_deref(), limit, cursor.as_deref())
            }),
        )
    }

    fn figures(&self) -> Answer<'_, Vec<SubscriberFigures>> {
        Box::pin(self.sql(|questions| questions.figures()))
    }

    fn size(&self) -> Answer<'_, (u64, u64)> {
        let bytes = self.shared.shelf.bytes() + self.shared.index_bytes();
        Box::pin(std::future::ready(Ok((bytes, self.max_size_bytes))))
    }
}

impl Operate for EmbeddedStore {
    fn set_paused(&self, subscriber: &str, paused: bool) -> Answer<'_, bool> {
        let name = subscriber.to_owned();
        Box::pin(self.act(move |work| work.set_paused(&name, paused)))
    }

    fn purge(&self, subscriber: &str) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(async move {
            let asked = name.clone();
            let left = self.sql(move |questions| questions.replaying_of(&asked)).await?;
            self.act(move |work| work.purge(&name, left)).await
        })
    }

    fn forget(&self, subscriber: &str) -> Answer<'_, bool> {
        let name = subscriber.to_owned();
        Box::pin(self.act(move |work| work.forget(&name)))
    }

    fn replay(&self, subscriber: &str, filter: EventFilter) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(async move {
            let range = (self.shared.shelf.first(), self.shared.shelf.tail());
            let asked = filter.clone();
            let count = self.sql(move |questions| questions.count(&asked, range.0, range.1)).await?;
            self.act(move |work| work.replay(&name, filter, range, count)).await
        })
    }

    fn replay_ids(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(self.act(move |work| work.replay_ids(&name, &ids)))
    }

    fn revive(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(self.act(move |work| work.revive(&name, &ids)))
    }

    fn discard(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        let name = subscriber.to_owned();
        Box::pin(self.act(move |work| work.discard(&name, &ids)))
    }
}
