//! What operators ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Kept, MemoryStore, SHARD};
use crate::store::standing::{Outcome, Standing};
use crate::store::{
    Answer, Attempt, DeadLetter, Delivery, Event, EventDetail, EventFilter, EventId, EventSummary, Page,
    Query, Seq, SubscriberFigures,
};

impl Query for MemoryStore {
    fn events(
        &self,
        filter: EventFilter,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<EventSummary>> {
        let kept = self.kept();
        let before = Seq(cursor.map_or(u64::MAX, |cursor| cursor.parse().unwrap_or(0)));
        let older = kept.events.iter().rev().filter(|event| event.place.seq < before);
        let mut matching = older.filter(|event| filter.matches(event)).peekable();
        let rows: Vec<EventSummary> =
            matching.by_ref().take(limit).map(|event| kept.summary(event)).collect();
        let more = matching.peek().is_some();
        let next_cursor = rows.last().filter(|_| more).map(|row| row.place.seq.0.to_string());
        Self::answer(Ok(Page { rows, next_cursor }))
    }

    fn event(&self, id: EventId) -> Answer<'_, Option<EventDetail>> {
        let kept = self.kept();
        let detail = kept.seq_of(id).and_then(|seq| kept.at(seq)).map(|event| {
            let tried = kept.attempts.get(&event.place.seq).map(Vec::as_slice).unwrap_or_default();
            let mut attempts: Vec<Attempt> = tried.iter().map(|(attempt, _)| attempt.clone()).collect();
            attempts.sort_by_key(|attempt| attempt.at);
            EventDetail { summary: kept.summary(event), attempts }
        });
        Self::answer(Ok(detail))
    }

    fn body(&self, id: EventId) -> Answer<'_, Option<Arc<Event>>> {
        let kept = self.kept();
        Self::answer(Ok(kept.seq_of(id).and_then(|seq| kept.at(seq)).cloned()))
    }

    fn dead_letters(
        &self,
        subscriber: Option<String>,
        limit: usize,
        cursor: Option<String>,
    ) -> Answer<'_, Page<DeadLetter>> {
        let kept = self.kept();
        let before = cursor.map_or(u64::MAX, |cursor| cursor.parse().unwrap_or(0));
        let older = kept.dead.range(..before).rev();
        let mut own = older
            .filter(|(_, dead)| subscriber.as_ref().is_none_or(|name| *name == dead.letter.subscriber))
            .peekable();
        let page: Vec<(u64, DeadLetter)> =
            own.by_ref().take(limit).map(|(name, dead)| (*name, dead.letter.clone())).collect();
        let more = own.peek().is_some();
        let next_cursor = page.last().filter(|_| more).map(|(name, _)| name.to_string());
        let rows = page.into_iter().map(|(_, letter)| letter).collect();
        Self::answer(Ok(Page { rows, next_cursor }))
    }

    fn figures(&self) -> Answer<'_, Vec<SubscriberFigures>> {
        let kept = self.kept();
        let figures = kept.subscribers.iter().map(|(name, standing)| kept.figures(name, standing)).collect();
        Self::answer(Ok(figures))
    }

    fn size(&self) -> Answer<'_, (u64, u64)> {
        let bytes = self.kept().events.iter().map(|event| event.body.len() as u64).sum();
        Self::answer(Ok((bytes, u64::MAX)))
    }
}

impl Kept {
    fn summary(&self, event: &Event) -> EventSummary {
        let deliveries =
            self.subscribers.iter().filter_map(|(name, standing)| self.delivery(event, name, standing));
        EventSummary {
            place: event.place,
            id: event.id,
            received_at: event.received_at,
            app: event.app.to_string(),
            kind: event.kind,
            label: event.label.as_deref().map(str::to_owned),
            task_id: event.task_id.clone(),
            call_sn: event.call_sn.clone(),
            size_bytes: event.body.len() as u64,
            deliveries: deliveries.collect(),
        }
    }

    fn delivery(&self, event: &Event, name: &str, standing: &Standing) -> Option<Delivery> {
        let seq = event.place.seq;
        let tried = self.attempts.get(&seq).map(Vec::as_slice).unwrap_or_default();
        let own: Vec<&(Attempt, Outcome)> =
            tried.iter().filter(|(attempt, _)| *attempt.subscriber == *name).collect();
        let last = own.last();
        let dead = self.dead.values().any(|dead| dead.seq == seq && dead.letter.subscriber == name);
        Some(Delivery {
            subscriber: name.to_owned(),
            state: standing.state(seq, dead, last.map(|(_, outcome)| *outcome))?,
            attempts: own.len().try_into().unwrap_or(u32::MAX),
            next_attempt_at: standing.retries.get(seq).map(|row| row.due),
            last_error: last.and_then(|(attempt, _)| attempt.error.clone()),
        })
    }

    fn figures(&self, name: &str, standing: &Standing) -> SubscriberFigures {
        let mut ahead = BTreeMap::new();
        for event in self.from(standing.frontier) {
            *ahead.entry((event.app.to_string(), event.kind)).or_default() += 1;
        }
        let waiting = self.at(standing.frontier).into_iter();
        let waiting = waiting.chain(standing.retries.oldest().and_then(|seq| self.at(seq)));
        SubscriberFigures {
            name: name.to_owned(),
            paused: standing.paused,
            frontiers: vec![(SHARD, standing.frontier)],
            ahead: ahead.into_iter().map(|((app, kind), count)| (app, kind, count)).collect(),
            oldest: waiting.map(|event| event.received_at).min(),
            retrying: standing.retries.len() as u64,
            replaying: self.replaying(name),
            delivered: standing.delivered,
            failed: standing.failed,
            dead: self.dead.values().filter(|dead| dead.letter.subscriber == name).count() as u64,
            expired: standing.expired,
        }
    }

    pub(super) fn replaying(&self, name: &str) -> u64 {
        let replays = self.subscribers.get(name).map(|standing| standing.replays.as_slice());
        let left = replays.unwrap_or_default().iter().flat_map(|replay| {
            let events = self.from(replay.next).iter();
            let events = events.take_while(|event| event.place.seq < replay.end);
            events.filter(|event| replay.filter.matches(event))
        });
        left.count() as u64
    }
}
