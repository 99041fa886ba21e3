//! Parts: what is written down of a batch, line after line.

use bytes::{BufMut, BytesMut};

const CALL: u8 = 1;
const DEGREE: u8 = 2;

/// What is told of a call or of a number; calls and numbers are digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line<'p> {
    Call {
        call: u64,
        num: u64,
        state: i64,
        connected: bool,
    },
    /// The degree of a number.
    Degree {
        num: u64,
        name: &'p [u8],
    },
}

/// The lines of a part, as far as it can be read.
pub(super) fn lines(mut part: &[u8]) -> impl Iterator<Item = Line<'_>> {
    std::iter::from_fn(move || {
        let (line, rest) = read(part)?;
        part = rest;
        Some(line)
    })
}

fn read(part: &[u8]) -> Option<(Line<'_>, &[u8])> {
    let number = |at: usize| Some(u64::from_be_bytes(part.get(at..at + 8)?.try_into().ok()?));
    match *part.first()? {
        CALL => {
            let (call, num, state) = (number(1)?, number(9)?, number(17)?.cast_signed());
            let connected = *part.get(25)? == 1;
            Some((Line::Call { call, num, state, connected }, &part[26..]))
        }
        DEGREE => {
            let (num, end) = (number(1)?, 10 + usize::from(*part.get(9)?));
            Some((Line::Degree { num, name: part.get(10..end)? }, &part[end..]))
        }
        _ => None,
    }
}

impl Line<'_> {
    /// Writes it at the end of a part; of a name, 255 bytes at most.
    pub(super) fn write(self, part: &mut BytesMut) {
        match self {
            Self::Call { call, num, state, connected } => {
                part.put_u8(CALL);
                part.put_u64(call);
                part.put_u64(num);
                part.put_i64(state);
                part.put_u8(u8::from(connected));
            }
            Self::Degree { num, name } => {
                let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
                part.put_u8(DEGREE);
                part.put_u64(num);
                part.put_u8(length);
                part.put_slice(&name[..usize::from(length)]);
            }
        }
    }
}
