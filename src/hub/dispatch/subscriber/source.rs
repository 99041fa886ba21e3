//! What is delivered next.

use std::sync::Arc;
use std::time::Duration;

use super::Subscriber;
use super::job::{Job, Origin};
use jiff::Timestamp;

use crate::hub::delivery_state::Standing;
use crate::hub::dispatch::lane::Lane;
use crate::hub::dispatch::retries::AT_ONCE;
use crate::hub::schedule::after;
use crate::store::{Event, EventFilter, Place, Replay, ReplayId, Retry, Seq, ShardId, StoreError};

/// How soon the retry set is looked at again while what is due in it is under way.
const BLIND: Duration = Duration::from_millis(20);

/// A replay under way.
pub struct Replaying {
    id: ReplayId,
    filter: EventFilter,
    end: Seq,
    pub(super) lane: Lane,
}

impl Replaying {
    fn new(replay: Replay) -> Self {
        let mut lane = Lane::new(replay.shard, replay.next);
        lane.ends(replay.end);
        Self { id: replay.id, filter: replay.filter, end: replay.end, lane }
    }
}

/// What is taken next, and from where.
enum Next {
    Retry(Retry),
    Event(Arc<Event>),
}

impl Subscriber {
    /// Follows the shards from these frontiers on; what is followed already goes on where it is.
    pub(super) fn follow(&mut self, frontiers: &[(ShardId, Seq)]) {
        let shards = self.rooms.log.shards();
        let shards = Arc::clone(&shards.borrow());
        self.lanes.retain(|lane| shards.contains(&lane.shard()));
        for (shard, frontier) in frontiers.iter().filter(|(shard, _)| shards.contains(shard)) {
            match self.lanes.iter_mut().find(|lane| lane.shard() == *shard) {
                Some(lane) => lane.jump(*frontier),
                None => self.lanes.push(Lane::new(*shard, *frontier)),
            }
        }
    }

    pub(super) async fn look_at_replays(&mut self) -> Result<(), StoreError> {
        let replays = self.rooms.progress.replays(&self.name).await?;
        self.replayed.retain(|id| replays.iter().any(|replay| replay.id == *id));
        if self.replay.as_ref().is_some_and(|current| replays.iter().all(|replay| replay.id != current.id)) {
            self.replay = None;
        }
        if self.replay.is_none() {
            let next = replays.into_iter().find(|replay| !self.replayed.contains(&replay.id));
            self.replay = next.map(Replaying::new);
        }
        Ok(())
    }

    pub(super) async fn look_at_retries(&mut self) -> Result<(), StoreError> {
        let now = self.rooms.clock.now();
        if self.paused || !self.retries.wants_look(now) {
            return Ok(());
        }
        let progress = Arc::clone(&self.rooms.progress);
        // Those under way are in the store too, and due; they must not hide the others.
        let due = progress.due(&self.name, now, self.flying.len() + AT_ONCE).await?;
        self.retries.fetched(due, |place| self.places.contains(&place));
        if !self.retries.has_ready() {
            // The first may be under way, and hide from sight when the others are due.
            let next = progress.next_due(&self.name).await?;
            self.retries.next_look(next.map(|next| next.max(after(now, BLIND))));
        }
        Ok(())
    }

    /// The next delivery, once the rate limit has room for it.
    pub(super) async fn next_job(&mut self) -> Result<Option<(Arc<Event>, Job)>, StoreError> {
        if !self.retries.has_ready() {
            self.look_at_retries().await?;
        }
        let others = |place: Place| self.probed != Some(place) && !self.places.contains(&place);
        let mut retry = self.retries.first(self.rooms.clock.now(), others);
        let live = if retry.is_none() { self.next_lane().await? } else { None };
        if retry.is_none() && live.is_none() {
            retry = self.any_probe().await?;
        }
        if retry.is_none() && live.is_none() {
            return Ok(None);
        }
        if let Err(then) = self.pace.admit() {
            self.paced_until = Some(then);
            return Ok(None);
        }
        self.paced_until = None;
        let next = match (retry, live) {
            (Some(place), _) => self.retries.take(place).map(Next::Retry),
            (None, Some(Ahead::Live(at))) => self.lanes.get_mut(at).and_then(Lane::take).map(Next::Event),
            (None, Some(Ahead::Replay)) => {
                self.replay.as_mut().and_then(|replay| replay.lane.take()).map(Next::Event)
            }
            (None, None) => None,
        };
        Ok(next.map(|next| self.job(next)))
    }

    /// While nothing is better, a subscriber is probed with what was its last probe, or with the next of the
    /// retry set before that is due: unless it has said itself when to come back.
    async fn any_probe(&mut self) -> Result<Option<Place>, StoreError> {
        let now = self.rooms.clock.now();
        if self.health.next_probe().is_none() || self.asked_until.is_some_and(|then| then > now) {
            return Ok(None);
        }
        if !self.retries.has_ready() {
            let progress = Arc::clone(&self.rooms.progress);
            let next = progress.due(&self.name, Timestamp::MAX, self.flying.len() + 1).await?;
            self.retries.fetched(next, |place| self.places.contains(&place));
        }
        Ok(self.retries.first(now, |place| !self.places.contains(&place)))
    }

    fn job(&self, next: Next) -> (Arc<Event>, Job) {
        let probing = self.health.next_probe().is_some();
        let standing =
            |spent| if probing { Standing::Probe { spent } } else { Standing::Scheduled { spent } };
        match next {
            Next::Retry(retry) => {
                let event = Arc::clone(&retry.event);
                let standing = standing(retry.spent);
                (retry.event, Job { event, attempts: retry.attempts, standing, origin: Origin::Row })
            }
            Next::Event(event) => {
                let job = Job {
                    event: Arc::clone(&event),
                    attempts: 0,
                    standing: standing(0),
                    origin: Origin::Lane,
                };
                (event, job)
            }
        }
    }

    /// Which lane has an event to deliver. Failing events hold an ordered queue, and a full retry set any.
    async fn next_lane(&mut self) -> Result<Option<Ahead>, StoreError> {
        let held = self.served.settings.ordered && !self.retries.is_empty();
        if held || self.retries.is_full(self.flying.len()) {
            return Ok(None);
        }
        for at in 0..self.lanes.len() {
            if self.advance_live(at).await? {
                return Ok(Some(Ahead::Live(at)));
            }
        }
        Ok(self.advance_replay().await?.then_some(Ahead::Replay))
    }

    /// Brings a lane to an event that is wanted; whether there is one.
    async fn advance_live(&mut self, at: usize) -> Result<bool, StoreError> {
        loop {
            let Some(lane) = self.lanes.get_mut(at) else { return Ok(false) };
            while let Some(event) = lane.first() {
                if self.served.wants(event) {
                    return Ok(!self.places.contains(&event.place));
                }
                lane.skip();
            }
            self.tell_frontier(at);
            let Some(lane) = self.lanes.get(at) else { return Ok(false) };
            let Some((events, bytes)) = lane.room().filter(|_| lane.has_more()) else { return Ok(false) };
            let (shard, from) = (lane.shard(), lane.next());
            let batch = self.rooms.log.read(shard, from, events, bytes).await?;
            let stuck = batch.next <= from;
            if let Some(lane) = self.lanes.get_mut(at) {
                lane.extend(batch, None);
            }
            if stuck {
                return Ok(false);
            }
        }
    }

    /// Brings the replay to an event that is wanted; whether there is one. A replay that has come to its
    /// end makes room for the next.
    async fn advance_replay(&mut self) -> Result<bool, StoreError> {
        loop {
            let Some(replay) = &mut self.replay else { return Ok(false) };
            while let Some(event) = replay.lane.first() {
                if replay.filter.matches(event) && self.served.wants(event) {
                    return Ok(!self.places.contains(&event.place));
                }
                replay.lane.skip();
            }
            self.tell_replay();
            let Some(replay) = &self.replay else {
                self.look_at_replays().await?;
                continue;
            };
            let lane = &replay.lane;
            let Some((events, bytes)) = lane.room().filter(|_| lane.has_more()) else { return Ok(false) };
            let (shard, from, end) = (lane.shard(), lane.next(), replay.end);
            let batch = self.rooms.log.read(shard, from, events, bytes).await?;
            let stuck = batch.next <= from;
            if let Some(replay) = &mut self.replay {
                // Beyond the shard's end nothing will come that the replay could mean.
                if stuck { replay.lane.jump(end) } else { replay.lane.extend(batch, Some(end)) }
            }
        }
    }

    /// Tells the store how far all is done.
    pub(super) fn tell_frontier(&mut self, at: usize) {
        let Some(lane) = self.lanes.get_mut(at) else { return };
        if let Some(frontier) = lane.news() {
            self.rooms.progress.advance(&self.name, lane.shard(), frontier);
        }
    }

    /// Tells the store how far the replay is; one at its end is left.
    pub(super) fn tell_replay(&mut self) {
        let Some(replay) = &mut self.replay else { return };
        if let Some(frontier) = replay.lane.news() {
            self.rooms.progress.advance_replay(replay.id, frontier);
        }
        if replay.lane.frontier() >= replay.end {
            self.replayed.insert(replay.id);
            self.replay = None;
        }
    }
}

/// Where the next event stands ready.
enum Ahead {
    Live(usize),
    Replay,
}
