//! A group of events goes to PostgreSQL: the writer's, while all is well, and the forwarder's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use uuid::Uuid;

use super::database::Database;
use super::events::{self, Kept, PARTITIONED, Under};
use super::partition::{Day, Partitions, day_of};
use super::recent::Latest;
use super::room::Room;
use super::seat::Seat;
use crate::store::figures::Commits;
use crate::store::log::record::nanos;
use crate::store::{Appended, Event, EventId, NewEvent, Place, Seq, ShardId, StoreError};

/// Keeps groups, one after the other.
#[derive(Debug)]
pub(super) struct Straight {
    pub database: Arc<Database>,
    pub seat: Arc<Seat>,
    pub partitions: Arc<Partitions>,
    pub room: Arc<Room>,
    pub commits: Arc<Commits>,
    pub latest: Arc<Latest>,
    /// The day of the last event that was written to a shard.
    pub day: Mutex<Option<(ShardId, Day)>>,
}

impl Straight {
    /// Keeps a group in which no key is twice: all of it that is not a duplicate, or nothing. After an error that
    /// came late it may be kept nevertheless; [`Straight::places`] tells.
    pub async fn keep(&self, group: &Arc<[NewEvent]>) -> Result<Vec<Appended>, StoreError> {
        let begun = Instant::now();
        let seated = self.seat.seated()?;
        let day = self.day_of(seated.shard).max(seated.day);
        let under = Under { epoch: seated.epoch, shard: seated.shard, day, now: Timestamp::now() };
        let days = events::days(group, day);
        let last = days.last().copied().unwrap_or(day);
        self.partitions.need(&self.database, &PARTITIONED, days).await?;
        let asked = Arc::clone(group);
        let append = self
            .database
            .ask(move |client| Box::pin(async move { events::append(client, under, &asked).await }));
        let kept = append.await.inspect_err(|_| {
            // The day may have been dropped.
            self.partitions.forget();
        });
        let kept = kept?.ok_or_else(|| self.seat.lost(seated.epoch))?;
        self.set_day(seated.shard, last);
        let count = group.len() - kept.repeated.len();
        if count > 0 {
            self.commits.observe(begun.elapsed(), count);
            self.publish(seated.shard, group, &kept);
        }
        Ok(outcomes(seated.shard, group, &kept))
    }

    /// Which events of a group are there already.
    pub async fn places(&self, group: &[NewEvent]) -> Result<HashMap<EventId, Place>, StoreError> {
        let ids: Vec<EventId> = group.iter().map(|event| event.id).collect();
        let earliest = group.iter().map(|event| day_of(nanos(event.received_at))).min().unwrap_or(0);
        self.database
            .ask(move |client| Box::pin(async move { events::places(client, &ids, earliest).await }))
            .await
    }

    fn publish(&self, shard: ShardId, group: &[NewEvent], kept: &Kept) {
        let new = group.iter().filter(|event| repeated(event, kept).is_none()).cloned();
        let new = (kept.first.0..).zip(new).map(|(seq, new)| {
            self.room.add(new.body.len() as u64);
            Arc::new(Event::new(Place { shard, seq: Seq(seq) }, new))
        });
        let tail = self.latest.add(shard, new);
        self.seat.reach(shard, tail);
    }

    fn day_of(&self, shard: ShardId) -> Day {
        let day = self.day.lock().unwrap_or_else(PoisonError::into_inner);
        day.filter(|(written, _)| *written == shard).map_or(0, |(_, day)| day)
    }

    fn set_day(&self, shard: ShardId, day: Day) {
        *self.day.lock().unwrap_or_else(PoisonError::into_inner) = Some((shard, day));
    }
}

fn repeated(event: &NewEvent, kept: &Kept) -> Option<EventId> {
    let (key, _) = event.unless_since?;
    kept.repeated.get(&Uuid::from_bytes(key)).copied()
}

fn outcomes(shard: ShardId, group: &[NewEvent], kept: &Kept) -> Vec<Appended> {
    let mut seq = kept.first;
    let outcome = |event: &NewEvent| match repeated(event, kept) {
        Some(id) => Appended::Duplicate(id),
        None => {
            let place = Place { shard, seq };
            seq = seq.next();
            Appended::Kept(place)
        }
    };
    group.iter().map(outcome).collect()
}
