//! The latest events of the own shard, in memory: who follows it closely asks nobody.

use std::sync::{Arc, Mutex, PoisonError};

use crate::store::log::{Recent, Stored};
use crate::store::{Event, Seq, ShardId};

#[derive(Debug, Default)]
pub(super) struct Latest(Mutex<Option<Run>>);

#[derive(Debug)]
struct Run {
    shard: ShardId,
    tail: Seq,
    events: Arc<Recent>,
}

impl Latest {
    /// Adds what was just kept, which is something; returns the number after it.
    pub fn add(&self, shard: ShardId, events: impl Iterator<Item = Arc<Event>>) -> Seq {
        let events: Vec<_> = events.map(|event| Stored { event, key: None }).collect();
        let first = events.first().map_or(Seq(0), |stored| stored.event.place.seq);
        let mut run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if run.as_ref().is_none_or(|run| run.shard != shard || run.tail != first) {
            *run = None;
        }
        let run = run.get_or_insert_with(|| Run { shard, tail: first, events: Arc::default() });
        run.tail = Seq(first.0 + events.len() as u64);
        run.events.add(events.into_iter());
        run.tail
    }

    /// Events from `from` on, if that one is here.
    pub fn read(
        &self,
        shard: ShardId,
        from: Seq,
        max_events: usize,
        max_bytes: usize,
    ) -> Option<Vec<Arc<Event>>> {
        let run = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let events = Arc::clone(&run.as_ref().filter(|run| run.shard == shard)?.events);
        drop(run);
        let found = events.read(from, max_events, max_bytes)?;
        Some(found.into_iter().map(|stored| stored.event).collect())
    }

    /// Lets go of them: retention may have removed some.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
