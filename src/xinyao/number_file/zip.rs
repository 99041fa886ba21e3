//! A zip archive, as far as a workbook needs one: what is in it, and one entry's bytes as they unpack.
//!
//! Nothing is believed that the archive says of sizes: what unpacks is counted.

use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;

use flate2::bufread::DeflateDecoder;
use memchr::memmem;

/// Most bytes of the list of what is in it, and most entries; a workbook has some tens.
const MAX_DIRECTORY: u32 = 1024 * 1024;
const MAX_ENTRIES: usize = 4096;
/// The end of the directory, with the longest comment there can be.
const MAX_TAIL: u64 = 22 + 65_535;
const DEFLATED: u16 = 8;
const STORED: u16 = 0;
const ENCRYPTED: u16 = 1;

/// Why there is no reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// It is no zip archive, or a damaged one.
    Broken,
    /// It unpacks to more than there is a budget for.
    TooLarge,
}

/// An archive.
pub(super) struct Archive<R> {
    file: R,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Vec<u8>,
    method: u16,
    packed: u32,
    unpacked: u32,
    at: u32,
}

impl<R: Read + Seek> Archive<R> {
    pub(super) fn open(mut file: R) -> Result<Self, Unreadable> {
        let length = file.seek(SeekFrom::End(0)).map_err(|_| Unreadable::Broken)?;
        let tail = read_at(&mut file, length.saturating_sub(MAX_TAIL), length.min(MAX_TAIL))?;
        let end = memmem::rfind(&tail, b"PK\x05\x06").ok_or(Unreadable::Broken)?;
        let end = tail.get(end..end + 22).ok_or(Unreadable::Broken)?;
        let (size, at) = (u32_at(end, 12), u32_at(end, 16));
        if size > MAX_DIRECTORY {
            return Err(Unreadable::TooLarge);
        }
        let directory = read_at(&mut file, u64::from(at), u64::from(size))?;
        Ok(Self { entries: entries(&directory)?, file })
    }

    /// Whether there is an entry of this name.
    pub(super) fn has(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }

    fn find(&self, name: &[u8]) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// Hands the bytes of the entry of this name to `take`, until it has enough. What was unpacked comes off
    /// the budget.
    pub(super) fn unpack(
        &mut self,
        name: &[u8],
        budget: &mut u64,
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), Unreadable> {
        let entry = self.find(name).ok_or(Unreadable::Broken)?;
        let (method, at) = (entry.method, u64::from(entry.at));
        // Some write sizes in 64 bits always, and these into other fields; packed data ends by itself too.
        let packed = if entry.packed == u32::MAX { u64::MAX } else { u64::from(entry.packed) };
        if entry.unpacked != u32::MAX && u64::from(entry.unpacked) > *budget {
            return Err(Unreadable::TooLarge);
        }
        let head = read_at(&mut self.file, at, 30)?;
        if !head.starts_with(b"PK\x03\x04") {
            return Err(Unreadable::Broken);
        }
        let data = at + 30 + u64::from(u16_at(&head, 26)) + u64::from(u16_at(&head, 28));
        self.file.seek(SeekFrom::Start(data)).map_err(|_| Unreadable::Broken)?;
        let mut bytes = BufReader::with_capacity(32 * 1024, (&mut self.file).take(packed));
        match method {
            DEFLATED => pump(&mut DeflateDecoder::new(&mut bytes), budget, &mut take),
            STORED => pump(&mut bytes, budget, &mut take),
            _ => Err(Unreadable::Broken),
        }
    }
}

fn pump(
    from: &mut impl Read,
    budget: &mut u64,
    take: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        let read = from.read(&mut buffer).map_err(|_| Unreadable::Broken)?;
        if read == 0 {
            return Ok(());
        }
        *budget = budget.checked_sub(read as u64).ok_or(Unreadable::TooLarge)?;
        if take(&buffer[..read]).is_break() {
            return Ok(());
        }
    }
}

fn entries(mut directory: &[u8]) -> Result<Vec<Entry>, Unreadable> {
    let mut entries = Vec::new();
    while let Some(head) = directory.get(..46).filter(|head| head.starts_with(b"PK\x01\x02")) {
        if entries.len() == MAX_ENTRIES {
            return Err(Unreadable::TooLarge);
        }
        let name_end = 46 + usize::from(u16_at(head, 28));
        let name = directory.get(46..name_end).ok_or(Unreadable::Broken)?.to_vec();
        let method = if u16_at(head, 8) & ENCRYPTED == 0 { u16_at(head, 10) } else { u16::MAX };
        let (packed, unpacked, at) = (u32_at(head, 20), u32_at(head, 24), u32_at(head, 42));
        entries.push(Entry { name, method, packed, unpacked, at });
        let next = name_end + usize::from(u16_at(head, 30)) + usize::from(u16_at(head, 32));
        directory = directory.get(next..).ok_or(Unreadable::Broken)?;
    }
    Ok(entries)
}

fn read_at<R: Read + Seek>(file: &mut R, at: u64, length: u64) -> Result<Vec<u8>, Unreadable> {
    file.seek(SeekFrom::Start(at)).map_err(|_| Unreadable::Broken)?;
    let mut bytes = Vec::new();
    let read = file.take(length).read_to_end(&mut bytes).map_err(|_| Unreadable::Broken)?;
    if read as u64 == length { Ok(bytes) } else { Err(Unreadable::Broken) }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}
