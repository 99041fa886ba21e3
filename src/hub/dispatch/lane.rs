//! A way along a shard: what has been read of it, what of that is still open, and how far all is done.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::store::{Batch, Event, Place, Seq, ShardId};

/// Most events that are read ahead of their delivery.
pub const AHEAD_EVENTS: usize = 256;
/// Most bytes of bodies read ahead: past it nothing more is read.
pub const AHEAD_BYTES: usize = 1 << 20;
/// How far the frontier may lag behind: that much at most is delivered again after a crash.
const WINDOW: u64 = 16_384;

/// A way along a shard.
#[derive(Debug)]
pub struct Lane {
    shard: ShardId,
    /// Where the next read begins.
    next: Seq,
    /// Where the shard ended when last looked at.
    tail: Seq,
    /// Read and not done.
    open: BTreeSet<Seq>,
    ahead: VecDeque<Arc<Event>>,
    ahead_bytes: usize,
    /// The frontier as it was last told.
    told: Seq,
}

impl Lane {
    /// A way that begins at `from`.
    pub fn new(shard: ShardId, from: Seq) -> Self {
        Self {
            shard,
            next: from,
            tail: from,
            open: BTreeSet::new(),
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            told: from,
        }
    }

    /// Which shard it is along.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Where the next read begins.
    pub fn next(&self) -> Seq {
        self.next
    }

    /// Everything before this is done.
    pub fn frontier(&self) -> Seq {
        self.open.first().copied().unwrap_or(self.next)
    }

    /// The frontier, if it is another than when last asked.
    pub fn news(&mut self) -> Option<Seq> {
        let frontier = self.frontier();
        (std::mem::replace(&mut self.told, frontier) != frontier).then_some(frontier)
    }

    /// The shard ends there.
    pub fn ends(&mut self, tail: Seq) {
        self.tail = tail;
    }

    /// Whether there is something to read.
    pub fn has_more(&self) -> bool {
        self.next < self.tail
    }

    /// Goes on from `frontier` if that is further on: somebody has dropped what lies before it.
    pub fn jump(&mut self, frontier: Seq) {
        if frontier <= self.frontier() {
            return;
        }
        self.open.retain(|seq| *seq >= frontier);
        self.ahead.retain(|event| event.place.seq >= frontier);
        self.ahead_bytes = self.ahead.iter().map(|event| event.body.len()).sum();
        self.next = self.next.max(frontier);
    }

    /// How many events and bytes may be read now, if any.
    pub fn room(&self) -> Option<(usize, usize)> {
        let events = AHEAD_EVENTS.saturating_sub(self.ahead.len());
        let bytes = AHEAD_BYTES.saturating_sub(self.ahead_bytes);
        let held_up = self.next.0 - self.frontier().0 >= WINDOW;
        (events > AHEAD_EVENTS / 2 && bytes > 0 && !held_up).then_some((events, bytes))
    }

    /// Takes in what was read at [`next`](Self::next). What lies in a gap is done: nobody has it.
    pub fn extend(&mut self, batch: Batch, end: Option<Seq>) {
        for event in batch.events {
            if event.place.seq >= self.next && end.is_none_or(|end| event.place.seq < end) {
                self.open.insert(event.place.seq);
                self.ahead_bytes += event.body.len();
                self.ahead.push_back(event);
            }
        }
        self.next = self.next.max(end.map_or(batch.next, |end| batch.next.min(end)));
    }

    /// The next event.
    pub fn first(&self) -> Option<&Arc<Event>> {
        self.ahead.front()
    }

    /// Takes the next event; it stays open until it is [done](Self::done).
    pub fn take(&mut self) -> Option<Arc<Event>> {
        let event = self.ahead.pop_front()?;
        self.ahead_bytes -= event.body.len();
        Some(event)
    }

    /// Takes the next event, which nobody wants.
    pub fn skip(&mut self) {
        if let Some(event) = self.take() {
            self.done(event.place);
        }
    }

    /// The event there is settled.
    pub fn done(&mut self, place: Place) {
        if place.shard == self.shard {
            self.open.remove(&place.seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::dispatch::testing::event;

    fn batch(seqs: std::ops::Range<u64>) -> Batch {
        let next = Seq(seqs.end);
        Batch { events: seqs.map(|seq| Arc::new(event(seq, "{}"))).collect(), next, gap: None }
    }

    fn place(seq: u64) -> Place {
        Place { shard: ShardId(0), seq: Seq(seq) }
    }

    #[test]
    fn the_frontier_passes_what_is_done_and_nothing_else() {
        let mut lane = Lane::new(ShardId(0), Seq(5));
        assert_eq!(lane.frontier(), Seq(5));
        lane.extend(batch(5..9), None);
        while lane.take().is_some() {}
        assert_eq!(lane.frontier(), Seq(5));
        lane.done(place(6));
        assert_eq!(lane.frontier(), Seq(5));
        lane.done(place(5));
        assert_eq!(lane.frontier(), Seq(7));
        lane.done(place(8));
        lane.done(place(7));
        assert_eq!(lane.frontier(), Seq(9));
        lane.done(Place { shard: ShardId(1), seq: Seq(9) });
        lane.extend(batch(2_000_000..2_000_001), None);
        assert_eq!(lane.frontier(), Seq(2_000_000), "a gap is passed");
    }

    #[test]
    fn a_jump_leaves_what_lies_before_it() {
        let mut lane = Lane::new(ShardId(0), Seq(1));
        lane.extend(batch(1..9), None);
        lane.take();
        lane.jump(Seq(5));
        assert_eq!((lane.frontier(), lane.next()), (Seq(5), Seq(9)));
        assert_eq!(lane.take().map(|event| event.place.seq), Some(Seq(5)));
        lane.jump(Seq(2));
        lane.jump(Seq(20));
        assert_eq!((lane.frontier(), lane.next(), lane.take().is_none()), (Seq(20), Seq(20), true));
    }

    #[test]
    fn a_lane_ends_where_it_is_told_to() {
        let mut lane = Lane::new(ShardId(0), Seq(1));
        lane.extend(batch(1..9), Some(Seq(4)));
        assert_eq!(std::iter::from_fn(|| lane.take()).count(), 3);
        assert_eq!(lane.next(), Seq(4));
    }

    #[test]
    fn reading_ahead_is_bounded_in_events_bytes_and_distance() {
        let mut lane = Lane::new(ShardId(0), Seq(1));
        assert_eq!(lane.room(), Some((AHEAD_EVENTS, AHEAD_BYTES)));
        lane.extend(batch(1..1 + AHEAD_EVENTS as u64 / 2), None);
        assert_eq!(lane.room(), None);

        let mut lane = Lane::new(ShardId(0), Seq(1));
        let big = Arc::new(event(1, &"x".repeat(AHEAD_BYTES)));
        lane.extend(Batch { events: vec![big], next: Seq(2), gap: None }, None);
        assert_eq!(lane.room(), None);
        lane.take();
        assert!(lane.room().is_some());

        lane.extend(batch(WINDOW..WINDOW + 1), None);
        lane.take();
        assert_eq!(lane.room(), None, "the first is still open");
        lane.done(place(1));
        assert!(lane.room().is_some());
    }

    proptest! {
        /// Whatever order events are settled in, the frontier is the first that is not.
        #[test]
        fn the_frontier_is_the_first_open_one(order in Just((1_u64..40).collect::<Vec<_>>()).prop_shuffle()) {
            let mut lane = Lane::new(ShardId(0), Seq(1));
            lane.extend(batch(1..40), None);
            let mut done = BTreeSet::new();
            for seq in order {
                lane.done(place(seq));
                done.insert(seq);
                let first = (1..=40).find(|seq| !done.contains(seq)).unwrap();
                prop_assert_eq!(lane.frontier(), Seq(first));
            }
        }
    }
}
