//! What operators do to it.

use jiff::Timestamp;

use super::{Dead, Kept, MAX_RETRIES, MemoryStore, SHARD};
use crate::store::standing::RetryRow;
use crate::store::{Answer, EventFilter, EventId, Operate, Replay, ReplayId, Seq, StoreError};

impl MemoryStore {
    /// Does it, and lets those know who follow the store.
    fn operate<T: Send + 'static>(&self, act: impl FnOnce(&mut Kept) -> T) -> Answer<'static, T> {
        let mut kept = self.kept();
        let done = match kept.refusing.clone() {
            Some(why) => Err::<T, StoreError>(why),
            None => Ok(act(&mut kept)),
        };
        drop(kept);
        self.changed();
        Self::answer(done)
    }
}

impl Operate for MemoryStore {
    fn set_paused(&self, subscriber: &str, paused: bool) -> Answer<'_, bool> {
        self.operate(|kept| match kept.subscribers.get_mut(subscriber) {
            Some(standing) => {
                standing.paused = paused;
                true
            }
            None => false,
        })
    }

    fn purge(&self, subscriber: &str) -> Answer<'_, u64> {
        self.operate(|kept| {
            let left = kept.replaying(subscriber);
            let tail = kept.tail();
            kept.subscribers.get_mut(subscriber).map_or(0, |standing| left + standing.purge(tail))
        })
    }

    fn forget(&self, subscriber: &str) -> Answer<'_, bool> {
        self.operate(|kept| {
            kept.dead.retain(|_, dead| dead.letter.subscriber != subscriber);
            for attempts in kept.attempts.values_mut() {
                attempts.retain(|(attempt, _)| *attempt.subscriber != *subscriber);
            }
            kept.subscribers.remove(subscriber).is_some()
        })
    }

    fn replay(&self, subscriber: &str, filter: EventFilter) -> Answer<'_, u64> {
        self.operate(|kept| {
            let count = kept.events.iter().filter(|event| filter.matches(event)).count() as u64;
            let id = ReplayId(i64::try_from(kept.name_one()).unwrap_or(i64::MAX));
            let (next, end) = (kept.first(), kept.tail());
            let Some(standing) = kept.subscribers.get_mut(subscriber) else { return 0 };
            if count > 0 {
                standing.replays.push(Replay { id, shard: SHARD, next, end, filter });
            }
            count
        })
    }

    fn replay_ids(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        self.operate(|kept| {
            let seqs: Vec<Seq> = ids.into_iter().filter_map(|id| kept.seq_of(id)).collect();
            kept.try_again(subscriber, &seqs)
        })
    }

    fn revive(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        self.operate(|kept| {
            let mut seqs = kept.dead_of(subscriber, &ids);
            seqs.truncate(kept.subscribers.get(subscriber).map_or(0, |standing| standing.retries.room()));
            kept.dead.retain(|_, dead| dead.letter.subscriber != subscriber || !seqs.contains(&dead.seq));
            kept.try_again(subscriber, &seqs)
        })
    }

    fn discard(&self, subscriber: &str, ids: Vec<EventId>) -> Answer<'_, u64> {
        self.operate(|kept| {
            let seqs = kept.dead_of(subscriber, &ids);
            kept.dead.retain(|_, dead| dead.letter.subscriber != subscriber || !seqs.contains(&dead.seq));
            seqs.len() as u64
        })
    }
}

impl Kept {
    fn dead_of(&self, subscriber: &str, ids: &[EventId]) -> Vec<Seq> {
        let meant = |dead: &&Dead| {
            dead.letter.subscriber == subscriber && (ids.is_empty() || ids.contains(&dead.letter.event_id))
        };
        self.dead.values().filter(meant).map(|dead| dead.seq).collect()
    }

    fn try_again(&mut self, subscriber: &str, seqs: &[Seq]) -> u64 {
        let now = Timestamp::now();
        let tried: Vec<u32> = seqs.iter().map(|seq| self.tries(subscriber, *seq)).collect();
        let Some(standing) = self.subscribers.get_mut(subscriber) else { return 0 };
        let mut count = 0;
        for (seq, attempts) in seqs.iter().zip(tried) {
            if standing.retries.get(*seq).is_none() && standing.retries.len() >= MAX_RETRIES {
                continue;
            }
            standing.retries.put(*seq, RetryRow { due: now, attempts, spent: 0 });
            count += 1;
        }
        count
    }

    fn tries(&self, subscriber: &str, seq: Seq) -> u32 {
        let attempts = self.attempts.get(&seq).map(Vec::as_slice).unwrap_or_default();
        let own = attempts.iter().filter(|(attempt, _)| *attempt.subscriber == *subscriber);
        own.map(|(attempt, _)| attempt.number).max().unwrap_or(0)
    }
}
