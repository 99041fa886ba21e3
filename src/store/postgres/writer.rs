//! The writer: it takes what waits as one group, has it kept, and answers everyone.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use uuid::Uuid;

use super::database::Database;
use super::events::{self, Kept, PARTITIONED, Under};
use super::partition::{Day, Partitions};
use super::recent::Latest;
use super::room::Room;
use super::seat::Seat;
use crate::store::figures::Commits;
use crate::store::{Appended, DuplicateKey, Event, EventId, NewEvent, Place, Seq, ShardId, StoreError};

/// Most of one group.
const MAX_GROUP: usize = 1000;
const MAX_GROUP_BYTES: usize = 4 << 20;
/// Most appends that wait.
const MAX_WAITING: usize = 4096;
/// A group that is not answered for so long is given to the local log.
const PATIENCE: Duration = Duration::from_secs(2);

/// Gives events to the writer.
#[derive(Debug)]
pub(super) struct Writer {
    requests: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

/// An event, and who waits for what becomes of it.
#[derive(Debug)]
struct Waiting {
    event: NewEvent,
    answer: oneshot::Sender<Result<Appended, StoreError>>,
    _permit: OwnedSemaphorePermit,
}

/// What the writer works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub database: Arc<Database>,
    pub seat: Arc<Seat>,
    pub partitions: Arc<Partitions>,
    pub room: Arc<Room>,
    pub commits: Arc<Commits>,
    pub latest: Arc<Latest>,
}

impl Writer {
    /// The writer, and its work, which ends once nobody gives it anything any more.
    pub fn new(parts: Parts) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        let work = Work { parts, requests: receiver, again: VecDeque::new(), day: None };
        (Self { requests, room: Arc::new(Semaphore::new(MAX_WAITING)) }, work.run())
    }

    pub async fn append(&self, event: NewEvent) -> Result<Appended, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".into());
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        self.requests.send(Waiting { event, answer, _permit: permit }).map_err(|_| closed())?;
        answered.await.map_err(|_| closed())?
    }
}

struct Work {
    parts: Parts,
    requests: mpsc::UnboundedReceiver<Waiting>,
    /// What is to be in another group than its like.
    again: VecDeque<Waiting>,
    /// The day of the last event that was written to a shard.
    day: Option<(ShardId, Day)>,
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
            self.keep(group).await;
        }
    }

    async fn next(&mut self) -> Option<Waiting> {
        match self.again.pop_front() {
            Some(waiting) => Some(waiting),
            None => self.requests.recv().await,
        }
    }

    async fn keep(&mut self, group: Vec<Waiting>) {
        let (events, waiting) = Group::of(group, &mut self.again);
        let bytes: usize = events.iter().map(|event| event.body.len()).sum();
        let events: Arc<[NewEvent]> = events.into();
        let kept = match self.parts.room.check(bytes as u64) {
            Ok(()) => self.straight(&events).await,
            Err(full) => Err(full),
        };
        waiting.answer(&events, kept, &mut self.again);
    }

    async fn straight(&mut self, events: &Arc<[NewEvent]>) -> Result<(ShardId, Kept), StoreError> {
        let begun = Instant::now();
        let seated = self.parts.seat.seated()?;
        let written = self.day.filter(|(shard, _)| *shard == seated.shard).map_or(0, |(_, day)| day);
        let under = Under {
            epoch: seated.epoch,
            shard: seated.shard,
            day: seated.day.max(written),
            now: Timestamp::now(),
        };
        let days = events::days(events, under.day);
        let last = days.last().copied().unwrap_or(under.day);
        self.parts.partitions.need(&self.parts.database, &PARTITIONED, days).await?;
        let asked = Arc::clone(events);
        let append = self
            .parts
            .database
            .ask(move |client| Box::pin(async move { events::append(client, under, &asked).await }));
        let kept = tokio::time::timeout(PATIENCE, append)
            .await
            .map_err(|_| StoreError::Unavailable("PostgreSQL did not answer in time".into()))??
            .ok_or_else(|| self.parts.seat.lost(seated.epoch))?;
        self.day = Some((seated.shard, last));
        let count = events.len() - kept.repeated.len();
        if count > 0 {
            self.parts.commits.observe(begun.elapsed(), count);
            self.publish(seated.shard, events, &kept);
        }
        Ok((seated.shard, kept))
    }

    fn publish(&self, shard: ShardId, events: &[NewEvent], kept: &Kept) {
        let new = events.iter().filter(|event| repeated(event, kept).is_none()).cloned();
        let new = (kept.first.0..).zip(new).map(|(seq, new)| {
            self.parts.room.add(new.body.len() as u64);
            Arc::new(Event::new(Place { shard, seq: Seq(seq) }, new))
        });
        let tail = self.parts.latest.add(shard, new);
        self.parts.seat.reach(shard, tail);
    }
}

fn repeated(event: &NewEvent, kept: &Kept) -> Option<EventId> {
    let (key, _) = event.unless_since?;
    kept.repeated.get(&Uuid::from_bytes(key)).copied()
}

/// Who waits for a group. An event whose like is in the group too is not written: it is what becomes of that one.
struct Group {
    answers: Vec<Waits>,
}

/// Who waits for the event at `of`.
struct Waits {
    of: usize,
    repeats: Option<Waiting>,
    answer: Option<(oneshot::Sender<Result<Appended, StoreError>>, OwnedSemaphorePermit)>,
}

impl Group {
    /// The events to be written, and who waits for them. What has the key of another, but came after that one's time,
    /// is for another group.
    fn of(group: Vec<Waiting>, again: &mut VecDeque<Waiting>) -> (Vec<NewEvent>, Self) {
        let mut events: Vec<NewEvent> = Vec::with_capacity(group.len());
        let mut answers = Vec::with_capacity(group.len());
        let mut known = HashMap::<DuplicateKey, usize>::new();
        let mut later = VecDeque::new();
        for waiting in group {
            if let Some((key, since)) = waiting.event.unless_since {
                match known.entry(key) {
                    Entry::Occupied(first) if events[*first.get()].received_at >= since => {
                        answers.push(Waits { of: *first.get(), repeats: Some(waiting), answer: None });
                        continue;
                    }
                    Entry::Occupied(_) => {
                        later.push_back(waiting);
                        continue;
                    }
                    Entry::Vacant(place) => _ = place.insert(events.len()),
                }
            }
            let Waiting { event, answer, _permit } = waiting;
            answers.push(Waits { of: events.len(), repeats: None, answer: Some((answer, _permit)) });
            events.push(event);
        }
        later.append(again);
        *again = later;
        (events, Self { answers })
    }

    /// Tells everybody. What repeats an event that was refused itself is asked for again.
    fn answer(
        self,
        events: &[NewEvent],
        kept: Result<(ShardId, Kept), StoreError>,
        again: &mut VecDeque<Waiting>,
    ) {
        let outcomes = kept.map(|(shard, kept)| outcomes(shard, events, &kept));
        for Waits { of, repeats, answer } in self.answers {
            let outcome = outcomes.as_ref().map(|outcomes| outcomes[of]).map_err(StoreError::clone);
            match (repeats, answer, outcome) {
                (Some(waiting), _, Ok(Appended::Duplicate(_))) => again.push_back(waiting),
                (Some(waiting), _, Ok(Appended::Kept(_))) => {
                    waiting.answer.send(Ok(Appended::Duplicate(events[of].id))).ok();
                }
                (Some(waiting), _, Err(error)) => _ = waiting.answer.send(Err(error)),
                (None, Some((answer, _permit)), outcome) => _ = answer.send(outcome),
                (None, None, _) => {}
            }
        }
    }
}

fn outcomes(shard: ShardId, events: &[NewEvent], kept: &Kept) -> Vec<Appended> {
    let mut seq = kept.first;
    let outcome = |event: &NewEvent| match repeated(event, kept) {
        Some(id) => Appended::Duplicate(id),
        None => {
            let place = Place { shard, seq };
            seq = seq.next();
            Appended::Kept(place)
        }
    };
    events.iter().map(outcome).collect()
}
