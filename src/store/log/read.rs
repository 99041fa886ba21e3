//! Events come back, from memory if they are recent, else from their segment.

use std::io;

use super::record::{self, HEAD, Head, Stored};
use super::segment::Segment;
use super::shelf::{Cursor, Shelf};
use crate::store::{Gap, Seq, ShardId};

/// Read at once, by those who follow the log and by those who want a few; a longer record is read by itself.
const CHUNK: usize = 256 * 1024;
const SMALL_CHUNK: usize = 32 * 1024;
const FEW: usize = 8;

/// Events without a gap between them.
#[derive(Debug, Default)]
pub(in crate::store) struct Run {
    pub events: Vec<Stored>,
    /// Where the next read begins.
    pub next: Seq,
    /// What is missing before the first.
    pub gap: Option<Gap>,
}

impl Shelf {
    /// The same, if that needs no file.
    pub fn in_memory(&self, from: Seq, max_events: usize, max_bytes: usize) -> Option<Run> {
        if from >= self.tail() || max_events == 0 {
            return Some(Run { next: from, ..Run::default() });
        }
        let begin = from.max(self.first());
        self.recent.read(begin, max_events, max_bytes).map(|events| run(from, begin, events))
    }

    /// Events from `from` on: at most `max_events`, and no more after `max_bytes` of bodies (one at least).
    pub fn read(&self, from: Seq, max_events: usize, max_bytes: usize) -> io::Result<Run> {
        if let Some(run) = self.in_memory(from, max_events, max_bytes) {
            return Ok(run);
        }
        let mut begin = from;
        let (mut events, mut bytes): (Vec<Stored>, usize) = (Vec::new(), 0);
        while let Some(segment) = self.holding(begin) {
            if events.is_empty() {
                begin = begin.max(segment.first);
            }
            let at_once = if max_events <= FEW { SMALL_CHUNK } else { CHUNK };
            let mut walk = Walk::new(self, &segment, begin, at_once);
            walk.collect(&mut events, &mut bytes, max_events, max_bytes)?;
            self.remember(from, walk.cursor(&segment));
            let next = events.last().map_or(begin, |stored| stored.event.place.seq.next());
            if !events.is_empty() && (next < segment.extent().next || segment.first > next) {
                break;
            }
            // All of it is read, or nothing of it can be read from here on.
            begin = segment.extent().next.max(begin.next());
        }
        if events.is_empty() {
            let until = self.tail();
            return Ok(Run { next: until, gap: Some(Gap { from, until }), events });
        }
        Ok(run(from, from, events))
    }
}

fn run(from: Seq, begin: Seq, events: Vec<Stored>) -> Run {
    let first = events.first().map_or(begin, |stored| stored.event.place.seq);
    let next = events.last().map_or(begin, |stored| stored.event.place.seq.next());
    let gap = (first > from).then_some(Gap { from, until: first });
    Run { events, next, gap }
}

/// A way through a segment.
struct Walk<'a> {
    segment: &'a Segment,
    shard: ShardId,
    end: u64,
    from: Seq,
    /// The next record is here.
    offset: u64,
    expected: Option<Seq>,
    at_once: usize,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Walk<'a> {
    fn new(shelf: &Shelf, segment: &'a Segment, from: Seq, at_once: usize) -> Self {
        let extent = segment.extent();
        let offset = shelf.cursor(from, segment).unwrap_or_else(|| extent.landmark(from));
        let end = extent.end;
        drop(extent);
        let shard = shelf.shard;
        Self { segment, shard, end, from, offset, expected: None, at_once, chunk: Vec::new(), chunk_at: 0 }
    }

    fn cursor(&self, segment: &Segment) -> Cursor {
        let seq = self.expected.unwrap_or(self.from);
        Cursor { seq, segment: (segment.first, segment.generation), offset: self.offset }
    }

    /// Adds what follows `events` without a gap, as far as there is room.
    fn collect(
        &mut self,
        events: &mut Vec<Stored>,
        bytes: &mut usize,
        max_events: usize,
        max_bytes: usize,
    ) -> io::Result<()> {
        self.expected = events.last().map(|stored| stored.event.place.seq.next());
        while events.len() < max_events && self.offset < self.end {
            if self.skip()? {
                continue;
            }
            let before = self.offset;
            let Some(stored) = self.step()? else { break };
            let seq = stored.event.place.seq;
            if seq < self.from {
                continue;
            }
            *bytes += stored.event.body.len();
            let apart = self.expected.is_some_and(|expected| expected != seq);
            if !events.is_empty() && (apart || *bytes > max_bytes) {
                self.offset = before;
                break;
            }
            self.expected = Some(seq.next());
            events.push(stored);
        }
        Ok(())
    }

    /// Passes a record that stands before what is asked for, if the one after it follows it: then its
    /// length is right, and nobody is concerned whether the rest of it is sound.
    fn skip(&mut self) -> io::Result<bool> {
        let before = self.offset;
        let Some((head, seq)) = self.peek()?.filter(|(_, seq)| *seq < self.from) else { return Ok(false) };
        self.offset += head.size() as u64;
        let follows = self.offset < self.end && self.peek()?.is_some_and(|(_, next)| next == seq.next());
        if !follows {
            self.offset = before;
        }
        Ok(follows)
    }

    fn peek(&mut self) -> io::Result<Option<(Head, Seq)>> {
        let bytes = self.bytes(HEAD + record::PEEK)?;
        Ok(Head::of(bytes).zip(bytes.get(HEAD..).and_then(record::seq_of)))
    }

    /// The next good record; `None` at the end.
    fn step(&mut self) -> io::Result<Option<Stored>> {
        while self.offset < self.end {
            if let Some((size, stored)) = self.record()? {
                self.offset += size as u64;
                return Ok(Some(stored));
            }
            tracing::error!(
                segment = self.segment.name(),
                offset = self.offset,
                "a record of the event log is damaged; reading on behind it"
            );
            self.offset =
                find(self.segment, self.offset + 1, self.end)?.map_or(self.end, |(offset, _)| offset);
        }
        Ok(None)
    }

    fn record(&mut self) -> io::Result<Option<(usize, Stored)>> {
        let Some(head) = Head::of(self.bytes(HEAD)?) else { return Ok(None) };
        if head.size() as u64 > self.end - self.offset {
            return Ok(None);
        }
        let (salt, shard) = (self.segment.salt, self.shard);
        let bytes = self.bytes(head.size())?;
        let sound = head.holds(bytes, salt);
        Ok(sound.then(|| record::decode(&bytes[HEAD..], shard)).flatten().map(|stored| (head.size(), stored)))
    }

    /// `count` bytes from the offset on; fewer at the end.
    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        let have = self.chunk_at + self.chunk.len() as u64;
        if self.offset < self.chunk_at || self.offset + count as u64 > have {
            let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
            self.chunk.resize(count.max(self.at_once).min(left), 0);
            let read = self.segment.file.read_at(self.offset, &mut self.chunk)?;
            self.chunk.truncate(read);
            self.chunk_at = self.offset;
        }
        let start = usize::try_from(self.offset - self.chunk_at).unwrap_or(usize::MAX);
        Ok(self.chunk.get(start..(start + count).min(self.chunk.len())).unwrap_or_default())
    }
}

/// The first good record from `from` on: its offset and head.
pub(super) fn find(segment: &Segment, from: u64, end: u64) -> io::Result<Option<(u64, Head)>> {
    let mut at = from;
    let mut chunk = vec![0; CHUNK];
    while at + (HEAD as u64) < end {
        let left = usize::try_from(end - at).unwrap_or(usize::MAX);
        let read = segment.file.read_at(at, &mut chunk[..CHUNK.min(left)])?;
        if read < HEAD {
            break;
        }
        for place in memchr::memmem::find_iter(&chunk[..read], &record::MAGIC) {
            let offset = at + place as u64;
            if let Some(head) = sound_at(segment, offset, end)? {
                return Ok(Some((offset, head)));
            }
        }
        // A magic number may stand across the end of the chunk.
        at += (read - record::MAGIC.len() + 1) as u64;
    }
    Ok(None)
}

fn sound_at(segment: &Segment, offset: u64, end: u64) -> io::Result<Option<Head>> {
    let mut head = [0; HEAD];
    segment.file.read_at(offset, &mut head)?;
    let Some(head) = Head::of(&head).filter(|head| offset + head.size() as u64 <= end) else {
        return Ok(None);
    };
    let mut bytes = vec![0; head.size()];
    let read = segment.file.read_at(offset, &mut bytes)?;
    Ok((read == bytes.len() && head.holds(&bytes, segment.salt)).then_some(head))
}
