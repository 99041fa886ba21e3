//! The segments that there are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::disk::Disk;
use super::recent::Recent;
use super::segment::Segment;
use crate::store::{Seq, ShardId};

/// Places where reads ended that are remembered: one for each who follows the log.
const MAX_CURSORS: usize = 64;

pub(in crate::store) struct Shelf {
    pub(super) disk: Arc<dyn Disk>,
    pub shard: ShardId,
    /// In order; the last one is written to.
    segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) recent: Recent,
    cursors: Mutex<Vec<Cursor>>,
    /// What a reader may see ends here.
    tail: AtomicU64,
    bytes: AtomicU64,
}

/// Where the record of `seq` begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor {
    pub seq: Seq,
    pub segment: (Seq, u32),
    pub offset: u64,
}

impl Shelf {
    pub(super) fn new(disk: Arc<dyn Disk>, shard: ShardId, segments: Vec<Arc<Segment>>, tail: Seq) -> Self {
        let bytes = segments.iter().map(|segment| segment.extent().end).sum();
        Self {
            disk,
            shard,
            segments: RwLock::new(segments),
            recent: Recent::default(),
            cursors: Mutex::default(),
            tail: AtomicU64::new(tail.0),
            bytes: AtomicU64::new(bytes),
        }
    }

    /// The number of the next event.
    pub fn tail(&self) -> Seq {
        Seq(self.tail.load(Ordering::Acquire))
    }

    pub(super) fn set_tail(&self, tail: Seq) {
        self.tail.store(tail.0, Ordering::Release);
    }

    /// Bytes on the disk.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn grow(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The first event that there is; the tail, if there is none.
    pub fn first(&self) -> Seq {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(self.tail(), |segment| segment.first)
    }

    pub(super) fn all(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn add(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push(segment);
    }

    pub(super) fn drop_last(&self) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).pop();
    }

    /// The segment that `seq` is in, or else the first after it.
    pub(super) fn holding(&self, seq: Seq) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let after = segments.partition_point(|segment| segment.first <= seq);
        let before = after.checked_sub(1).and_then(|index| segments.get(index));
        before.filter(|segment| seq < segment.extent().next).or_else(|| segments.get(after)).cloned()
    }

    /// When the earliest event came of the segment that is written to.
    pub fn writing_since(&self) -> Option<i64> {
        self.all().last().and_then(|segment| segment.extent().times).map(|(early, _)| early)
    }

    /// Where events end that all came before `at`, as far as whole segments go. The one that is written to
    /// goes nowhere.
    pub fn older_than(&self, at: i64) -> Seq {
        let segments = self.all();
        let settled = segments.split_last().map_or(&segments[..], |(_, settled)| settled);
        let old =
            settled.iter().take_while(|segment| segment.extent().times.is_none_or(|(_, late)| late < at));
        let count = old.count();
        segments.get(count).map_or(self.tail(), |segment| segment.first)
    }

    /// Where the segments end that end at or before `seq`; the one that is written to goes nowhere.
    pub fn whole_before(&self, seq: Seq) -> Seq {
        let segments = self.all();
        let ended = segments.iter().skip(1).take_while(|segment| segment.first <= seq);
        ended.last().map_or(self.first(), |segment| segment.first)
    }

    /// Removes the segments that end at or before `seq`.
    ///
    /// # Errors
    /// A file could not be removed. It is not read any more, and is found again at the next start.
    pub fn remove_before(&self, seq: Seq) -> std::io::Result<()> {
        let gone: Vec<Arc<Segment>> = {
            let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
            let keep = segments.len().saturating_sub(1);
            let count = segments[..keep].iter().take_while(|segment| segment.extent().next <= seq).count();
            segments.drain(..count).collect()
        };
        for segment in &gone {
            self.bytes.fetch_sub(segment.extent().end.min(self.bytes()), Ordering::Relaxed);
            self.disk.remove(&segment.name())?;
        }
        if gone.is_empty() { Ok(()) } else { self.disk.sync() }
    }

    pub(super) fn cursor(&self, seq: Seq, segment: &Segment) -> Option<u64> {
        let cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        let here = (segment.first, segment.generation);
        cursors.iter().find(|cursor| cursor.seq == seq && cursor.segment == here).map(|cursor| cursor.offset)
    }

    pub(super) fn remember(&self, from: Seq, cursor: Cursor) {
        let mut cursors = self.cursors.lock().unwrap_or_else(PoisonError::into_inner);
        cursors.retain(|old| old.seq != from && old.seq != cursor.seq);
        if cursors.len() >= MAX_CURSORS {
            cursors.remove(0);
        }
        cursors.push(cursor);
    }
}
