//! Bodies under gzip (RFC 1952) and deflate (RFC 1950, or 1951 as some send it).

use flate2::{Decompress, FlushDecompress, Status};

/// How much is inflated at a time: an answer's `code` is in the first few bytes, mostly.
const STEP: usize = 512;

/// Inflates a body for as long as someone wants its text.
#[derive(Debug)]
pub(super) struct Inflater {
    stage: Stage,
    /// Compressed bytes that may yet be read; also what bounds a header, or blocks without content.
    left: usize,
}

#[derive(Debug)]
enum Stage {
    /// In gzip's own header.
    Gzip(Header),
    /// Before deflate's first byte, which tells whether it has a header.
    Deflate,
    /// In the compressed data.
    Data(Decompress),
}

impl Inflater {
    /// For gzip, of no more than `limit` compressed bytes.
    pub(super) fn gzip(limit: usize) -> Self {
        Self { stage: Stage::Gzip(Header::default()), left: limit }
    }

    /// For deflate, of no more than `limit` compressed bytes.
    pub(super) fn deflate(limit: usize) -> Self {
        Self { stage: Stage::Deflate, left: limit }
    }

    /// Inflates the next bytes and hands on their text for as long as `take` wants more; whether to go on.
    pub(super) fn feed(&mut self, chunk: &[u8], take: impl FnMut(&[u8]) -> bool) -> bool {
        let chunk = &chunk[..chunk.len().min(self.left)];
        self.left -= chunk.len();
        self.read(chunk, take) && self.left > 0
    }

    fn read(&mut self, mut chunk: &[u8], take: impl FnMut(&[u8]) -> bool) -> bool {
        loop {
            let Some((&byte, rest)) = chunk.split_first() else { return true };
            match &mut self.stage {
                Stage::Data(data) => return inflate(data, chunk, take),
                Stage::Deflate => self.stage = Stage::Data(Decompress::new(byte & 0x0f == 8)),
                Stage::Gzip(header) => {
                    chunk = rest;
                    match header.next(byte) {
                        Some(Header { field: Field::End, .. }) => {
                            self.stage = Stage::Data(Decompress::new(false));
                        }
                        Some(next) => *header = next,
                        None => return false,
                    }
                }
            }
        }
    }
}

fn inflate(data: &mut Decompress, mut chunk: &[u8], mut take: impl FnMut(&[u8]) -> bool) -> bool {
    let mut text = [0; STEP];
    loop {
        let (read, written) = (data.total_in(), data.total_out());
        let Ok(status) = data.decompress(chunk, &mut text, FlushDecompress::None) else { return false };
        let count = |before: u64, now: u64| usize::try_from(now - before).unwrap_or(usize::MAX);
        let (read, written) = (count(read, data.total_in()), count(written, data.total_out()));
        if !take(&text[..written.min(STEP)]) || status == Status::StreamEnd {
            return false;
        }
        chunk = &chunk[read.min(chunk.len())..];
        // a full buffer may leave text behind in the inflater
        if (read == 0 && written == 0) || (chunk.is_empty() && written < STEP) {
            return true;
        }
    }
}

/// Progress through gzip's header.
#[derive(Debug, Clone, Copy, Default)]
struct Header {
    flags: u8,
    field: Field,
}

/// The header's fields in their order, each with the bytes of it that are read or still to come.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// Magic, method, flags, time, and so on.
    Fixed {
        read: u8,
    },
    ExtraLength {
        low: Option<u8>,
    },
    Extra {
        left: u16,
    },
    Name,
    Comment,
    Checksum {
        left: u8,
    },
    End,
}

impl Default for Field {
    fn default() -> Self {
        Self::Fixed { read: 0 }
    }
}

const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;

impl Header {
    /// After one more byte; `None` if this is not gzip.
    fn next(mut self, byte: u8) -> Option<Self> {
        self.field = match self.field {
            Field::Fixed { read } => {
                if [0x1f, 0x8b, 8].get(usize::from(read)).is_some_and(|&magic| magic != byte) {
                    return None;
                }
                if read == 3 {
                    self.flags = byte;
                }
                if read == 9 { self.extra() } else { Field::Fixed { read: read + 1 } }
            }
            Field::ExtraLength { low: None } => Field::ExtraLength { low: Some(byte) },
            Field::ExtraLength { low: Some(low) } => match u16::from_le_bytes([low, byte]) {
                0 => self.name(),
                left => Field::Extra { left },
            },
            Field::Extra { left: 1 } => self.name(),
            Field::Extra { left } => Field::Extra { left: left - 1 },
            Field::Name if byte == 0 => self.comment(),
            Field::Comment if byte == 0 => self.checksum(),
            Field::Checksum { left: 1 } => Field::End,
            Field::Checksum { left } => Field::Checksum { left: left - 1 },
            field @ (Field::Name | Field::Comment | Field::End) => field,
        };
        Some(self)
    }

    fn extra(self) -> Field {
        if self.flags & FEXTRA != 0 { Field::ExtraLength { low: None } } else { self.name() }
    }

    fn name(self) -> Field {
        if self.flags & FNAME != 0 { Field::Name } else { self.comment() }
    }

    fn comment(self) -> Field {
        if self.flags & FCOMMENT != 0 { Field::Comment } else { self.checksum() }
    }

    fn checksum(self) -> Field {
        if self.flags & FHCRC != 0 { Field::Checksum { left: 2 } } else { Field::End }
    }
}
