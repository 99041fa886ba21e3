//! Where a request's body ends, told from its bytes as they go by.

use super::head::Framing;

/// Longest line that gives a chunk's size, extensions included, and longest trailer section.
const MAX_LINE: usize = 1 << 10;
const MAX_TRAILERS: usize = 8 << 10;

/// The framing of a chunked body is broken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the request's chunks are malformed")]
pub(super) struct BadChunk;

/// What of a body is still to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes.
    Length(u64),
    /// More chunks, from the middle of one.
    Chunked(Chunked),
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::Start),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Over))
    }

    /// How many of `bytes` are of this body: all of them, unless it ends before.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        match self {
            Self::Length(left) => Ok(take(left, bytes.len())),
            Self::Chunked(chunked) => chunked.advance(bytes),
        }
    }
}

fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    *left -= taken as u64;
    taken
}

/// Where in a chunked body (RFC 9112 §7.1) we are. It takes less than the parser behind it does, never more,
/// so that the two cannot disagree on where the body ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunked {
    Start,
    Size { size: u64, len: usize },
    Blank { size: u64, len: usize },
    Extension { size: u64, len: usize },
    SizeEnd { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart { len: usize },
    Trailer { len: usize },
    TrailerEnd { len: usize },
    LastLf,
    Over,
}

impl Chunked {
    fn advance(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Over {
            if let Self::Data { left } = self {
                at += take(left, bytes.len() - at);
                if *left == 0 {
                    *self = Self::DataCr;
                }
            } else {
                *self = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    fn step(&self, byte: u8) -> Result<Self, BadChunk> {
        Ok(match (self, byte) {
            (Self::Start, _) => Self::Size { size: digit(byte)?, len: 1 },
            (&Self::Size { size, .. } | &Self::Blank { size, .. } | &Self::Extension { size, .. }, b'\r') => {
                Self::SizeEnd { size }
            }
            (&Self::Size { size, len } | &Self::Blank { size, len }, b' ' | b'\t') if len < MAX_LINE => {
                Self::Blank { size, len: len + 1 }
            }
            (&Self::Size { size, len } | &Self::Blank { size, len }, b';') => Self::Extension { size, len },
            // 15 digits are more than any file, and cannot overflow.
            (&Self::Size { size, len }, _) if len < 15 => {
                Self::Size { size: size * 16 + digit(byte)?, len: len + 1 }
            }
            (&Self::Extension { size, len }, _) if len < MAX_LINE && is_text(byte) => {
                Self::Extension { size, len: len + 1 }
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::TrailerStart { len: 0 },
            (&Self::SizeEnd { size }, b'\n') => Self::Data { left: size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Start,
            (Self::TrailerStart { .. }, b'\r') => Self::LastLf,
            (&Self::Trailer { len }, b'\r') => Self::TrailerEnd { len },
            (&Self::TrailerStart { len } | &Self::Trailer { len }, _)
                if len < MAX_TRAILERS && is_text(byte) =>
            {
                Self::Trailer { len: len + 1 }
            }
            (&Self::TrailerEnd { len }, b'\n') => Self::TrailerStart { len },
            (Self::LastLf, b'\n') => Self::Over,
            _ => return Err(BadChunk),
        })
    }
}

fn digit(byte: u8) -> Result<u64, BadChunk> {
    char::from(byte).to_digit(16).map(u64::from).ok_or(BadChunk)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
