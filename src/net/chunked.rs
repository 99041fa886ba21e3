//! Where the data of a chunked body is, and where it ends (RFC 9112 §7.1), told from its bytes as they go by.

/// Longest line that gives a chunk's size, extensions included, and longest trailer section.
const MAX_LINE: usize = 1 << 10;
const MAX_TRAILERS: usize = 8 << 10;

/// The framing of a chunked body is broken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the chunks are malformed")]
pub struct BadChunk;

/// Where in a chunked body we are. It takes less than the parser behind it does, never more, so that the two
/// cannot disagree on where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunked {
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
    /// How many of `bytes` are of this body: all of them, unless it ends before.
    ///
    /// # Errors
    /// The framing is broken.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Over {
            let (framing, data) = self.next_data(&bytes[at..])?;
            at += framing + data;
        }
        Ok(at)
    }

    /// How many of `bytes` come before the next data, and how many of those that follow are data.
    ///
    /// # Errors
    /// The framing is broken.
    pub fn next_data(&mut self, bytes: &[u8]) -> Result<(usize, usize), BadChunk> {
        let mut at = 0;
        while at < bytes.len() && *self != Self::Over {
            if let Self::Data { left } = self {
                let data = take(left, bytes.len() - at);
                if *left == 0 {
                    *self = Self::DataCr;
                }
                return Ok((at, data));
            }
            *self = self.step(bytes[at])?;
            at += 1;
        }
        Ok((at, 0))
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

/// Takes what is there of what is left.
pub fn take(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    *left -= taken as u64;
    taken
}

fn digit(byte: u8) -> Result<u64, BadChunk> {
    char::from(byte).to_digit(16).map(u64::from).ok_or(BadChunk)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
