//! A segment: a file of records in order.
//!
//! ```text
//! magic 8 | salt 4 | CRC-32 4 | first seq 8 | zeros to 64
//! records, groups of them
//! when it is full, its footer: magic 4 | length 4 | CRC-32 4 | next seq 8 | first at 8 | last at 8
//!                              | landmarks: (seq 8, offset 4) each | footer's offset 4 | magic 4
//! ```
//! A file is named by its first event's number, and by a generation that tells apart what was begun again
//! after a sync had failed.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::disk::DiskFile;
use crate::store::Seq;

pub(super) const HEADER: u64 = 64;
const MAGIC: &[u8; 8] = b"XYlog\0\0\x01";
const FOOTER: &[u8; 4] = b"XYft";
const TRAILER: &[u8; 4] = b"XYnd";
/// Between landmarks there are at most so many records, or one that makes it more bytes than that.
const STRIDE: u64 = 64;
const STRIDE_BYTES: u64 = 256 * 1024;

/// A segment that can be read.
pub(in crate::store) struct Segment {
    pub first: Seq,
    pub generation: u32,
    pub salt: u32,
    pub file: Arc<dyn DiskFile>,
    extent: RwLock<Extent>,
}

/// How far a segment goes.
#[derive(Debug, Clone)]
pub(super) struct Extent {
    /// The number that follows its last event's.
    pub next: Seq,
    /// Where its last record ends.
    pub end: u64,
    /// When its earliest and its latest event came.
    pub times: Option<(i64, i64)>,
    /// Some records' places: numbers and offsets.
    pub landmarks: Vec<(u64, u32)>,
    /// Whether it got its footer.
    pub sealed: bool,
}

impl Extent {
    pub fn new(first: Seq) -> Self {
        Self { next: first, end: HEADER, times: None, landmarks: Vec::new(), sealed: false }
    }

    /// Takes in the record of event `seq`, `size` bytes at `offset`.
    pub fn add(&mut self, seq: Seq, at: i64, offset: u64, size: usize) {
        let far = self.landmarks.last().is_none_or(|(landmark, place)| {
            seq.0 - landmark >= STRIDE || offset - u64::from(*place) >= STRIDE_BYTES
        });
        if far && let Ok(place) = u32::try_from(offset) {
            self.landmarks.push((seq.0, place));
        }
        self.times = Some(self.times.map_or((at, at), |(early, late)| (early.min(at), late.max(at))));
        self.next = seq.next();
        self.end = offset + size as u64;
    }

    /// The closest place before `seq` that is known.
    pub fn landmark(&self, seq: Seq) -> u64 {
        let after = self.landmarks.partition_point(|(landmark, _)| *landmark <= seq.0);
        after.checked_sub(1).map_or(HEADER, |index| u64::from(self.landmarks[index].1))
    }

    pub fn footer(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(24 + self.landmarks.len() * 12);
        let (early, late) = self.times.unwrap_or_default();
        body.extend_from_slice(&self.next.0.to_le_bytes());
        body.extend_from_slice(&early.to_le_bytes());
        body.extend_from_slice(&late.to_le_bytes());
        for (seq, offset) in &self.landmarks {
            body.extend_from_slice(&seq.to_le_bytes());
            body.extend_from_slice(&offset.to_le_bytes());
        }
        let mut footer = FOOTER.to_vec();
        footer.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        footer.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        footer.append(&mut body);
        footer.extend_from_slice(&u32::try_from(self.end).unwrap_or(u32::MAX).to_le_bytes());
        footer.extend_from_slice(TRAILER);
        footer
    }

    /// What the footer of a file tells, if it has a good one.
    pub fn from_footer(file: &dyn DiskFile, first: Seq) -> io::Result<Option<Self>> {
        let len = file.len()?;
        let mut trailer = [0; 8];
        if len < HEADER + 8 || file.read_at(len - 8, &mut trailer)? < 8 || !trailer.ends_with(TRAILER) {
            return Ok(None);
        }
        let end = u64::from(number(&trailer, 0));
        let Some(size) = (len - 8).checked_sub(end).filter(|size| *size < 64 << 20) else { return Ok(None) };
        let mut footer = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_at(end, &mut footer)?;
        Ok(Self::parse(&footer, first, end))
    }

    fn parse(footer: &[u8], first: Seq, end: u64) -> Option<Self> {
        let body = footer.get(12..)?;
        let sound = footer.starts_with(FOOTER)
            && number(footer, 4) as usize == body.len()
            && number(footer, 8) == crc32fast::hash(body)
            && body.len() >= 24;
        if !sound {
            return None;
        }
        let next = Seq(long(body, 0));
        let times = (next > first).then(|| (long(body, 8).cast_signed(), long(body, 16).cast_signed()));
        let landmarks = body[24..].chunks_exact(12).map(|chunk| (long(chunk, 0), number(chunk, 8))).collect();
        Some(Self { next, end, times, landmarks, sealed: true })
    }
}

impl Segment {
    pub fn new(first: Seq, generation: u32, salt: u32, file: Arc<dyn DiskFile>, extent: Extent) -> Self {
        Self { first, generation, salt, file, extent: RwLock::new(extent) }
    }

    pub fn name(&self) -> String {
        name(self.first, self.generation)
    }

    pub fn extent(&self) -> RwLockReadGuard<'_, Extent> {
        self.extent.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn change(&self, change: impl FnOnce(&mut Extent)) {
        change(&mut self.extent.write().unwrap_or_else(PoisonError::into_inner));
    }
}

pub(super) fn name(first: Seq, generation: u32) -> String {
    format!("{:020}-{generation:04}.log", first.0)
}

/// What a file's name tells; `None`: it is no segment.
pub(super) fn parse_name(name: &str) -> Option<(Seq, u32)> {
    let (first, generation) = name.strip_suffix(".log")?.split_once('-')?;
    Some((Seq(first.parse().ok()?), generation.parse().ok()?))
}

pub(super) fn header(first: Seq, salt: u32) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&salt.to_le_bytes());
    header.extend_from_slice(&header_sum(first, salt).to_le_bytes());
    header.extend_from_slice(&first.0.to_le_bytes());
    header.resize(usize::try_from(HEADER).unwrap_or(64), 0);
    header
}

/// The salt of a header that is sound.
pub(super) fn salt_of(header: &[u8], first: Seq) -> Option<u32> {
    let sound = header.len() >= 24 && header.starts_with(MAGIC) && long(header, 16) == first.0;
    let salt = if sound { number(header, 8) } else { return None };
    (number(header, 12) == header_sum(first, salt)).then_some(salt)
}

fn header_sum(first: Seq, salt: u32) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(&salt.to_le_bytes());
    hasher.update(&first.0.to_le_bytes());
    hasher.finalize()
}

fn number(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}
