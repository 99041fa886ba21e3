//! A store that keeps everything in memory and nothing beyond the process: for the tests of those who use a
//! store, under paused time too. It has no disk, no threads and no clock, and answers at once. Nothing in it
//! is bounded but what the traits bound.

mod ledger;
mod once;
mod operate;
mod query;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::standing::{Outcome, Standing};
use super::{
    Answer, Appended, Attempt, Batch, Cluster, DeadLetter, DuplicateKey, Event, EventId, Fate, Gap, Intake,
    Log, MAX_RETRIES, NewEvent, Place, Progress, Replay, ReplayId, Retry, Seq, Settled, ShardId, Start,
    StoreError, SubscriberState, TeamUrl, TeamUrls, too_many,
};

const SHARD: ShardId = ShardId(0);

/// The store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    kept: Mutex<Kept>,
    shards: watch::Sender<Arc<[ShardId]>>,
    tail: watch::Sender<Seq>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The first is at `first`.
    events: Vec<Arc<Event>>,
    removed: u64,
    keys: HashMap<DuplicateKey, (Timestamp, EventId)>,
    subscribers: BTreeMap<String, Standing>,
    attempts: BTreeMap<Seq, Vec<(Attempt, Outcome)>>,
    /// By age; the key is what a cursor points to.
    dead: BTreeMap<u64, Dead>,
    named: u64,
    requests: once::Requests,
    team_urls: Vec<TeamUrl>,
    batches: ledger::Batches,
    refusing: Option<StoreError>,
}

#[derive(Debug, Clone)]
struct Dead {
    seq: Seq,
    letter: DeadLetter,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            kept: Mutex::default(),
            shards: watch::Sender::new(Arc::from([SHARD])),
            tail: watch::Sender::new(Seq(1)),
            changes: watch::Sender::new(0),
        }
    }

    /// From now on appends are refused with `why`, or (`None`) taken again. What concerns retries and dead
    /// letters is refused too, as it is when the disk is full.
    pub fn refuse(&self, why: Option<StoreError>) {
        self.kept().refusing = why;
    }

    /// Removes what stands before `seq`, as retention does.
    pub fn remove_before(&self, seq: Seq) {
        self.kept().remove_before(seq);
        self.changed();
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Answers at once.
    fn answer<T: Send + 'static>(result: Result<T, StoreError>) -> Answer<'static, T> {
        Box::pin(std::future::ready(result))
    }
}

impl Kept {
    fn tail(&self) -> Seq {
        Seq(self.removed + self.events.len() as u64 + 1)
    }

    fn first(&self) -> Seq {
        Seq(self.removed + 1)
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        usize::try_from(seq.0.checked_sub(self.removed + 1)?).ok()
    }

    fn at(&self, seq: Seq) -> Option<&Arc<Event>> {
        self.events.get(self.index(seq)?)
    }

    fn seq_of(&self, id: EventId) -> Option<Seq> {
        self.events.iter().find(|event| event.id == id).map(|event| event.place.seq)
    }

    fn from(&self, seq: Seq) -> &[Arc<Event>] {
        self.index(seq.max(self.first())).and_then(|index| self.events.get(index..)).unwrap_or_default()
    }

    fn name_one(&mut self) -> u64 {
        self.named += 1;
        self.named
    }

    fn append(&mut self, new: NewEvent) -> Result<Appended, StoreError> {
        if let Some(why) = &self.refusing {
            return Err(why.clone());
        }
        if let Some((key, since)) = new.unless_since {
            match self.keys.get(&key) {
                Some((at, id)) if *at >= since => return Ok(Appended::Duplicate(*id)),
                _ => self.keys.insert(key, (new.received_at, new.id)),
            };
        }
        let place = Place { shard: SHARD, seq: self.tail() };
        self.events.push(Arc::new(Event::new(place, new)));
        Ok(Appended::Kept(place))
    }

    fn read(&self, from: Seq, max_events: usize, max_bytes: usize) -> Batch {
        let begin = from.max(self.first());
        let gap = (begin > from).then_some(Gap { from, until: begin });
        let mut bytes = 0;
        let mut events = Vec::new();
        for event in self.from(begin).iter().take(max_events) {
            bytes += event.body.len();
            if bytes > max_bytes && !events.is_empty() {
                break;
            }
            events.push(Arc::clone(event));
        }
        let next = events.last().map_or(begin, |event| event.place.seq.next());
        Batch { events, next, gap }
    }

    fn settle(&mut self, settled: Settled) {
        let Settled { subscriber, place: Place { seq, .. }, attempt, fate } = settled;
        let Some(event) = self.at(seq).cloned() else { return };
        let Some(standing) = self.subscribers.get_mut(&*subscriber) else { return };
        standing.count(attempt.as_ref(), fate);
        match fate {
            Fate::Delivered => _ = standing.retries.take(seq),
            Fate::Retry { due, spent } => {
                let row = standing.retry_row(seq, attempt.as_ref(), due, spent);
                standing.retries.put(seq, row);
            }
            Fate::Dead => {
                let before = standing.retries.take(seq).map_or(0, |row| row.attempts);
                self.bury(&subscriber, &event, before, attempt.as_ref());
            }
        }
        if let Some(attempt) = attempt {
            self.attempts.entry(seq).or_default().push((attempt, fate.into()));
        }
    }

    fn bury(&mut self, subscriber: &str, event: &Event, before: u32, attempt: Option<&Attempt>) {
        let seq = event.place.seq;
        self.dead.retain(|_, dead| dead.seq != seq || dead.letter.subscriber != subscriber);
        let letter = DeadLetter {
            event_id: event.id,
            subscriber: subscriber.to_owned(),
            app: event.app.to_string(),
            kind: event.kind,
            task_id: event.task_id.clone(),
            call_sn: event.call_sn.clone(),
            dead_at: attempt.map_or_else(Timestamp::now, Attempt::ended_at),
            attempts: attempt.map_or(before, |attempt| attempt.number),
            last_error: attempt.and_then(|attempt| attempt.error.clone()),
        };
        let name = self.name_one();
        self.dead.insert(name, Dead { seq, letter });
    }

    fn remove_before(&mut self, seq: Seq) {
        let seq = seq.clamp(self.first(), self.tail());
        let gone = self.index(seq).unwrap_or_default();
        self.events.drain(..gone);
        self.removed += gone as u64;
        self.attempts = self.attempts.split_off(&seq);
        for standing in self.subscribers.values_mut() {
            standing.expired += seq.0.saturating_sub(standing.frontier.0);
            standing.expired += standing.retries.take_before(seq).len() as u64;
            standing.frontier = standing.frontier.max(seq);
        }
    }

    fn retry(&self, seq: Seq, standing: &Standing) -> Option<Retry> {
        let (event, row) = (self.at(seq)?, standing.retries.get(seq)?);
        Some(Retry { event: Arc::clone(event), due: row.due, attempts: row.attempts, spent: row.spent })
    }
}

impl Intake for MemoryStore {
    fn append(&self, event: NewEvent) -> Answer<'_, Appended> {
        let mut kept = self.kept();
        let appended = kept.append(event);
        if let Ok(Appended::Kept(place)) = appended {
            // Under the lock, so that the tail never goes back.
            self.tail.send_replace(place.seq.next());
        }
        Self::answer(appended)
    }

    fn writable(&self) -> Result<(), StoreError> {
        self.kept().refusing.clone().map_or(Ok(()), Err)
    }
}

impl Cluster for MemoryStore {}

impl Log for MemoryStore {
    fn shards(&self) -> watch::Receiver<Arc<[ShardId]>> {
        self.shards.subscribe()
    }

    fn tail(&self, _: ShardId) -> watch::Receiver<Seq> {
        self.tail.subscribe()
    }

    fn read(&self, _: ShardId, from: Seq, max_events: usize, max_bytes: usize) -> Answer<'_, Batch> {
        Self::answer(Ok(self.kept().read(from, max_events, max_bytes)))
    }

    fn event_at(&self, place: Place) -> Answer<'_, Option<Arc<Event>>> {
        Self::answer(Ok(self.kept().at(place.seq).cloned()))
    }
}

impl Progress for MemoryStore {
    fn open(&self, subscriber: &str, start: Start) -> Answer<'_, SubscriberState> {
        let mut kept = self.kept();
        let begin = match start {
            Start::Now => kept.tail(),
            Start::Since(at) => {
                let first = kept.events.iter().find(|event| event.received_at >= at);
                first.map_or(kept.tail(), |event| event.place.seq)
            }
        };
        let standing = kept.subscribers.entry(subscriber.to_owned()).or_insert_with(|| Standing::new(begin));
        let frontiers = vec![(SHARD, standing.frontier)];
        Self::answer(Ok(SubscriberState { frontiers, paused: standing.paused }))
    }

    fn settle(&self, settled: Vec<Settled>) -> Answer<'_, ()> {
        let mut kept = self.kept();
        let refused = kept.refusing.clone();
        for one in settled {
            if refused.is_none() || one.fate == Fate::Delivered {
                kept.settle(one);
            }
        }
        Self::answer(refused.map_or(Ok(()), Err))
    }

    fn advance(&self, subscriber: &str, _: ShardId, frontier: Seq) {
        let mut kept = self.kept();
        let frontier = frontier.min(kept.tail());
        if let Some(standing) = kept.subscribers.get_mut(subscriber) {
            standing.frontier = standing.frontier.max(frontier);
        }
    }

    fn due(&self, subscriber: &str, now: Timestamp, max: usize) -> Answer<'_, Vec<Retry>> {
        let kept = self.kept();
        let due = kept.subscribers.get(subscriber).map(|standing| {
            let rows = standing.retries.due(now, max);
            rows.into_iter().filter_map(|(seq, _)| kept.retry(seq, standing)).collect()
        });
        Self::answer(Ok(due.unwrap_or_default()))
    }

    fn next_due(&self, subscriber: &str) -> Answer<'_, Option<Timestamp>> {
        let kept = self.kept();
        Self::answer(Ok(kept.subscribers.get(subscriber).and_then(|standing| standing.retries.next_due())))
    }

    fn retries(&self, subscriber: &str) -> Answer<'_, usize> {
        let kept = self.kept();
        Self::answer(Ok(kept.subscribers.get(subscriber).map_or(0, |standing| standing.retries.len())))
    }

    fn replays(&self, subscriber: &str) -> Answer<'_, Vec<Replay>> {
        let kept = self.kept();
        let replays = kept.subscribers.get(subscriber).map(|standing| standing.replays.clone());
        Self::answer(Ok(replays.unwrap_or_default()))
    }

    fn advance_replay(&self, replay: ReplayId, next: Seq) {
        for standing in self.kept().subscribers.values_mut() {
            standing.advance_replay(replay, next);
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl TeamUrls for MemoryStore {
    fn team_urls(&self) -> Answer<'_, Vec<TeamUrl>> {
        Self::answer(Ok(self.kept().team_urls.clone()))
    }

    fn keep_team_url(&self, team_url: TeamUrl) -> Answer<'_, ()> {
        let mut kept = self.kept();
        if let Some(why) = kept.refusing.clone() {
            return Self::answer(Err(why));
        }
        let same = |known: &TeamUrl| known.app == team_url.app && known.url == team_url.url;
        if kept.team_urls.iter().any(same) {
            return Self::answer(Ok(()));
        }
        if let Some(many) = too_many(&kept.team_urls, &team_url.app) {
            return Self::answer(Err(StoreError::Full(many)));
        }
        kept.team_urls.push(team_url);
        Self::answer(Ok(()))
    }

    fn forget_team_url(&self, app: String, url: String) -> Answer<'_, ()> {
        self.kept().team_urls.retain(|known| known.app != app || known.url != url);
        Self::answer(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::store::suite::{self, House};

    #[derive(Default)]
    struct Memory(Option<Arc<MemoryStore>>);

    impl House for Memory {
        async fn open(&mut self) -> Arc<dyn Store> {
            let store = Arc::new(MemoryStore::new());
            self.0 = Some(Arc::clone(&store));
            store
        }

        async fn reopen(&mut self) -> Option<Arc<dyn Store>> {
            None
        }

        async fn remove_before(&mut self, seq: Seq) {
            self.0.as_ref().unwrap().remove_before(seq);
        }

        async fn sweep(&mut self, now: Timestamp) {
            self.0.as_ref().unwrap().forget_requests(now);
        }

        fn refuse(&mut self, refuse: bool) {
            let why = refuse.then(|| StoreError::Full("as the test wants it".into()));
            self.0.as_ref().unwrap().refuse(why);
        }
    }

    suite::suite!(Memory::default());
}
