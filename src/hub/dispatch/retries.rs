//! What of a subscriber's retry set is due, fetched as it is needed.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

use crate::store::{Event, Fate, MAX_RETRIES, Place, Retry, Settled};

/// Rows fetched at once.
pub const AT_ONCE: usize = 32;
/// Most bytes of bodies that wait here: what lies beyond is fetched again later.
const MOST_BYTES: usize = 8 << 20;

/// Retries that are due, and those that the store does not hold yet.
#[derive(Debug, Default)]
pub struct Retries {
    ready: VecDeque<Retry>,
    /// When the store is to be asked again; `None`: nothing is due but what is under way.
    look_at: Option<Timestamp>,
    /// Rows in the store when last counted.
    rows: usize,
    /// Outcomes that are not written down yet. While the store can't write, what is to be tried again is
    /// tried again from here.
    unsaved: HashMap<Place, Unsaved>,
}

#[derive(Debug)]
struct Unsaved {
    outcomes: usize,
    retry: Option<Retry>,
}

impl Retries {
    /// Forgets what was fetched, and asks the store anew.
    pub fn look_again(&mut self) {
        self.ready.clear();
        self.look_at = Some(Timestamp::MIN);
    }

    /// Asks the store anew once what was fetched is used up.
    pub fn look_again_later(&mut self) {
        self.look_at = Some(Timestamp::MIN);
    }

    /// Notes how many rows there are.
    pub fn counted(&mut self, rows: usize) {
        self.rows = rows;
    }

    /// Whether nothing waits to be tried again.
    pub fn is_empty(&self) -> bool {
        self.rows == 0 && self.unsaved.is_empty()
    }

    /// Whether no event more may fail, `in_flight` being under way.
    pub fn is_full(&self, in_flight: usize) -> bool {
        self.rows + self.unsaved.len() + in_flight >= MAX_RETRIES
    }

    /// Whether the store is to be asked now.
    pub fn wants_look(&self, now: Timestamp) -> bool {
        self.ready.is_empty() && self.look_at.is_some_and(|at| at <= now)
    }

    /// Takes in what the store said is due. `under_way` tells what is being tried already.
    pub fn fetched(&mut self, due: Vec<Retry>, under_way: impl Fn(Place) -> bool) {
        let mut bytes = 0;
        let free = due
            .into_iter()
            .filter(|retry| !under_way(retry.event.place) && !self.unsaved.contains_key(&retry.event.place));
        self.ready = free
            .take_while(|retry| {
                let first = bytes == 0;
                bytes += retry.event.body.len().max(1);
                first || bytes <= MOST_BYTES
            })
            .collect();
    }

    /// Whether something is ready.
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The store is to be asked again then.
    pub fn next_look(&mut self, at: Option<Timestamp>) {
        self.look_at = at;
    }

    /// When something will be due that is not yet.
    pub fn next_due(&self) -> Option<Timestamp> {
        let unsaved = self.unsaved.values().filter_map(|unsaved| Some(unsaved.retry.as_ref()?.due));
        let look_at = self.look_at.filter(|_| self.ready.is_empty());
        unsaved.chain(look_at).min()
    }

    /// The longest due of those that may be tried.
    pub fn first(&self, now: Timestamp, may: impl Fn(Place) -> bool) -> Option<Place> {
        let unsaved = self.unsaved.values().filter_map(|unsaved| unsaved.retry.as_ref());
        let unsaved = unsaved.filter(|retry| retry.due <= now);
        let all = self.ready.iter().chain(unsaved).map(|retry| (retry.due, retry.event.place));
        all.filter(|(_, place)| may(*place)).min().map(|(_, place)| place)
    }

    /// Takes the retry of that place.
    pub fn take(&mut self, place: Place) -> Option<Retry> {
        match self.ready.iter().position(|retry| retry.event.place == place) {
            Some(at) => self.ready.remove(at),
            None => self.unsaved.get_mut(&place)?.retry.take(),
        }
    }

    /// An outcome is on its way to the store.
    pub fn noted(&mut self, settled: &Settled, event: std::sync::Arc<Event>, attempts: u32) {
        let retry = match settled.fate {
            Fate::Retry { due, spent } => Some(Retry { event, due, attempts, spent }),
            Fate::Delivered | Fate::Dead => None,
        };
        let unsaved = self.unsaved.entry(settled.place).or_insert(Unsaved { outcomes: 0, retry: None });
        unsaved.outcomes += 1;
        unsaved.retry = retry;
    }

    /// An outcome is durable. Returns whether it was one of those [noted](Self::noted).
    pub fn saved(&mut self, settled: &Settled) -> bool {
        let Some(unsaved) = self.unsaved.get_mut(&settled.place) else { return false };
        unsaved.outcomes -= 1;
        if unsaved.outcomes == 0 {
            self.unsaved.remove(&settled.place);
        }
        // Perhaps one too many, until they are counted: an ordered queue is rather held than not.
        self.rows += usize::from(matches!(settled.fate, Fate::Retry { .. }));
        true
    }
}
