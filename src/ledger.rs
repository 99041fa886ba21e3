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
use crate::store::{Event, LedgerKey, LedgerStart, Seq, ShardId, Store, StoreError};
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

/// Follows the log of every shard; does not end.
pub async fn follow(store: Arc<dyn Store>, figures: Arc<Figures>) {
    let mut shards = BTreeMap::<ShardId, Shard>::new();
    let mut refreshed = None::<tokio::time::Instant>;
    loop {
        if refreshed.is_none_or(|at| at.elapsed() >= REFRESH) {
            refresh(&*store, &figures).await;
            refreshed = Some(tokio::time::Instant::now());
        }
        let here: BTreeSet<ShardId> = store.shards().borrow().iter().copied().collect();
        shards.retain(|id, _| here.contains(id));
        let mut more = false;
        for id in here {
            match step(&*store, &mut shards, id).await {
                Ok(left) => more |= left,
                Err(error) => {
                    tracing::warn!(%error, "the ledger of batches is kept later");
                    // What is at hand may be ahead of what is written.
                    shards.remove(&id);
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
async fn step(
    store: &dyn Store,
    shards: &mut BTreeMap<ShardId, Shard>,
    id: ShardId,
) -> Result<bool, StoreError> {
    let tail = *store.tail(id).borrow();
    let shard = match shards.remove(&id) {
        Some(shard) => shard,
        None => Shard::begin(store.ledger(id).await?, tail),
    };
    let shard = shards.entry(id).or_insert(shard);
    if shard.next >= tail {
        return Ok(false);
    }
    let run = store.read(id, shard.next, MAX_EVENTS, MAX_BYTES).await?;
    let touched = shard.take_in(store, &run.events).await?;
    shard.next = run.next;
    if !touched.is_empty() || shard.next.0 - shard.written.0 >= MAX_UNWRITTEN {
        let entries =
            touched.iter().filter_map(|name| shard.books.get_mut(name).map(|book| book.entry(name)));
        store.enter_batches(id, shard.next, entries.collect()).await?;
        shard.written = shard.next;
    }
    shard.let_go();
    Ok(shard.next < tail)
}

/// App and `call_sn`.
type Name = (Arc<str>, String);

/// How far the ledger has come in a shard, and the batches at hand.
struct Shard {
    next: Seq,
    written: Seq,
    key: LedgerKey,
    books: BTreeMap<Name, Book>,
    steps: u64,
    max_at_hand: usize,
}

impl Shard {
    fn begin(start: LedgerStart, tail: Seq) -> Self {
        // A log that was lost begins anew.
        let next = if start.next > tail { Seq(1) } else { start.next };
        let books = BTreeMap::new();
        Self { next, written: next, key: start.key, books, steps: 0, max_at_hand: MAX_AT_HAND }
    }

    /// Books what events tell; which batches that concerns.
    async fn take_in(
        &mut self,
        store: &dyn Store,
        events: &[Arc<Event>],
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
                book.enter(&told, event, &self.key);
                book.touched = self.steps;
            }
            touched.insert(name);
        }
        Ok(touched)
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
