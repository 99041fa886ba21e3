//! The ledger of batches: what was submitted against what came back.
//!
//! What outnums were answered with is entered by the proxy. What call records and intents tell is taken from the
//! event log, which this follows like a subscriber, and is entered with how far it has come in one transaction:
//! a crash repeats nothing and leaves nothing out. A call is known by its id and a number by itself, both as
//! digests, so that what the SaaS pushes again, or somebody replays, is counted once.

mod book;
mod missing;
mod part;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

use self::book::Book;
use self::told::Told;
use crate::store::{BatchEntry, Event, LedgerKey, LedgerStart, Seq, ShardId, Store, StoreError};
use crate::xinyao::callback::Kind;

pub use self::missing::missing;

/// A batch that lacks numbers and of which nothing was heard for so long is quiet.
pub const QUIET_AFTER: Duration = Duration::from_hours(1);

/// What comes within this time is entered together.
const LINGER: Duration = Duration::from_secs(1);
/// How often it is counted which batches are quiet, and looked at shards.
const REFRESH: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(1);
/// Most events, and most bytes, of one entry: they are in memory meanwhile, and deliveries wait for it.
const MAX_EVENTS: usize = 1024;
const MAX_BYTES: usize = 2 << 20;
/// After so many events that tell nothing of a batch it is written down how far it has come.
const MAX_UNWRITTEN: u64 = 10_000;
/// Most calls and numbers of batches that are kept at hand, with what each batch takes beside: some 15 MiB. The
/// largest batch has 300,000; what is not at hand is read again when a record of it comes.
const MAX_AT_HAND: usize = 500_000;

/// How many batches are quiet, as of a moment ago.
#[derive(Debug, Default)]
pub struct Figures {
    quiet: AtomicU64,
}

impl Figures {
    /// How many batches are quiet.
    pub fn quiet(&self) -> u64 {
        self.quiet.load(Ordering::Relaxed)
    }
}

/// [`Figures`], for a scrape.
#[derive(Debug)]
pub struct Metrics(pub Arc<Figures>);

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let gauge = ConstGauge::new(self.0.quiet());
        let help = "Batches that lack numbers, and of which nothing was heard for an hour";
        let metric = encoder.encode_descriptor("xinyao_batches_quiet", help, None, gauge.metric_type())?;
        gauge.encode(metric)
    }
}

/// Follows the log of the shards that are this process's to follow; does not end.
pub async fn follow(store: Arc<dyn Store>, figures: Arc<Figures>) {
    let mut shards = store.ledger_shards();
    let mut desk = Desk::new();
    let mut refreshed = None::<tokio::time::Instant>;
    loop {
        if refreshed.is_none_or(|at| at.elapsed() >= REFRESH) {
            refresh(&*store, &figures).await;
            refreshed = Some(tokio::time::Instant::now());
        }
        // Another process may have kept the ledger meanwhile.
        if shards.has_changed().unwrap_or(false) {
            desk = Desk::new();
        }
        let here = Arc::clone(&shards.borrow_and_update());
        let mut more = false;
        for id in &*here {
            match step(&*store, &mut desk, *id).await {
                Ok(left) => more |= left,
                Err(error) => {
                    tracing::warn!(%error, "the ledger of batches is kept later");
                    // What is at hand may be ahead of what is written.
                    desk = Desk::new();
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if !more {
            tokio::time::sleep(LINGER).await;
        }
    }
}

async fn refresh(store: &dyn Store, figures: &Figures) {
    let before = Timestamp::now().saturating_sub(QUIET_AFTER).unwrap_or(Timestamp::MIN);
    match store.quiet_batches(before).await {
        Ok(quiet) => figures.quiet.store(quiet, Ordering::Relaxed),
        Err(error) => tracing::debug!(%error, "it is not known which batches are quiet"),
    }
}

/// Takes a part of the shard in. Whether there is more.
async fn step(store: &dyn Store, desk: &mut Desk, id: ShardId) -> Result<bool, StoreError> {
    let begun = desk.shards.remove(&id);
    let mut shard = match begun {
        Some(shard) => shard,
        None => Shard::begin(store.ledger(id).await?, *store.tail(id).borrow()),
    };
    let tail = *store.tail(id).borrow();
    if shard.next < tail {
        let run = store.read(id, shard.next, MAX_EVENTS, MAX_BYTES).await?;
        let touched = desk.books.take_in(store, &run.events, &shard.key).await?;
        shard.next = run.next;
        if !touched.is_empty() || shard.next.0 - shard.written.0 >= MAX_UNWRITTEN {
            store.enter_batches(id, shard.next, desk.books.entries(&touched)).await?;
            shard.written = shard.next;
        }
        desk.books.let_go();
    }
    let more = shard.next < tail;
    desk.shards.insert(id, shard);
    Ok(more)
}

/// App and `call_sn`.
type Name = (Arc<str>, String);

/// How far the ledger has come, and what is at hand.
struct Desk {
    shards: BTreeMap<ShardId, Shard>,
    books: Books,
}

impl Desk {
    fn new() -> Self {
        let books = Books { books: BTreeMap::new(), steps: 0, max_at_hand: MAX_AT_HAND };
        Self { shards: BTreeMap::new(), books }
    }
}

/// How far the ledger has come in a shard.
struct Shard {
    next: Seq,
    written: Seq,
    key: LedgerKey,
}

impl Shard {
    fn begin(start: LedgerStart, tail: Seq) -> Self {
        // A log that was lost begins anew.
        let next = if start.next > tail { Seq(1) } else { start.next };
        Self { next, written: next, key: start.key }
    }
}

/// The batches at hand. The calls of one may stand in any shard.
struct Books {
    books: BTreeMap<Name, Book>,
    steps: u64,
    max_at_hand: usize,
}

impl Books {
    /// Books what events tell; which batches that concerns.
    async fn take_in(
        &mut self,
        store: &dyn Store,
        events: &[Arc<Event>],
        key: &LedgerKey,
    ) -> Result<BTreeSet<Name>, StoreError> {
        self.steps += 1;
        let mut touched = BTreeSet::new();
        for event in events {
            let Some(call_sn) = event.call_sn.as_ref().filter(|_| tells(event.kind)) else { continue };
            let Some(told) = Told::of(&event.body) else { continue };
            let name = (Arc::clone(&event.app), call_sn.clone());
            if !self.books.contains_key(&name) {
                let parts = store.batch_parts(&name.0, &name.1).await?;
                self.books.insert(name.clone(), Book::read(&parts));
            }
            if let Some(book) = self.books.get_mut(&name) {
                book.enter(&told, event, key);
                book.touched = self.steps;
            }
            touched.insert(name);
        }
        Ok(touched)
    }

    fn entries(&mut self, touched: &BTreeSet<Name>) -> Vec<BatchEntry> {
        touched.iter().filter_map(|name| self.books.get_mut(name).map(|book| book.entry(name))).collect()
    }

    /// Lets go of the batches that were not heard of for the longest, until half of the room is free: not at
    /// every step. The latest stays, however large.
    fn let_go(&mut self) {
        let mut size: usize = self.books.values().map(Book::size).sum();
        if size <= self.max_at_hand {
            return;
        }
        let ages = self.books.iter().map(|(name, book)| (book.touched, name.clone()));
        let mut ages: Vec<(u64, Name)> = ages.collect();
        ages.sort_unstable();
        ages.pop();
        for (_, name) in ages {
            if size <= self.max_at_hand / 2 {
                return;
            }
            size -= self.books.remove(&name).map_or(0, |book| book.size());
        }
    }
}

fn tells(kind: Kind) -> bool {
    matches!(kind, Kind::CallRecord | Kind::IntentResult)
}

#[cfg(test)]
mod tests;
