//! The numbers of a batch: as digests, those that were sent and those that did not come back.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::xinyao::number;

/// What numbers and calls are digested with; the store's own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LedgerKey(pub [u8; 32]);

impl LedgerKey {
    /// The digest of a number, which is the same however the number is written.
    pub fn number(&self, written: &[u8]) -> u64 {
        self.digest(b'n', number::normal(written))
    }

    /// The digest of a call's id.
    pub fn call(&self, id: &str) -> u64 {
        self.digest(b'c', id.as_bytes())
    }

    fn digest(&self, kind: u8, text: &[u8]) -> u64 {
        let digest = Sha256::new().chain_update(self.0).chain_update([kind]).chain_update(text).finalize();
        digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for LedgerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LedgerKey(***)")
    }
}

/// A row of an uploaded file: its number there, and the digest of the number in it.
pub type SentRow = [u8; 12];

/// The numbers of an uploaded file, in the order of their rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SentNumbers(Bytes);

impl SentNumbers {
    /// A row.
    pub fn row(row: u32, digest: u64) -> SentRow {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&row.to_be_bytes());
        bytes[4..].copy_from_slice(&digest.to_be_bytes());
        bytes
    }

    /// Of these rows, in whatever order they are.
    pub fn of(mut rows: Vec<SentRow>) -> Self {
        if !rows.is_sorted() {
            rows.sort_unstable();
        }
        Self(rows.into_flattened().into())
    }

    /// Of the bytes that they were kept as.
    pub(super) fn read(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    /// The bytes to keep.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Row and digest of each.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64)> {
        let (rows, _) = self.0.as_chunks::<12>();
        rows.iter().map(|[a, b, c, d, digest @ ..]| {
            (u32::from_be_bytes([*a, *b, *c, *d]), u64::from_be_bytes(*digest))
        })
    }
}

/// Why it is not known which numbers were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unseen {
    /// The outnum did not come through here.
    Elsewhere,
    /// The upload could not be read as a list of numbers, or not to its end.
    Unreadable,
    /// Too many uploads came at a time.
    NoRoom,
    /// The process ended before they were kept, or the store had no room.
    NotKept,
}

impl Unseen {
    /// As callers read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Elsewhere => "elsewhere",
            Self::Unreadable => "unreadable",
            Self::NoRoom => "no_room",
            Self::NotKept => "not_kept",
        }
    }
}

/// The numbers that an outnum sent, if they were seen.
pub type Sent = Result<SentNumbers, Unseen>;

/// What was sent against what came back, number by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// Rows of the file that have something in their first column.
    pub sent: u64,
    /// Distinct numbers in them.
    pub distinct: u64,
    /// How many of these have no call record.
    pub missing: u64,
    /// Numbers with a call record that are not in the file.
    pub unexpected: u64,
    /// A page of those that have none, in the order of their rows.
    pub page: Vec<MissingNumber>,
    /// Whether there are more behind them.
    pub more: bool,
}

/// A number without a call record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingNumber {
    /// Where it stands in the file, as a spreadsheet counts rows: the header is one of them.
    pub row: u32,
    /// Where it stands again, as far as [`MAX_REPEATS`] go.
    pub repeats: Vec<u32>,
}

/// Most repeats of a number that are told.
pub const MAX_REPEATS: usize = 16;
