//! Groups go to the disk: all of a group is kept, or nothing of it.

use std::io;
use std::sync::Arc;

use super::record;
use super::record::Stored;
use super::segment::{self, Extent, HEADER, Segment};
use super::shelf::Shelf;
use crate::store::{Event, NewEvent, Place, Seq, StoreError};

/// A segment that has come to this is followed by another.
pub(in crate::store) const SEGMENT_BYTES: u64 = 128 << 20;
/// A buffer that a large event has grown beyond this is given back.
const BUFFER_BYTES: usize = 8 << 20;

/// Written to see whether there is room again.
const PROBE_BYTES: usize = 64 * 1024;

/// Writes the log. There is one.
pub(in crate::store) struct Appender {
    shelf: Arc<Shelf>,
    segment_bytes: u64,
    /// What is written to; none if it is to be begun.
    active: Option<Arc<Segment>>,
    buffer: Vec<u8>,
}

/// Where in the group a record stands.
struct Mark {
    offset: usize,
    size: usize,
}

impl Appender {
    pub fn new(shelf: Arc<Shelf>, segment_bytes: u64) -> Self {
        let active = shelf.all().last().filter(|segment| !segment.extent().sealed).cloned();
        Self { shelf, segment_bytes, active, buffer: Vec::new() }
    }

    /// Keeps `events`; once this is `Ok` they survive a crash. After an error none of them is kept.
    pub fn append(&mut self, events: Vec<NewEvent>) -> Result<(), StoreError> {
        let first = self.shelf.tail();
        let segment = self.active()?;
        let start = segment.extent().end;
        let marks = self.encode(&segment, start, first, &events)?;
        if let Err(error) = segment.file.write_at(start, &self.buffer) {
            return Err(self.take_back(&segment, start, &error));
        }
        if let Err(error) = segment.file.sync() {
            tracing::error!(%error, segment = segment.name(), "syncing the event log failed; it goes on in a new segment");
            self.abandon(&segment, start);
            return Err(StoreError::Unavailable(format!("syncing the event log failed: {error}")));
        }
        self.publish(&segment, start, first, &marks, events);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
        Ok(())
    }

    /// Whether it would work now: what failed is tried, without an event.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        let segment = self.active()?;
        let start = segment.extent().end;
        if let Err(error) =
            segment.file.write_at(start, &vec![0; PROBE_BYTES]).and_then(|()| segment.file.sync())
        {
            return Err(self.take_back(&segment, start, &error));
        }
        let removed = segment.file.truncate(start).and_then(|()| segment.file.sync());
        removed.map_err(|error| {
            self.abandon(&segment, start);
            unavailable(&error)
        })
    }

    /// Ends the segment that is written to, so that retention can remove it.
    pub fn roll(&mut self) -> Result<(), StoreError> {
        if self.active.as_ref().is_some_and(|segment| segment.extent().next > segment.first) {
            self.begin()?;
        }
        Ok(())
    }

    fn active(&mut self) -> Result<Arc<Segment>, StoreError> {
        match &self.active {
            Some(segment) if segment.extent().end < self.segment_bytes => Ok(Arc::clone(segment)),
            _ => self.begin(),
        }
    }

    /// Begins a segment. Its folder is synced, or a crash might lose it with all that was promised.
    fn begin(&mut self) -> Result<Arc<Segment>, StoreError> {
        if let Some(full) = self.active.take() {
            seal(&full);
        }
        let first = self.shelf.tail();
        let segment =
            self.create(first).map_err(|error| no_room(&error).unwrap_or_else(|| unavailable(&error)))?;
        let segment = Arc::new(segment);
        self.shelf.add(Arc::clone(&segment));
        self.shelf.grow(HEADER);
        self.active = Some(Arc::clone(&segment));
        Ok(segment)
    }

    fn create(&self, first: Seq) -> io::Result<Segment> {
        let disk = &self.shelf.disk;
        let salt = fastrand::u32(..);
        let mut generation = 0;
        let file = loop {
            match disk.create(&segment::name(first, generation)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => generation += 1,
                other => break other?,
            }
        };
        let begun = file.write_at(0, &segment::header(first, salt));
        if let Err(error) = begun.and_then(|()| file.sync()).and_then(|()| disk.sync()) {
            // Left behind it would do no harm: it holds nothing.
            disk.remove(&segment::name(first, generation)).ok();
            return Err(error);
        }
        Ok(Segment::new(first, generation, salt, file, Extent::new(first)))
    }

    fn encode(
        &mut self,
        segment: &Segment,
        start: u64,
        first: Seq,
        events: &[NewEvent],
    ) -> Result<Vec<Mark>, StoreError> {
        self.buffer.clear();
        let group =
            u32::try_from(start).map_err(|_| StoreError::Unavailable("a segment is too long".into()))?;
        let mut seq = first;
        let mut marks = Vec::with_capacity(events.len());
        for event in events {
            let offset = self.buffer.len();
            record::encode(&mut self.buffer, event, seq, group, segment.salt);
            marks.push(Mark { offset, size: self.buffer.len() - offset });
            seq = seq.next();
        }
        Ok(marks)
    }

    /// After a write that failed: what it left is cut off again.
    fn take_back(&mut self, segment: &Arc<Segment>, start: u64, error: &io::Error) -> StoreError {
        if let Err(error) = segment.file.truncate(start).and_then(|()| segment.file.sync()) {
            tracing::error!(%error, segment = segment.name(), "the event log goes on in a new segment");
            self.abandon(segment, start);
        }
        no_room(error).unwrap_or_else(|| unavailable(error))
    }

    /// An fsync that failed may have dropped what it did not write, and the next one would know nothing of
    /// it. So nothing more is written to that segment; what was synced before stays, and can be read.
    fn abandon(&mut self, segment: &Arc<Segment>, start: u64) {
        self.active = None;
        segment.file.truncate(start).ok();
        if segment.extent().next == segment.first {
            self.shelf.drop_last();
            self.shelf.disk.remove(&segment.name()).ok();
        }
    }

    fn publish(&self, segment: &Segment, start: u64, first: Seq, marks: &[Mark], events: Vec<NewEvent>) {
        segment.change(|extent| {
            let mut seq = first;
            for (mark, event) in marks.iter().zip(&events) {
                let offset = start + mark.offset as u64;
                extent.add(seq, record::nanos(event.received_at), offset, mark.size);
                seq = seq.next();
            }
        });
        let count = events.len() as u64;
        let shard = self.shelf.shard;
        self.shelf.recent.add(events.into_iter().zip(first.0..).map(|(new, seq)| {
            let key = new.unless_since.map(|(key, _)| key);
            Stored { event: Arc::new(Event::new(Place { shard, seq: Seq(seq) }, new)), key }
        }));
        self.shelf.grow(self.buffer.len() as u64);
        self.shelf.set_tail(Seq(first.0 + count));
    }
}

/// The footer only saves reading the segment at the next start: without it, it is read.
fn seal(segment: &Segment) {
    let extent = segment.extent();
    let (footer, end) = (extent.footer(), extent.end);
    drop(extent);
    match segment.file.write_at(end, &footer).and_then(|()| segment.file.sync()) {
        Ok(()) => segment.change(|extent| extent.sealed = true),
        Err(error) => tracing::warn!(%error, segment = segment.name(), "a segment got no footer"),
    }
}

fn no_room(error: &io::Error) -> Option<StoreError> {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    full.then(|| StoreError::Full("the disk is full".into()))
}

fn unavailable(error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("writing the event log failed: {error}"))
}
