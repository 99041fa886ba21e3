//! The latest events, in memory: whoever follows the log closely reads no file.

use std::collections::VecDeque;
use std::sync::{PoisonError, RwLock};

use super::record::Stored;
use crate::store::Seq;

/// Most of them, and most bytes of their bodies.
const MAX_EVENTS: usize = 4096;
const MAX_BYTES: usize = 8 << 20;

#[derive(Debug, Default)]
pub(in crate::store) struct Recent(RwLock<Events>);

#[derive(Debug, Default)]
struct Events {
    events: VecDeque<Stored>,
    bytes: usize,
}

impl Recent {
    /// Adds what follows what is there.
    pub fn add(&self, events: impl Iterator<Item = Stored>) {
        let mut recent = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for stored in events {
            recent.bytes += stored.event.body.len();
            recent.events.push_back(stored);
        }
        while recent.events.len() > MAX_EVENTS || recent.bytes > MAX_BYTES {
            let Some(oldest) = recent.events.pop_front() else { break };
            recent.bytes -= oldest.event.body.len();
        }
    }

    /// Events from `from` on, if that one is here.
    pub fn read(&self, from: Seq, max_events: usize, max_bytes: usize) -> Option<Vec<Stored>> {
        let recent = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let first = recent.events.front()?.event.place.seq;
        let index = usize::try_from(from.0.checked_sub(first.0)?).ok()?;
        let mut bytes = 0;
        let fits = |stored: &&Stored| {
            bytes += stored.event.body.len();
            bytes <= max_bytes || bytes == stored.event.body.len()
        };
        let found: Vec<Stored> = recent
            .events
            .range(index.min(recent.events.len())..)
            .take(max_events)
            .take_while(fits)
            .cloned()
            .collect();
        (!found.is_empty()).then_some(found)
    }
}
