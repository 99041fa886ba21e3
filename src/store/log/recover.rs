//! What is there after a crash, or after an orderly end.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::read::find;
use super::record::{self, HEAD, Head};
use super::segment::{self, Extent, HEADER, Segment};
use super::shelf::Shelf;
use crate::store::{Gap, Seq, ShardId};

const CHUNK: usize = 1 << 20;

/// What was found when the store was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Events in the log.
    pub events: u64,
    /// Bytes of a torn tail that were cut. Nobody was told that they were kept.
    pub cut_bytes: u64,
    /// Events that were kept and can't be read any more: the disk has lost them. An alarm.
    pub damaged: Vec<Gap>,
    /// Events that the index had to take in again.
    pub indexed: u64,
}

/// Opens what is on the disk. `floor` is what retention has come to: segments before it are removed.
pub(in crate::store) fn recover(
    disk: Arc<dyn Disk>,
    shard: ShardId,
    floor: Seq,
) -> io::Result<(Arc<Shelf>, Recovered)> {
    let mut names: Vec<(Seq, u32)> =
        disk.list()?.iter().filter_map(|name| segment::parse_name(name)).collect();
    names.sort_unstable();
    let mut recovered = Recovered::default();
    let mut segments = Vec::new();
    for (index, (first, generation)) in names.iter().enumerate() {
        let limit = names.get(index + 1).map(|(first, _)| *first);
        if limit.is_some_and(|limit| limit <= floor || limit == *first) {
            // Removed by retention before, or begun again after a sync had failed.
            disk.remove(&segment::name(*first, *generation))?;
            continue;
        }
        let file = disk.open(&segment::name(*first, *generation))?;
        if let Some(segment) = open(file, *first, *generation, limit, &mut recovered)? {
            segments.push(Arc::new(segment));
        } else if limit.is_none() {
            disk.remove(&segment::name(*first, *generation))?;
        }
    }
    disk.sync()?;
    let tail = segments.last().map_or(floor, |segment| segment.extent().next).max(floor).max(Seq(1));
    recovered.events = tail.0 - segments.first().map_or(tail, |segment| segment.first).0;
    Ok((Arc::new(Shelf::new(disk, shard, segments, tail)), recovered))
}

/// `None`: it holds nothing that anybody was promised.
fn open(
    file: Arc<dyn DiskFile>,
    first: Seq,
    generation: u32,
    limit: Option<Seq>,
    recovered: &mut Recovered,
) -> io::Result<Option<Segment>> {
    let mut header = vec![0; usize::try_from(HEADER).unwrap_or(64)];
    file.read_at(0, &mut header)?;
    let Some(salt) = segment::salt_of(&header, first) else {
        // A header is synced before the first record is written.
        if let Some(until) = limit {
            recovered.damaged.push(Gap { from: first, until });
        }
        return Ok(None);
    };
    if let Some(extent) = Extent::from_footer(&*file, first)?
        && limit.is_none_or(|limit| limit == extent.next)
    {
        return Ok(Some(Segment::new(first, generation, salt, file, extent)));
    }
    let segment = Segment::new(first, generation, salt, file, Extent::new(first));
    let extent = Scan::new(&segment, limit)?.run(recovered)?;
    let len = segment.file.len()?;
    if limit.is_none() && len > extent.end {
        recovered.cut_bytes += len - extent.end;
        segment.file.truncate(extent.end)?;
        segment.file.sync()?;
    }
    segment.change(|old| *old = extent);
    Ok(Some(segment))
}

/// Reads a segment from end to end.
struct Scan<'a> {
    segment: &'a Segment,
    limit: Option<Seq>,
    len: u64,
    extent: Extent,
    offset: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Scan<'a> {
    fn new(segment: &'a Segment, limit: Option<Seq>) -> io::Result<Self> {
        let extent = Extent::new(segment.first);
        let len = segment.file.len()?;
        Ok(Self { segment, limit, len, extent, offset: HEADER, chunk: Vec::new(), chunk_at: 0 })
    }

    fn run(mut self, recovered: &mut Recovered) -> io::Result<Extent> {
        loop {
            if self.limit.is_some_and(|limit| self.extent.next >= limit) {
                break;
            }
            if let Some((seq, at, size)) = self.record()?
                && seq >= self.extent.next
            {
                if seq > self.extent.next {
                    recovered.damaged.push(Gap { from: self.extent.next, until: seq });
                }
                self.extent.add(seq, at, self.offset, size);
                self.offset += size as u64;
                continue;
            }
            match self.proof()? {
                Some(offset) => self.offset = offset,
                None => break,
            }
        }
        if let Some(limit) = self.limit
            && self.extent.next < limit
        {
            // The next segment was begun only once this one was synced.
            recovered.damaged.push(Gap { from: self.extent.next, until: limit });
            self.extent.next = limit;
        }
        Ok(self.extent)
    }

    /// A record further on that proves that what is here was synced once.
    fn proof(&self) -> io::Result<Option<u64>> {
        let mut from = self.offset + 1;
        while let Some((offset, head)) = find(self.segment, from, self.len)? {
            if u64::from(head.group) > self.offset || self.limit.is_some() {
                // Read on from the first good one, which may be of the damaged one's own group.
                return Ok(find(self.segment, self.offset + 1, self.len)?.map(|(offset, _)| offset));
            }
            from = offset + head.size() as u64;
        }
        Ok(None)
    }

    fn record(&mut self) -> io::Result<Option<(Seq, i64, usize)>> {
        let Some(head) = Head::of(self.bytes(HEAD)?) else { return Ok(None) };
        if head.size() as u64 > self.len - self.offset {
            return Ok(None);
        }
        let salt = self.segment.salt;
        let bytes = self.bytes(head.size())?;
        let payload = bytes.get(HEAD..).unwrap_or_default();
        let sound = head.holds(bytes, salt);
        let told = record::seq_of(payload).zip(record::at_of(payload)).filter(|_| sound);
        Ok(told.map(|(seq, at)| (seq, at, head.size())))
    }

    fn bytes(&mut self, count: usize) -> io::Result<&[u8]> {
        let have = self.chunk_at + self.chunk.len() as u64;
        if self.offset < self.chunk_at || self.offset + count as u64 > have {
            let left = usize::try_from(self.len.saturating_sub(self.offset)).unwrap_or(usize::MAX);
            self.chunk.resize(count.max(CHUNK).min(left), 0);
            let read = self.segment.file.read_at(self.offset, &mut self.chunk)?;
            self.chunk.truncate(read);
            self.chunk_at = self.offset;
        }
        let start = usize::try_from(self.offset - self.chunk_at).unwrap_or(usize::MAX);
        Ok(self.chunk.get(start..(start + count).min(self.chunk.len())).unwrap_or_default())
    }
}
