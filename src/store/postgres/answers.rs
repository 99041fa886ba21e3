//! Events go in and come back: the traits, answered.

use std::sync::Arc;

use tokio::sync::watch;

use super::{PostgresStore, events};
use crate::store::{Answer, Appended, Batch, Event, Intake, Log, NewEvent, Place, Seq, ShardId, StoreError};

impl Intake for PostgresStore {
    fn append(&self, event: NewEvent) -> Answer<'_, Appended> {
        Box::pin(async move {
            let writer = self.writer();
            let writer = writer.ok_or_else(|| StoreError::Unavailable("the store is closed".into()))?;
            writer.append(event).await
        })
    }

    fn writable(&self) -> Result<(), StoreError> {
        self.takes_events()
    }
}

impl Log for PostgresStore {
    fn shards(&self) -> watch::Receiver<Arc<[ShardId]>> {
        self.seat.shards()
    }

    fn tail(&self, shard: ShardId) -> watch::Receiver<Seq> {
        self.seat.tail(shard)
    }

    fn read(&self, shard: ShardId, from: Seq, max_events: usize, max_bytes: usize) -> Answer<'_, Batch> {
        Box::pin(async move {
            if let Some(events) = self.latest.read(shard, from, max_events, max_bytes) {
                let next = events.last().map_or(from, |event| event.place.seq.next());
                return Ok(Batch { events, next, gap: None });
            }
            let read = self.database.ask(move |client| {
                Box::pin(async move { events::read(client, shard, from, max_events, max_bytes).await })
            });
            read.await
        })
    }

    fn event_at(&self, place: Place) -> Answer<'_, Option<Arc<Event>>> {
        Box::pin(async move {
            let batch = self.read(place.shard, place.seq, 1, 0).await?;
            Ok(batch.events.into_iter().next().filter(|_| batch.gap.is_none()))
        })
    }
}
