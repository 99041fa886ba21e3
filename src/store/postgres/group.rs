//! What waits to be kept, as one group.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::store::{Appended, DuplicateKey, NewEvent, StoreError};

/// What an append comes to.
pub(super) type Outcome = Result<Appended, StoreError>;

/// An event, and who waits for what becomes of it.
#[derive(Debug)]
pub(super) struct Waiting {
    pub event: NewEvent,
    pub answer: oneshot::Sender<Outcome>,
    pub permit: OwnedSemaphorePermit,
}

/// Who waits for a group. An event whose like is in the group is not written: what becomes of that one tells.
#[derive(Debug)]
pub(super) struct Group {
    answers: Vec<(oneshot::Sender<Outcome>, OwnedSemaphorePermit)>,
    /// Each with the number of its like.
    repeats: Vec<(usize, Waiting)>,
}

impl Group {
    /// The events to be written, and who waits. What has the key of another, but asks about a time after that one
    /// came, is for the next group: in this one no key is twice.
    pub fn of(group: Vec<Waiting>, again: &mut VecDeque<Waiting>) -> (Vec<NewEvent>, Self) {
        let mut events = Vec::<NewEvent>::with_capacity(group.len());
        let mut own = Self { answers: Vec::with_capacity(group.len()), repeats: Vec::new() };
        let mut known = HashMap::<DuplicateKey, usize>::new();
        let mut later = VecDeque::new();
        for waiting in group {
            if let Some((key, since)) = waiting.event.unless_since {
                match known.entry(key) {
                    Entry::Occupied(like) if events[*like.get()].received_at >= since => {
                        own.repeats.push((*like.get(), waiting));
                        continue;
                    }
                    Entry::Occupied(_) => {
                        later.push_back(waiting);
                        continue;
                    }
                    Entry::Vacant(place) => _ = place.insert(events.len()),
                }
            }
            events.push(waiting.event);
            own.answers.push((waiting.answer, waiting.permit));
        }
        later.append(again);
        *again = later;
        (events, own)
    }

    /// Tells everybody. What repeats one that was itself refused is asked for again, since that one may have come
    /// before the time that it asks about.
    pub fn answer(self, events: &[NewEvent], outcomes: Vec<Outcome>, again: &mut VecDeque<Waiting>) {
        for (like, waiting) in self.repeats {
            match outcomes.get(like) {
                Some(Ok(Appended::Kept(_))) => {
                    waiting.answer.send(Ok(Appended::Duplicate(events[like].id))).ok();
                }
                Some(Err(error)) => _ = waiting.answer.send(Err(error.clone())),
                Some(Ok(Appended::Duplicate(_))) | None => again.push_back(waiting),
            }
        }
        for ((answer, _permit), outcome) in self.answers.into_iter().zip(outcomes) {
            answer.send(outcome).ok();
        }
    }
}
